//! Listening sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use prometheus_client::metrics::gauge::Gauge;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::downstream::Downstream;
use super::forwarded::Word;
use super::proxy_protocol::Named;
use super::sources::{Source, Sources};
use super::{Shared, connection, handshake, proxy_protocol, stream};
use crate::drain::Draining;
use crate::metrics::Metrics;

/// Connections that the kernel queues before we accept them; it caps the number at `net.core.somaxconn` (4096 by default).
const BACKLOG: i32 = 4096;

/// Pauses after an accept that failed for want of file descriptors or memory: they do not come back within microseconds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Http,
    Https,
    StreamTcp,
    StreamTls,
}

impl Service {
    fn gauge(self, metrics: &Metrics) -> &Gauge {
        let connections = &metrics.connections;
        match self {
            Self::Http => &connections.http,
            Self::Https => &connections.https,
            Self::StreamTcp => &connections.stream_tcp,
            Self::StreamTls => &connections.stream_tls,
        }
    }

    /// Serves a connection, in a task of its own: what each service keeps of it has its own size.
    fn start(self, stream: TcpStream, peer: SocketAddr, port: u16, place: Place, draining: Draining) {
        match self {
            Self::Http => tokio::spawn(connection::serve_plaintext(stream, peer, port, place, draining)),
            Self::Https => tokio::spawn(handshake::serve_https(stream, peer, port, place, draining)),
            Self::StreamTcp => {
                let downstream = Arc::new(Downstream::new(peer, port, None, place, draining));
                tokio::spawn(stream::serve_tcp(stream, port, downstream))
            }
            Self::StreamTls => tokio::spawn(handshake::serve_stream(stream, peer, port, place, draining)),
        };
    }
}

/// A bound socket.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    /// Whether connections begin with a header of the PROXY protocol.
    proxy_protocol: bool,
    pub(super) service: Service,
    socket: TcpListener,
}

impl Listener {
    pub(super) fn bind(address: SocketAddr, service: Service) -> io::Result<Self> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?; // a restart must not wait for the old process's TIME_WAIT
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let socket = TcpListener::from_std(socket.into())?;
            Ok(Self { address: socket.local_addr()?, proxy_protocol: false, service, socket })
        };
        bind().map_err(|error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
    }

    /// The same where connections begin with a header of the PROXY protocol.
    pub(super) fn with_proxy_protocol(self) -> Self {
        Self { proxy_protocol: true, ..self }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections until the drain starts.
    pub(super) async fn run(self, shared: Arc<Shared>, mut draining: Draining) {
        let room = Arc::new(Semaphore::new(shared.settings.max_connections));
        let mut pause = PAUSES.0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = draining.started() => break,
                accepted = self.accept(&room) => accepted,
            };
            match accepted {
                Ok((stream, peer, permit)) => {
                    pause = PAUSES.0;
                    self.serve(stream, peer, permit, &shared, &draining);
                }
                // The client gave up while it was queued.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(error) => {
                    tracing::error!("cannot accept on {}: {error}; trying again in {pause:?}", self.address);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
        shared.draining.store(true, Ordering::Relaxed);
        // Closing the socket resets what the kernel has queued: those clients have connected and may have sent a request.
        while let Some(Ok((stream, peer, permit))) = self.accept(&room).now_or_never() {
            self.serve(stream, peer, permit, &shared, &draining);
        }
    }

    async fn accept(&self, room: &Arc<Semaphore>) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = self.socket.accept().await?;
        Ok((stream, peer, permit))
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        shared: &Arc<Shared>,
        draining: &Draining,
    ) {
        // Without it a response's last piece waits for the client's delayed ACK. It fails only on a socket that is gone.
        let _ = stream.set_nodelay(true);
        let mut place = Place::new(permit, self.service.gauge(&shared.metrics).clone(), shared.clone());
        let draining = draining.clone();
        let (peer, port) = (canonical(peer), self.address.port());
        if shared.shedding.load(Ordering::Relaxed) {
            shared.metrics.refused_connections.memory.inc();
            return;
        }
        if self.proxy_protocol {
            tokio::spawn(announced(stream, peer, port, place, (self.service, draining)));
            return;
        }
        if !place.admits(peer) {
            return;
        }
        self.service.start(stream, peer, port, place, draining);
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Serves a connection that begins with a header of the PROXY protocol, as one of the client that the header names.
async fn announced(
    mut stream: TcpStream,
    peer: SocketAddr,
    port: u16,
    mut place: Place,
    (service, draining): (Service, Draining),
) {
    let settings = &place.shared.settings;
    let refused = &place.shared.metrics.refused_connections;
    if Word::of(peer.ip(), &settings.trusted_addresses) == Word::Distrusted {
        refused.untrusted_proxy.inc();
        place.warn(peer, "untrusted_proxy", "it is none of the trusted addresses");
        return;
    }
    let header = tokio::time::timeout(settings.first_byte_timeout, proxy_protocol::read(&mut stream));
    let named = match header.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(named) => named,
        Err(error) => {
            refused.proxy_header.inc();
            place.warn(peer, "proxy_header", &format!("its header of the PROXY protocol cannot be read: {error}"));
            return;
        }
    };
    let client = if let Named::Client(client) = named { canonical(client) } else { peer };
    if !place.admits(client) {
        return;
    }
    if named == Named::Unknown {
        place.doubts();
    }
    service.start(stream, client, port, place, draining);
}

/// A connection's place among those that its listener may have open. Given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    gauge: Gauge,
    /// Whether the client sends datagrams.
    datagrams: bool,
    pub(super) shared: Arc<Shared>,
    /// Where it counts for its source.
    source: Option<Source>,
    /// Whether the client is believed about who its own clients are.
    pub(super) word: Word,
}

impl Place {
    /// A place that counts in `gauge`.
    pub(super) fn new(permit: OwnedSemaphorePermit, gauge: Gauge, shared: Arc<Shared>) -> Self {
        gauge.inc();
        let word = Word::Unknown;
        Self { _permit: permit, datagrams: false, gauge, shared, source: None, word }
    }

    /// The place of a client that sends datagrams.
    pub(super) fn of_datagrams(mut self) -> Self {
        self.datagrams = true;
        self
    }

    fn sources(&self) -> &Sources {
        if self.datagrams { &self.shared.datagram_sources } else { &self.shared.sources }
    }

    /// Counts the connection for the source of `client`; false where that has as many as it may.
    pub(super) fn admits(&mut self, client: SocketAddr) -> bool {
        let settings = &self.shared.settings;
        let most = settings.max_connections_per_source;
        self.word = Word::of(client.ip(), &settings.trusted_addresses);
        if most == 0 || self.word == Word::Trusted {
            return true;
        }
        let source = Source::of(client.ip());
        let admitted = self.sources().enter(source, most);
        if admitted {
            self.source = Some(source);
        } else {
            self.shared.metrics.refused_connections.source.inc();
            self.warn(client, "source", &format!("its source has {most} connections"));
        }
        admitted
    }

    /// The client is not the one whom [`admits`](Self::admits) was asked about, but one whom that one does not name: what it says
    /// about its own clients is not that one's word.
    fn doubts(&mut self) {
        if self.word == Word::Trusted {
            self.word = Word::Distrusted;
        }
    }

    /// Logs that a connection is refused, unless the like was logged often of late.
    fn warn(&self, peer: SocketAddr, reason: &'static str, why: &str) {
        if self.shared.audit.admits_handshake(peer.ip(), reason) {
            tracing::warn!("connection refused: {why}, client: {}", peer.ip());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.dec();
        if let Some(source) = self.source {
            self.sources().leave(source);
        }
    }
}
