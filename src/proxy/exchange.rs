//! One request and its response, as far as logs and metrics want to know.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};

use super::access_log::{self, Escaped};
use super::downstream::Downstream;
use super::forwarded::{Client, Word};
use super::grpc;
use super::live::Entry;
use super::multiplex::Stream;
use super::present::Present;
use crate::model::HostName;
use crate::snapshot::{Endpoint, Route, UnderWay};

/// nginx's status for a client that went away before the response: it is never sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request under way. When it is dropped, however it ended, it is counted and written to the access log.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Bytes of response body given out.
    pub(super) bytes: u64,
    /// The client, where that is not the connection's peer.
    client: Option<Box<Client>>,
    /// Whether the connection takes no further request after this one. Told when the exchange ends: an HTTP/2 client may take the news
    /// (GOAWAY) for the end of this request too, where it comes before the answer (Java 17 does).
    pub(super) closes: bool,
    /// Whether the response was given out to its end.
    pub(super) complete: bool,
    pub(super) downstream: Arc<Downstream>,
    /// The endpoint that was tried last.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    /// The connection's place among those of the request's host, where its handshake was for another.
    pub(super) entry: Option<Entry>,
    /// The host in normal form, once it is known.
    pub(super) host: Option<HostName>,
    /// The content type of a request of gRPC.
    pub(super) grpc: Option<HeaderValue>,
    pub(super) method: Method,
    /// The fields of the request, as it came.
    pub(super) present: Present,
    pub(super) referer: Option<HeaderValue>,
    pub(super) route: Option<Arc<Route>>,
    pub(super) started: Instant,
    pub(super) status: Option<StatusCode>,
    pub(super) target: Uri,
    /// The request's part of an HTTP/2 connection to the upstream.
    pub(super) stream: Option<Box<Stream>>,
    /// When the first endpoint was tried.
    pub(super) upstream_started: Option<Instant>,
    pub(super) upstream_status: Option<StatusCode>,
    /// Counts the request at its endpoint, where that decides about others.
    pub(super) under_way: Option<UnderWay>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) version: Version,
    header: Option<HeaderValue>,
}

impl Exchange {
    pub(super) fn new<B>(downstream: Arc<Downstream>, request: &Request<B>) -> Box<Self> {
        let headers = request.headers();
        let present = Present::of(headers);
        downstream.pace.begin();
        let client = match downstream.word {
            Word::Trusted => Client::named(headers, &downstream.shared().settings.trusted_addresses),
            Word::Distrusted | Word::Unknown => None,
        };
        Box::new(Self {
            bytes: 0,
            client,
            closes: false,
            complete: false,
            downstream,
            endpoint: None,
            entry: None,
            header: headers.get(HOST).cloned(),
            grpc: grpc::content_type(request.method(), request.version(), headers),
            host: None,
            method: request.method().clone(),
            present,
            referer: if present.has(Present::REFERER) { headers.get(REFERER).cloned() } else { None },
            route: None,
            started: Instant::now(),
            status: None,
            stream: None,
            target: request.uri().clone(),
            under_way: None,
            upstream_started: None,
            upstream_status: None,
            user_agent: headers.get(USER_AGENT).cloned(),
            version: request.version(),
        })
    }

    /// The client's address.
    pub(super) fn client(&self) -> IpAddr {
        self.client.as_ref().map_or_else(|| self.downstream.peer.ip(), |client| client.ip)
    }

    /// The client's address as text.
    pub(super) fn client_text(&self) -> &HeaderValue {
        self.client.as_ref().map_or(&self.downstream.ip, |client| &client.text)
    }

    /// The host as the client sent it, port included.
    pub(super) fn host_sent(&self) -> &[u8] {
        match self.target.authority() {
            Some(authority) => authority.as_str().as_bytes(),
            None => self.header.as_ref().map_or(&[], HeaderValue::as_bytes),
        }
    }

    /// The host in normal form; `-` where the request had none.
    pub(super) fn host_name(&self) -> &str {
        self.host.as_ref().map_or("-", HostName::as_str)
    }

    /// The protocol as nginx spells it.
    pub(super) fn protocol(&self) -> &'static str {
        match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        }
    }

    /// The request target without the authority: path and query.
    pub(super) fn path(&self) -> &str {
        self.target.path_and_query().map_or("", http::uri::PathAndQuery::as_str)
    }

    /// Writes `GET /ip HTTP/2.0`, escaped.
    pub(super) fn request_line(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let (method, path) = (Escaped(self.method.as_str().as_bytes()), Escaped(self.path().as_bytes()));
        write!(out, "{method} {path} {}", self.protocol())
    }

    pub(super) fn is_http2(&self) -> bool {
        self.version == Version::HTTP_2
    }

    /// The status that was answered, or 499 where the client went away before.
    pub(super) fn logged_status(&self) -> u16 {
        self.status.map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now = Instant::now();
        self.downstream.pace.end(now);
        let shared = self.downstream.shared();
        let duration = now.saturating_duration_since(self.started);
        let counted = self.status.unwrap_or(StatusCode::BAD_REQUEST); // 499 counts as 4xx
        shared.metrics.requests.count(self.is_http2(), counted);
        shared.metrics.duration.observe(duration);
        if let Some(route) = &self.route {
            route.stats.count(counted);
        }
        access_log::write(&shared.log, self, duration, shared.settings.access_log_sample);
        if self.closes {
            self.downstream.close.notify_one(); // GOAWAY
        }
    }
}
