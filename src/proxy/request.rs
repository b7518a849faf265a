//! A request from top to bottom.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, SERVER};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, request};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use rustls_pki_types::UnixTime;

use super::authorize::authorize;
use super::downstream::Downstream;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{Deadlines, forward};
use super::read_body::{MAX_READ, read};
use super::response::ResponseBody;
use super::{affinity, grpc, headers, host, path, record, upgrade};
use crate::body::{Body, Upload};
use crate::model::Timeouts;
use crate::snapshot::{Connection, Form, FormBody, FormKind, Host, RequestFacts, Upstream};

/// The client gets no answer: hyper closes an HTTP/1 connection for it, and resets an HTTP/2 stream.
#[derive(Debug, thiserror::Error)]
#[error("the client is refused without an answer")]
pub(super) struct NoAnswer;

/// Answers a request. The exchange ends, and is logged, when the answer's body has been given out or dropped.
///
/// What needs no waiting happens in the call, so that the future keeps only what waiting needs.
pub(super) fn serve(
    downstream: Arc<Downstream>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, NoAnswer>> + Send {
    let mut exchange = Exchange::new(downstream, &request);
    let (parts, body) = request.into_parts();
    let routed = route(&mut exchange, parts, Received::Head(body));
    answer(exchange, routed)
}

/// Does what was decided about a request.
#[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice, as passed and as used")]
fn answer(
    mut exchange: Box<Exchange>,
    routed: Result<Routed, ProxyError>,
) -> impl Future<Output = Result<Response<ResponseBody>, NoAnswer>> + Send {
    async move {
        let mut response = match routed {
            Ok(Routed::Forward { deadlines, first, request, upload, upstream }) => {
                let answer = forward(&mut exchange, (&upstream, first), request, upload.as_deref(), deadlines).await;
                forwarded(exchange, answer, deadlines)
            }
            Ok(Routed::Upgrade { downstream, first, request, timeouts, upstream }) => {
                // Boxed, because its state is large and rarely needed.
                Box::pin(upgrade::websocket(exchange, downstream, request, (upstream, first), timeouts)).await
            }
            Ok(Routed::Read(unread)) => return answer_with_body(exchange, unread).await,
            Err(error) if error.is_silent() => return Err(silenced(exchange, &error)),
            Err(error) => failed(exchange, &error),
        };
        *response.version_mut() = Version::HTTP_11; // hyper would answer an upstream's HTTP/1.0 with HTTP/1.0
        Ok(response)
    }
}

/// What comes of a forwarded request.
fn forwarded(
    mut exchange: Box<Exchange>,
    answer: Result<(Response<Incoming>, Option<Box<Connection>>), ProxyError>,
    deadlines: Deadlines,
) -> Response<ResponseBody> {
    exchange.ends(answer.as_ref().map(|(response, _)| response.status()));
    match answer {
        Ok((response, _)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            failed(exchange, &ProxyError::UnexpectedUpgrade)
        }
        Ok((response, connection)) => answered(exchange, response, |body, exchange| {
            ResponseBody::incoming(body, connection, exchange, deadlines.upstream.read)
        }),
        Err(error) => failed(exchange, &error),
    }
}

/// How often a request may have gone through a proxy of our name. A route that leads back to ourselves would otherwise go on
/// until there are no file descriptors.
const OWN_HOPS: usize = 8;

/// What to do with a request.
enum Routed {
    Forward {
        deadlines: Deadlines,
        first: usize,
        request: Request<Body>,
        upload: Option<Arc<Upload>>,
        upstream: Arc<Upstream>,
    },
    /// Its body must be read to know.
    Read(Box<Unread>),
    Upgrade {
        downstream: OnUpgrade,
        first: usize,
        request: Request<Body>,
        timeouts: Timeouts,
        upstream: Arc<Upstream>,
    },
}

/// A request whose route depends on its body.
struct Unread {
    body: Incoming,
    kind: FormKind,
    parts: request::Parts,
}

/// How much of a request is there when it is routed.
enum Received {
    Head(Incoming),
    Whole(Bytes, Form),
}

impl Received {
    /// The least number of bytes of the body.
    fn least(&self) -> u64 {
        match self {
            Self::Head(body) => body.size_hint().lower(),
            Self::Whole(body, _) => body.len() as u64,
        }
    }
}

/// Reads the body of a request, then decides about it. Boxed, because its state is rarely needed.
fn answer_with_body(
    mut exchange: Box<Exchange>,
    unread: Box<Unread>,
) -> Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, NoAnswer>> + Send>> {
    Box::pin(async move {
        let Unread { body, kind, parts } = *unread;
        let settings = &exchange.downstream.shared().settings;
        let most = settings.max_body_size.map_or(MAX_READ, |most| most.min(MAX_READ));
        let routed = match read(body, most, settings.body_timeout).await {
            Ok(body) => {
                let form = Form::parse(&kind, &body);
                route(&mut exchange, parts, Received::Whole(body, form))
            }
            Err(error) => Err(error),
        };
        answer(exchange, routed).await
    })
}

/// The decisions, all of them from one snapshot and without waiting: for whom, whether, and where to.
fn route(exchange: &mut Exchange, mut parts: request::Parts, received: Received) -> Result<Routed, ProxyError> {
    let shared = exchange.downstream.shared();
    if shared.shedding.load(Ordering::Relaxed) {
        shared.metrics.shed.inc();
        return Err(ProxyError::Overloaded);
    }
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(ProxyError::MethodNotAllowed); // TRACE would show a page the fields that we add
    }
    headers::check(&parts.headers, exchange.present)?;
    let most = shared.settings.max_body_size.unwrap_or(u64::MAX);
    if received.least() > most {
        return Err(ProxyError::BodyTooLarge);
    }
    let usual = exchange.downstream.tls.as_ref().map(|tls| &tls.sni);
    let (host, sent) = host::of(&parts.uri, &parts.headers, usual)?;
    exchange.host = Some(host.clone());
    let path = parts.uri.path_and_query().cloned();
    let Some(path) = path.filter(|path| path.as_str().starts_with('/')) else {
        return Err(ProxyError::Malformed("the request target is no path"));
    };
    let path = path::normal(path)?;

    let downstream = exchange.downstream.clone();
    let settings = &downstream.shared().settings;
    let snapshot = downstream.shared().current.load();
    let plaintext = settings.allow_plaintext_client_auth;
    let access = authorize(&snapshot, downstream.tls.as_ref(), &host, path.path(), UnixTime::now(), plaintext)?;
    if let Some(error) = &access.observed
        && matches!(received, Received::Head(_))
    {
        record::observed(&snapshot, exchange, error);
        error.log_observed(exchange);
    }
    let (incoming, whole, form) = match received {
        Received::Head(body) if body.is_end_stream() => (None, Bytes::new(), FormBody::None),
        Received::Head(body) => (Some(body), Bytes::new(), FormBody::Unread(Cell::default())),
        Received::Whole(body, form) => (None, body, FormBody::Read(form)),
    };
    let facts = RequestFacts {
        body: &form,
        encrypted: downstream.tls.is_some(),
        headers: &parts.headers,
        host: &host,
        method: parts.method.as_str(),
        path: path.path(),
        peer: exchange.client(),
        port: downstream.port_text.as_bytes(),
        query: path.query(),
        target: exchange.path(),
    };
    let route = snapshot.route(&facts).cloned();
    let incoming = match incoming {
        Some(body) if form.is_wanted() => match FormKind::of(&parts.headers) {
            Some(_) if body.size_hint().lower() > MAX_READ => return Err(ProxyError::BodyTooLarge),
            Some(kind) => return Ok(Routed::Read(Box::new(Unread { body, kind, parts }))),
            None => Some(body), // without arguments, as the route was found
        },
        incoming => incoming,
    };
    let route = route.ok_or(ProxyError::NotFound)?;
    let (of_route, upstream, websocket) = (route.timeouts, route.backends.pick().cloned(), route.websocket);
    let toward = route.strip.as_ref().map(|prefix| path::without(prefix, &path)).transpose()?;
    exchange.route = Some(route);
    if headers::own_hops(&parts.headers, exchange.present) > OWN_HOPS {
        return Err(ProxyError::Loop);
    }

    exchange.entry = downstream.used_for(&snapshot, &host, websocket);
    let upstream = upstream.ok_or(ProxyError::NoEndpoint)?;
    let timeouts = upstream.timeouts.unwrap_or(of_route);
    let hashed = affinity::Facts { client: exchange.client_text(), host: &host, parts: &parts, target: &path };
    let first = upstream.first(|key| hashed.hash(key));
    let websocket = websocket && upgrade::is_websocket(&parts) && upstream.upgrades();
    let upgrade = if websocket { parts.extensions.remove() } else { None };
    parts.extensions.clear();
    let (body, upload) = match incoming {
        None if whole.is_empty() => (Body::Empty, None),
        None => (Body::Full(whole), None),
        Some(body) => {
            let upload = Arc::new(Upload::new(most, headers::strip_trailers, snapshot.identity_headers.clone()));
            (Body::Upload(body, upload.clone()), Some(upload))
        }
    };
    let sent = if let Host::Rewrite(host) = &upstream.host { host.clone() } else { sent };
    headers::to_upstream(&mut parts, exchange, &host, sent, &body, &snapshot.identity_headers);
    if let Some(verdict) = &access.verdict {
        parts.headers.extend(verdict.fields.iter().cloned());
    }
    parts.uri = toward.unwrap_or(path).into();
    if let Some(downstream) = upgrade {
        upgrade::ask(&mut parts.headers);
        let request = Request::from_parts(parts, body);
        return Ok(Routed::Upgrade { downstream, first, request, timeouts, upstream });
    }
    let deadlines = Deadlines { body: settings.body_timeout, upstream: timeouts };
    Ok(Routed::Forward { deadlines, first, request: Request::from_parts(parts, body), upload, upstream })
}

/// The upstream's response, as it goes downstream.
pub(super) fn answered(
    mut exchange: Box<Exchange>,
    response: Response<Incoming>,
    body: impl FnOnce(Incoming, Box<Exchange>) -> ResponseBody,
) -> Response<ResponseBody> {
    let (mut parts, incoming) = response.into_parts();
    headers::to_downstream(&mut parts.headers);
    exchange.status = Some(parts.status);
    exchange.upstream_status = Some(parts.status);
    if exchange.downstream.shared().draining.load(Ordering::Relaxed) {
        close(&mut exchange, &mut parts.headers);
    }
    Response::from_parts(parts, body(incoming, exchange))
}

/// The answer to a request that failed.
pub(super) fn failed(mut exchange: Box<Exchange>, error: &ProxyError) -> Response<ResponseBody> {
    let downstream = exchange.downstream.clone();
    let shared = downstream.shared();
    record::refused(&exchange, error);
    error.log(&exchange);
    exchange.status = Some(error.status());
    if let Some(content_type) = exchange.grpc.take() {
        let mut response = grpc::refusal(error, content_type);
        if error.closes() || shared.draining.load(Ordering::Relaxed) {
            close(&mut exchange, response.headers_mut());
        }
        return response.map(|()| ResponseBody::full(Bytes::new(), exchange));
    }
    let (mut bytes, fields) = error.body();
    let mut response = Response::new(());
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    if exchange.method == Method::HEAD {
        headers.insert(CONTENT_LENGTH, bytes.len().into());
        bytes.clear();
    }
    headers.insert(SERVER, HeaderValue::from_static("portcullis"));
    headers.extend(fields.into_iter().flatten());
    if error.closes() || shared.draining.load(Ordering::Relaxed) {
        close(&mut exchange, headers);
    }
    response.map(|()| ResponseBody::full(bytes, exchange))
}

/// Ends an exchange that is not answered.
fn silenced(mut exchange: Box<Exchange>, error: &ProxyError) -> NoAnswer {
    record::refused(&exchange, error);
    error.log(&exchange);
    exchange.status = Some(error.status());
    exchange.downstream.close.notify_one();
    NoAnswer
}

/// Announces that the connection takes no further request.
fn close(exchange: &mut Exchange, headers: &mut http::HeaderMap) {
    if exchange.is_http2() {
        exchange.closes = true;
    } else {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_request_in_flight_is_small() {
        // hyper keeps room for one per HTTP/1 connection, idle or not.
        let size = size_of_future(serve);
        assert!(size <= 2048, "{size} bytes");
        let size = size_of::<ResponseBody>();
        assert!(size <= 128, "{size} bytes");
    }
}
