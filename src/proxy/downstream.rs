//! The client's side of a connection: who it is, and what it has proved.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::Notify;

use super::listener::Place;
use crate::drain::Draining;
use crate::model::HostName;
use crate::snapshot::{ClientAuth, Identity, PolicyId};
use crate::trust::Refusal;

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
    begun: AtomicU32,
    ended: AtomicU32,
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
            begun: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            tls,
        }
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> Requests {
        Requests { begun: self.begun.load(Ordering::Relaxed), ended: self.ended.load(Ordering::Relaxed) }
    }

    /// Counts the begin of a request.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of a request.
    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn shared(&self) -> &Arc<super::Shared> {
        &self.place.shared
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Requests that a connection has carried, wrapping around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Requests {
    begun: u32,
    ended: u32,
}

impl Requests {
    /// Requests under way.
    pub(super) fn open(self) -> u32 {
        self.begun.wrapping_sub(self.ended)
    }
}

/// A TLS connection after its handshake.
#[derive(Debug)]
pub(super) struct Tls {
    /// What the client sent in place of a proof of who it is, its own certificate first; empty where it sent none. TLS has
    /// checked that the client holds the key. The chain itself is judged per request.
    chain: Vec<CertificateDer<'static>>,
    pub(super) sni: HostName,
    verdict: Mutex<Option<Verdict>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub(super) version: &'static str,
}

#[derive(Debug)]
struct Verdict {
    policy: PolicyId,
    outcome: Result<Identity, Refusal>,
}

impl Tls {
    pub(super) fn new(sni: HostName, chain: Vec<CertificateDer<'static>>, version: &'static str) -> Self {
        Self { chain, sni, verdict: Mutex::new(None), version }
    }

    /// Whether the client satisfies `auth` at the time `now`.
    ///
    /// A chain is judged once per policy: again when the policy has changed, or when a certificate of the chain has expired
    /// since. A refusal is kept as well, so that a client cannot have the same chain judged for every stream.
    pub(super) fn judge(&self, auth: &ClientAuth, now: UnixTime) -> Result<(), Refusal> {
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Verdict { policy, outcome }) = &*verdict
            && *policy == auth.id
        {
            match outcome {
                Ok(identity) if now <= identity.valid_until => return Ok(()),
                Ok(_) => {}
                Err(refusal) => return Err(refusal.clone()),
            }
        }
        let outcome = auth.judge(&self.chain, now);
        let answer = outcome.clone().map(|_| ());
        *verdict = Some(Verdict { policy: auth.id, outcome });
        answer
    }
}
