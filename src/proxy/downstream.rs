//! The client's side of a connection: who it is, and what it has proved.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::Notify;

use super::forwarded::Word;
use super::listener::Place;
use super::live::{Entry, Live, Role, Use};
use super::review;
use super::standing::{FOREVER, Lost, Standing, observed, standing};
use super::verdict::{LastVerdict, Verdict};
use crate::drain::Draining;
use crate::model::HostName;
use crate::snapshot::{ClientAuth, HostTls, Snapshot};
use crate::trust::{self, Holder};

/// A downstream connection, shared by its requests.
#[derive(Debug)]
pub(super) struct Downstream {
    /// Woken when the connection must not take further requests.
    pub(super) close: Notify,
    /// Whether its client was let in and is not any more.
    distrusted: AtomicBool,
    pub(super) draining: Draining,
    /// Its place among the open connections of its host; TLS only.
    entry: Option<Entry>,
    /// The address of `peer` as text, for headers; made once per connection.
    pub(super) ip: HeaderValue,
    /// Who connected, or whom the PROXY protocol names in place of it.
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
    /// The listener's port as text.
    pub(super) port_text: HeaderValue,
    pub(super) pace: Arc<Pace>,
    /// `None` on a plaintext listener.
    pub(super) tls: Option<Tls>,
    /// Whether the peer is believed about who its clients are.
    pub(super) word: Word,
}

impl Downstream {
    pub(super) fn new(peer: SocketAddr, port: u16, tls: Option<Tls>, place: Place, draining: Draining) -> Self {
        let word = place.word;
        let ip = HeaderValue::try_from(peer.ip().to_string()).unwrap_or(HeaderValue::from_static("-"));
        Self {
            close: Notify::new(),
            distrusted: AtomicBool::new(false),
            draining,
            entry: None,
            ip,
            peer,
            place,
            port_text: port.into(),
            pace: Arc::new(Pace::new()),
            tls,
            word,
        }
    }

    /// Enters a TLS connection among the open ones of `host`, which its handshake was made for.
    pub(super) fn watched(mut self, host: &Arc<HostTls>) -> Arc<Self> {
        let Some(tls) = &self.tls else { return Arc::new(self) };
        let used = Use { host: tls.sni.clone(), role: Role::Handshake };
        let standing = self.standing(host);
        let downstream = Arc::new_cyclic(|weak| {
            let shared = &self.place.shared;
            self.entry = Some(Live::enter(shared, weak.clone(), used, Some(host.clone()), &standing));
            self
        });
        if let Some(entry) = &downstream.entry {
            downstream.catch_up(entry, Some(host));
        }
        downstream
    }

    /// Enters the connection among those of `host` while a request for it is under way. `None` where that takes none: the
    /// handshake was for the same host, or there was none. On plaintext connections only a `tunnel` is worth it.
    pub(super) fn used_for(self: &Arc<Self>, snapshot: &Snapshot, host: &HostName, tunnel: bool) -> Option<Entry> {
        let elsewhere = self.tls.as_ref().map_or(tunnel, |tls| tls.sni != *host);
        if !elsewhere {
            return None;
        }
        let used = Use { host: host.clone(), role: Role::Request };
        let host = used.configured(snapshot);
        let standing = host.map_or(Ok(FOREVER), |host| self.standing(host));
        let entry = Live::enter(self.shared(), Arc::downgrade(self), used.clone(), host.cloned(), &standing);
        self.catch_up(&entry, host);
        Some(entry)
    }

    /// What is published once the connection is entered finds it. What was published since it was judged may not have.
    fn catch_up(self: &Arc<Self>, entry: &Entry, host: Option<&Arc<HostTls>>) {
        let current = self.shared().current.load();
        if entry.used().configured(&current).map(Arc::as_ptr) != host.map(Arc::as_ptr) {
            review::review(self.shared(), &entry.due(self.clone()));
        }
    }

    /// The client's standing with `host`.
    pub(super) fn standing(&self, host: &HostTls) -> Standing {
        let allow_plaintext = self.shared().settings.allow_plaintext_client_auth;
        standing(host, self.tls.as_ref(), UnixTime::now(), allow_plaintext)
    }

    /// Why the client would not be let in to `host`, were its policy not in the mode `Observe`.
    pub(super) fn observed(&self, host: &HostTls) -> Option<Lost> {
        observed(host, self.tls.as_ref()?, UnixTime::now())
    }

    /// Tells the connection to end, because its client is not let in any more: HTTP finishes what is under way, within
    /// [`Settings::trust_grace`](super::Settings::trust_grace); tunnels end at once. False where that was known.
    pub(super) fn distrust(&self) -> bool {
        let first = !self.distrusted.swap(true, Ordering::AcqRel);
        if first {
            self.close.notify_one();
        }
        first
    }

    /// Waits until the client is not let in any more. One task may wait at a time.
    pub(super) async fn distrusted(&self) {
        while !self.distrusted.load(Ordering::Acquire) {
            self.close.notified().await;
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
    chain: Box<[CertificateDer<'static>]>,
    /// Whether the session is one from before.
    pub(super) resumed: bool,
    pub(super) sni: HostName,
    verdict: LastVerdict,
    /// `TLSv1.2` or `TLSv1.3`.
    pub(super) version: &'static str,
}

impl Tls {
    pub(super) fn new(sni: HostName, chain: Vec<CertificateDer<'static>>, version: &'static str) -> Self {
        let chain = chain.into_boxed_slice();
        Self { chain, resumed: false, sni, verdict: LastVerdict::default(), version }
    }

    /// Whether the client sent a certificate.
    pub(super) fn has_certificate(&self) -> bool {
        !self.chain.is_empty()
    }

    /// The client's certificate; `None` where it sent none.
    pub(super) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }

    /// The subject of the client's certificate, for logs.
    pub(super) fn subject(&self) -> Option<String> {
        Some(Holder::read(self.certificate()?)?.subject)
    }

    /// When the client's certificate ends, in seconds since the epoch.
    pub(super) fn not_after(&self) -> Option<i64> {
        trust::not_after(self.certificate()?)
    }

    /// The verdict on the client under `auth` at the time `now`. The chain is judged once per policy: again when the policy
    /// has changed, or when a certificate of the chain has expired since.
    pub(super) fn judge(&self, auth: &ClientAuth, now: UnixTime) -> Arc<Verdict> {
        self.verdict.judge(&self.chain, auth, now)
    }
}
