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
use super::{Shared, connection, handshake, stream};
use crate::drain::Draining;

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

/// A bound socket.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
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
            Ok(Self { address: socket.local_addr()?, service, socket })
        };
        bind().map_err(|error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
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
        let connections = &shared.metrics.connections;
        let gauge = match self.service {
            Service::Http => &connections.http,
            Service::Https => &connections.https,
            Service::StreamTcp => &connections.stream_tcp,
            Service::StreamTls => &connections.stream_tls,
        };
        let place = Place::new(permit, gauge.clone(), shared.clone());
        let draining = draining.clone();
        let (peer, port) = (SocketAddr::new(peer.ip().to_canonical(), peer.port()), self.address.port());
        match self.service {
            Service::Http => tokio::spawn(connection::serve_plaintext(stream, peer, port, place, draining)),
            Service::Https => tokio::spawn(handshake::serve_https(stream, peer, port, place, draining)),
            Service::StreamTls => tokio::spawn(handshake::serve_stream(stream, peer, port, place, draining)),
            Service::StreamTcp => {
                let downstream = Arc::new(Downstream::new(peer, port, None, place, draining));
                tokio::spawn(stream::serve_tcp(stream, port, downstream))
            }
        };
    }
}

/// A connection's place among those that its listener may have open. Given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    gauge: Gauge,
    pub(super) shared: Arc<Shared>,
}

impl Place {
    /// Counts the connection in `gauge` as long as it lives.
    pub(super) fn new(permit: OwnedSemaphorePermit, gauge: Gauge, shared: Arc<Shared>) -> Self {
        gauge.inc();
        Self { _permit: permit, gauge, shared }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
