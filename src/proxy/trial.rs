//! What would become of a request: the proxy's own decisions, for a connection that nobody opened.

use std::net::IpAddr;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, Uri};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::authorize::authorize;
use super::downstream::Tls;
use super::error::ProxyError;
use super::present::Present;
use super::standing::standing;
use super::{Settings, headers, host, path};
use crate::model::HostName;
use crate::snapshot::{Carrier, FormBody, Policy, RequestFacts, Route, Snapshot, StreamRoute};

/// A request that may never be sent.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The request's headers.
    pub headers: HeaderMap,
    /// The request's method.
    pub method: Method,
    /// The client's address.
    pub peer: IpAddr,
    /// The port of the listener, as text.
    pub port: String,
    /// The connection that carries it; `None` for the plaintext port.
    pub tls: Option<TrialTls>,
    /// The request target, with its authority.
    pub uri: Uri,
}

/// The TLS connection of a [`Trial`].
#[derive(Clone, Debug)]
pub struct TrialTls {
    /// What the client sends, its own certificate first; empty where it has none.
    pub chain: Vec<CertificateDer<'static>>,
    /// The host that the client names in the handshake.
    pub sni: Option<HostName>,
}

/// What becomes of a [`Trial`].
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The proxy answers by itself.
    Answer {
        /// The answer's status.
        status: StatusCode,
        /// Why, as the log says it.
        why: String,
    },
    /// The request is sent to an upstream of the route.
    Forward(Arc<Route>),
    /// The handshake fails, with this reason in the log.
    Handshake(String),
}

impl Trial {
    /// Decides from `snapshot` at the time `now`, with the functions that decide about requests under `settings`.
    pub fn decide(&self, snapshot: &Snapshot, settings: &Settings, now: UnixTime) -> Outcome {
        let tls = match &self.tls {
            None => None,
            Some(tls) => match tls.handshake(snapshot, settings, now) {
                Ok(tls) => Some(tls),
                Err(why) => return Outcome::Handshake(why),
            },
        };
        match self.route(snapshot, settings, tls.as_ref(), now) {
            Ok(route) => Outcome::Forward(route),
            Err(error) if error.is_silent() => Outcome::Handshake(error.to_string()),
            Err(error) => Outcome::Answer { status: error.status(), why: error.to_string() },
        }
    }

    /// What routes look at, where `host` and `path` are in normal form.
    pub fn facts<'a>(&'a self, host: &'a HostName, path: &'a str) -> RequestFacts<'a> {
        RequestFacts {
            body: &FormBody::None, // nobody says what it would be
            encrypted: self.tls.is_some(),
            headers: &self.headers,
            host,
            method: self.method.as_str(),
            path,
            peer: self.peer.to_canonical(),
            port: self.port.as_bytes(),
            query: self.uri.query(),
            target: self.uri.path_and_query().map_or("/", PathAndQuery::as_str),
        }
    }

    fn route(
        &self,
        snapshot: &Snapshot,
        settings: &Settings,
        tls: Option<&Tls>,
        now: UnixTime,
    ) -> Result<Arc<Route>, ProxyError> {
        if self.method == Method::CONNECT || self.method == Method::TRACE {
            return Err(ProxyError::MethodNotAllowed);
        }
        headers::check(&self.headers, Present::of(&self.headers))?;
        let (host, _) = host::of(&self.uri, &self.headers, None)?;
        let target = self.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let target = path::normal(target)?;
        authorize(snapshot, tls, &host, target.path(), now, settings.allow_plaintext_client_auth)?;
        let route = snapshot.route(&self.facts(&host, target.path())).ok_or(ProxyError::NotFound)?;
        if route.backends.is_usable() { Ok(route.clone()) } else { Err(ProxyError::NoEndpoint) }
    }
}

/// A stream that may never be opened.
#[derive(Clone, Debug)]
pub struct StreamTrial {
    /// What carries it.
    pub carrier: Carrier,
    /// The client's address.
    pub peer: IpAddr,
    /// The port of the listener.
    pub port: u16,
    /// The client's side of its TLS, where that carries it.
    pub tls: Option<TrialTls>,
}

/// What becomes of a [`StreamTrial`].
#[derive(Clone, Debug)]
pub enum StreamOutcome {
    /// It is carried to an endpoint of the rule.
    Carried(Arc<StreamRoute>),
    /// It is closed, or its datagrams are dropped, for this reason.
    Closed(String),
    /// The handshake fails, with this reason in the log.
    Handshake(String),
}

impl StreamTrial {
    /// Decides from `snapshot` at the time `now`, with the functions that decide about streams under `settings`.
    pub fn decide(&self, snapshot: &Snapshot, settings: &Settings, now: UnixTime) -> StreamOutcome {
        if let Some(tls) = &self.tls {
            let standing = tls.handshake(snapshot, settings, now).map(|tls| {
                let host = snapshot.handshake(&tls.sni);
                host.map_or(Ok(0), |host| standing(host, Some(&tls), now, false))
            });
            match standing {
                Err(why) => return StreamOutcome::Handshake(why),
                Ok(Err(lost)) => return StreamOutcome::Closed(lost.to_string()),
                Ok(Ok(_)) => {}
            }
        }
        match self.route(snapshot, settings) {
            None => StreamOutcome::Closed("no rule is for it".to_owned()),
            Some(route) if route.backends.is_usable() => StreamOutcome::Carried(route.clone()),
            Some(_) => StreamOutcome::Closed(ProxyError::NoEndpoint.to_string()),
        }
    }

    /// The rule for it.
    pub fn route<'a>(&self, snapshot: &'a Snapshot, settings: &Settings) -> Option<&'a Arc<StreamRoute>> {
        let client = self.peer.to_canonical();
        match self.carrier {
            Carrier::Tcp => snapshot.streams.tcp(self.port, client),
            Carrier::Tls => snapshot.streams.tls(self.port, self.tls.as_ref()?.host(settings)?, client),
            Carrier::Udp => snapshot.streams.udp(self.port, client),
        }
    }
}

impl TrialTls {
    /// The host that the client names, or is taken to have named.
    pub fn host<'a>(&'a self, settings: &'a Settings) -> Option<&'a HostName> {
        self.sni.as_ref().or(settings.fallback_sni.as_ref())
    }

    fn handshake(&self, snapshot: &Snapshot, settings: &Settings, now: UnixTime) -> Result<Tls, String> {
        let sni = self.host(settings).ok_or("the client named no host (SNI)")?.clone();
        let host = snapshot.handshake(&sni).ok_or("no TLS is configured for the host")?;
        if let Err(invalid) = &host.server {
            return Err(format!("{} cannot be served: {invalid}", host.object));
        }
        let tls = Tls::new(sni, self.chain.clone(), "TLSv1.3");
        if let Policy::Require(auth) = &host.policy
            && auth.alerts()
        {
            standing(host, Some(&tls), now, false).map_err(|lost| lost.to_string())?;
        }
        Ok(tls)
    }
}
