//! TCP and TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client;
use tokio_rustls::server::TlsStream;

use super::session::Session;
use crate::model::HostName;
use crate::proxy::downstream::Downstream;
use crate::proxy::error::ProxyError;
use crate::proxy::{connect, tunnel};
use crate::snapshot::{Carrier, Endpoint, StreamEnd, StreamRoute, Upstream};

/// Serves a connection of a listener for plain TCP streams.
pub(in crate::proxy) async fn serve_tcp(mut stream: TcpStream, port: u16, downstream: Arc<Downstream>) {
    let route = downstream.shared().current.load().streams.tcp(port, downstream.peer.ip().to_canonical()).cloned();
    let mut session = Session::new(Carrier::Tcp, port, downstream);
    break_off_when_dropped(&stream, true);
    session.end = carry(&mut stream, route, &mut session).await;
    if session.end == StreamEnd::Closed {
        break_off_when_dropped(&stream, false);
    }
}

/// Serves a connection of a listener for TLS streams, after its handshake. It ends at once when its client is not let in any
/// more.
pub(in crate::proxy) async fn serve_tls(mut stream: Box<TlsStream<TcpStream>>, port: u16, downstream: Arc<Downstream>) {
    let Some(tls) = &downstream.tls else { return };
    let route =
        downstream.shared().current.load().streams.tls(port, &tls.sni, downstream.peer.ip().to_canonical()).cloned();
    let mut session = Session::new(Carrier::Tls, port, downstream.clone());
    session.end = tokio::select! {
        biased;
        () = downstream.distrusted() => StreamEnd::Distrusted,
        end = carry(&mut stream, route, &mut session) => end,
    };
}

/// Carries bytes between a client and the first endpoint that can be reached, and says how that ended.
async fn carry<S>(stream: &mut S, route: Option<Arc<StreamRoute>>, session: &mut Session) -> StreamEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (upstream, first) = match session.upstream(route) {
        Ok(upstream) => upstream,
        Err(end) => return end,
    };
    let timeouts = upstream.timeouts.unwrap_or_default();
    let mut next_hop = match connect(session, &upstream, first, timeouts.connect).await {
        Ok(next_hop) => next_hop,
        Err(error) => {
            session.unreachable(&error);
            return StreamEnd::Unreachable;
        }
    };
    break_off_when_dropped(next_hop.socket(), true);
    let idle = timeouts.read.max(timeouts.send);
    let carried = match &mut next_hop {
        NextHop::Plain(next_hop) => tunnel::run(stream, next_hop, idle, &mut session.moved).await,
        NextHop::Secure(next_hop) => Box::pin(tunnel::run(stream, next_hop, idle, &mut session.moved)).await,
    };
    match carried {
        Ok(()) => {
            break_off_when_dropped(next_hop.socket(), false);
            StreamEnd::Closed
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => StreamEnd::Idle,
        Err(error) => {
            tracing::debug!(peer = %session.downstream.peer, "the stream broke off: {error}");
            StreamEnd::Broken
        }
    }
}

/// A connection to an endpoint.
enum NextHop {
    Plain(TcpStream),
    Secure(Box<client::TlsStream<TcpStream>>),
}

impl NextHop {
    /// Connects to `endpoint`, for a client that named `sni`.
    async fn connect(endpoint: &Endpoint, sni: Option<&HostName>) -> Result<Self, ProxyError> {
        let stream = connect::tcp(endpoint).await?;
        match &endpoint.transport.tls {
            None => Ok(Self::Plain(stream)),
            Some(secure) => Ok(Self::Secure(Box::new(connect::tls(endpoint, secure, sni, stream).await?.0))),
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Secure(stream) => stream.get_ref().0,
        }
    }
}

/// Connects to the first endpoint that can be, from the place `first` on.
///
/// # Errors
/// The failure at the endpoint that was tried last.
async fn connect(
    session: &mut Session,
    upstream: &Upstream,
    first: usize,
    within: Duration,
) -> Result<NextHop, ProxyError> {
    let downstream = session.downstream.clone();
    let sni = downstream.tls.as_ref().map(|tls| &tls.sni);
    let mut last = ProxyError::NoEndpoint;
    for node in upstream.from(first) {
        session.tries(upstream, node);
        let connecting = NextHop::connect(&node.endpoint, sni);
        let connected = connect::counted(Box::pin(connecting), within, &downstream.shared().metrics).await;
        session.reached(connected.as_ref().map(|_| ()));
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
        if upstream.retry_timeout.is_some_and(|timeout| session.started.elapsed() >= timeout) {
            break;
        }
    }
    Err(last)
}

/// Whether the peer sees a reset when the stream is dropped. Without it what breaks off would look as if it had ended: TCP
/// itself has no other way to tell the two apart.
fn break_off_when_dropped(stream: &TcpStream, reset: bool) {
    // It fails only on a socket that is gone.
    let _ = SockRef::from(stream).set_linger(reset.then_some(Duration::ZERO));
}
