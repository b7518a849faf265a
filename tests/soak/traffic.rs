//! Clients that connect and ask without end, and hold every answer to the [`Ledger`].

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};

use crate::backend::Backend;
use crate::client::{Connection, answer, tls, tls_config_of};
use crate::ledger::{Client, Expected, Host, Ledger};
use crate::pki::Certified;
use crate::upstream::text;

/// How many requests the connections of a client carry, in turn: some are closed at once, some outlast several changes.
const REQUESTS: [u64; 6] = [1, 4, 1, 32, 1, 256];

/// Between two requests of a connection.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(10);

/// Between two connections of a client. One that is refused makes many.
const BETWEEN_CONNECTIONS: Duration = Duration::from_millis(100);

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Wrong answers that are told in full.
const TOLD: usize = 20;

/// What the clients share.
pub(crate) struct Traffic {
    pub(crate) backend: Backend,
    pub(crate) https: SocketAddr,
    pub(crate) ledger: Ledger,
    pub(crate) over: AtomicBool,
    pub(crate) tally: Tally,
}

/// What the clients saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers that would have been right either way.
    pub(crate) either: AtomicU64,
    pub(crate) full: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) resumed: AtomicU64,
    pub(crate) served: AtomicU64,
    /// What was wrong: the first of them.
    pub(crate) wrong: Mutex<Vec<String>>,
    pub(crate) wrongs: AtomicU64,
}

impl Tally {
    fn wrong(&self, what: String) {
        add(&self.wrongs);
        let mut wrong = self.wrong.lock().unwrap();
        if wrong.len() < TOLD {
            wrong.push(what);
        }
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// One client, for one host, with one version of TLS and HTTP.
pub(crate) struct Worker {
    client: Client,
    host: Host,
    /// It never resumes, and it always tries to.
    configs: [Arc<ClientConfig>; 2],
    traffic: Arc<Traffic>,
}

impl Worker {
    pub(crate) fn new(
        (client, host): (Client, Host),
        certificate: Option<&Certified>,
        alpn: &str,
        version: &'static SupportedProtocolVersion,
        traffic: Arc<Traffic>,
    ) -> Self {
        let resuming = tls_config_of(alpn, certificate, &[version]);
        let mut full = (*resuming).clone();
        full.resumption = Resumption::disabled();
        Self { client, host, configs: [full.into(), resuming], traffic }
    }

    /// Goes on until the traffic is over.
    pub(crate) async fn run(self) {
        let plans = REQUESTS.into_iter().cycle().zip([0, 1, 1, 1].into_iter().cycle());
        for (requests, config) in plans {
            if self.is_over() {
                return;
            }
            self.connect(&self.configs[config], requests).await;
            tokio::time::sleep(BETWEEN_CONNECTIONS).await;
        }
    }

    fn is_over(&self) -> bool {
        self.traffic.over.load(Ordering::Relaxed)
    }

    async fn connect(&self, config: &Arc<ClientConfig>, requests: u64) {
        let since = self.traffic.ledger.now();
        let shaken = tokio::time::timeout(PATIENCE, tls(self.traffic.https, self.host.name(), config.clone())).await;
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if self.host == Host::Alert => return self.refused(since, &format!("handshake: {error}")),
            Ok(Err(error)) => return self.wrong(&format!("the handshake fails: {error}")),
            Err(_) => return self.wrong("the handshake does not end"),
        };
        let (_, session) = stream.get_ref();
        let http2 = session.alpn_protocol() == Some(b"h2");
        if session.handshake_kind() == Some(HandshakeKind::Resumed) {
            add(&self.traffic.tally.resumed);
        } else {
            add(&self.traffic.tally.full);
            let shown = session.peer_certificates().and_then(<[_]>::first);
            if !shown.is_some_and(|certificate| self.traffic.ledger.showed(since, certificate)) {
                self.wrong("a server certificate of another time");
            }
        }
        let mut connection = Connection::over(stream, http2).await;
        let mut served = since;
        for _ in 0..requests {
            let since = self.traffic.ledger.now();
            if self.is_over() || !self.ask(&mut connection, since, served).await {
                return;
            }
            served = since;
            tokio::time::sleep(BETWEEN_REQUESTS).await;
        }
    }

    /// Sends a request at `since`, after another one (or the handshake) succeeded that was begun at `before`. Whether it was
    /// served.
    async fn ask(&self, connection: &mut Connection, since: usize, before: usize) -> bool {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = format!("/{number}");
        let target = if number.is_multiple_of(16) { format!("{path}?slow") } else { path.clone() };
        let request = connection.request("GET", self.host.name(), &target).body(text("")).unwrap();
        let answered = tokio::time::timeout(PATIENCE, async {
            Ok::<_, hyper::Error>(answer(connection.send(request).await?).await)
        });
        let answered = answered.await;
        let arrived = self.traffic.backend.take(&path);
        match (answered, arrived) {
            (Ok(Ok(answer)), true) if answer.status == StatusCode::OK => {
                self.served(since);
                return true;
            }
            (Ok(Ok(answer)), false) if answer.status == StatusCode::BAD_REQUEST && self.host != Host::Alert => {
                self.refused(since, "400 Bad Request");
            }
            // It may have been closed at any time since it was good for something.
            (Ok(Err(error)), false) => self.refused(before, &format!("closed: {error:?}")),
            (Ok(Ok(answer)), arrived) => {
                self.wrong(&format!("{}; the request went upstream: {arrived}", answer.status));
            }
            (Ok(Err(error)), true) => self.wrong(&format!("{error:?}, although the request went upstream")),
            (Err(_), arrived) => self.wrong(&format!("no answer; the request went upstream: {arrived}")),
        }
        false
    }

    fn served(&self, since: usize) {
        let tally = &self.traffic.tally;
        match self.traffic.ledger.expected(since, self.client, self.host) {
            Expected::Either => add(&tally.either),
            Expected::Refused => self.wrong("let in"),
            Expected::Served => add(&tally.served),
        }
    }

    fn refused(&self, since: usize, how: &str) {
        let tally = &self.traffic.tally;
        match self.traffic.ledger.expected(since, self.client, self.host) {
            Expected::Either => add(&tally.either),
            Expected::Refused => add(&tally.refused),
            Expected::Served => self.wrong(&format!("refused: {how}")),
        }
    }

    fn wrong(&self, what: &str) {
        let (client, host) = (self.client, self.host);
        let alpn = String::from_utf8_lossy(&self.configs[0].alpn_protocols[0]).into_owned();
        let now = self.traffic.ledger.now();
        self.traffic.tally.wrong(format!("at change {now}: {client:?} at {host:?} with {alpn}: {what}"));
    }
}
