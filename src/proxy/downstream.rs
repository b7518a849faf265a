//! The client's side of a connection: who it is, and what it has proved.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::Notify;

use super::listener::Place;
use super::verdict::{LastVerdict, Verdict};
use crate::drain::Draining;
use crate::model::HostName;
use crate::snapshot::ClientAuth;

/// A downstream connection, shared by its requests.
#[derive(Debug)]
pub(super) struct Downstream {
    /// Woken when an HTTP/2 connection must not take further requests.
    pub(super) close: Notify,
    pub(super) draining: Draining,
    /// The client's address as text, for headers; made once per connection.
    pub(super) ip: HeaderValue,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
    /// The listener's port as text.
    pub(super) port_text: HeaderValue,
    pub(super) pace: Arc<Pace>,
    /// `None` on a plaintext listener.
    pub(super) tls: Option<Tls>,
}

impl Downstream {
    pub(super) fn new(peer: SocketAddr, port: u16, tls: Option<Tls>, place: Place, draining: Draining) -> Self {
        let ip = HeaderValue::try_from(peer.ip().to_string()).unwrap_or(HeaderValue::from_static("-"));
        Self {
            close: Notify::new(),
            draining,
            ip,
            peer,
            place,
            port_text: port.into(),
            pace: Arc::new(Pace::new()),
            tls,
        }
    }

    pub(super) fn shared(&self) -> &Arc<super::Shared> {
        &self.place.shared
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// How many requests a connection has under way, and since when it has none.
#[derive(Debug)]
pub(super) struct Pace {
    born: Instant,
    /// Milliseconds from `born` to the end of the last request.
    ended: AtomicU64,
    open: AtomicU32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { born: Instant::now(), ended: AtomicU64::new(0), open: AtomicU32::new(0) }
    }

    /// A request has begun.
    pub(super) fn begin(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has ended, `now`.
    pub(super) fn end(&self, now: Instant) {
        let since = u64::try_from(now.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX);
        self.ended.store(since, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Since when no request is under way; `None` while one is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let idle = self.open.load(Ordering::Relaxed) == 0;
        idle.then(|| self.born + Duration::from_millis(self.ended.load(Ordering::Relaxed)))
    }
}

/// A TLS connection after its handshake.
#[derive(Debug)]
pub(super) struct Tls {
    /// What the client sent in place of a proof of who it is, its own certificate first; empty where it sent none. TLS has
    /// checked that the client holds the key. The chain itself is judged per request.
    chain: Vec<CertificateDer<'static>>,
    pub(super) sni: HostName,
    verdict: LastVerdict,
    /// `TLSv1.2` or `TLSv1.3`.
    pub(super) version: &'static str,
}

impl Tls {
    pub(super) fn new(sni: HostName, chain: Vec<CertificateDer<'static>>, version: &'static str) -> Self {
        Self { chain, sni, verdict: LastVerdict::default(), version }
    }

    /// The verdict on the client under `auth` at the time `now`. The chain is judged once per policy: again when the policy
    /// has changed, or when a certificate of the chain has expired since.
    pub(super) fn judge(&self, auth: &ClientAuth, now: UnixTime) -> Arc<Verdict> {
        self.verdict.judge(&self.chain, auth, now)
    }
}
