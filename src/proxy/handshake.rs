//! From an accepted socket to a TLS connection whose host is known.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::{StartHandshake, TlsStream};

use super::access_log::Escaped;
use super::connection;
use super::downstream::{Downstream, Tls};
use super::listener::Place;
use crate::drain::Draining;
use crate::model::HostName;
use crate::snapshot::{HostTls, Policy, Rejection};
use crate::trust::Refusal;

/// Alert descriptions (RFC 8446 section 6.2) for what rustls does not know to be wrong.
#[derive(Clone, Copy)]
enum Alert {
    InternalError = 80,
    UnrecognizedName = 112,
}

/// How long, and for how many bytes, a client that was refused may go on sending.
const LINGER: (Duration, u64) = (Duration::from_secs(1), 256 << 10);

/// Serves a connection of a TLS listener.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, port: u16, place: Place, draining: Draining) {
    let shared = place.shared.clone();
    let deadline = Instant::now() + shared.settings.handshake_timeout;
    // One deadline over both halves; boxed, so that its state does not stay with the connection.
    let accepted = match timeout_at(deadline, Box::pin(accept(stream, peer, &place))).await {
        Ok(Some(accepted)) => accepted,
        Ok(None) => return,
        Err(_) => {
            shared.metrics.handshakes.timeout.inc();
            tracing::debug!(%peer, "the TLS handshake took too long");
            return;
        }
    };
    let Accepted { host, sni, mut stream } = accepted;
    let session = stream.get_ref().1;
    let http2 = session.alpn_protocol() == Some(b"h2");
    let tls = established(session, sni);
    let handshakes = &shared.metrics.handshakes;
    if session.handshake_kind() == Some(HandshakeKind::Resumed) { &handshakes.resumed } else { &handshakes.full }.inc();
    let alerts = matches!(&host.policy, Policy::Require(auth) if auth.alerts());
    let downstream = Downstream::new(peer, port, Some(tls), place, draining);
    if alerts && let Err(lost) = downstream.standing(&host) {
        // The chain of a resumed session was judged in another handshake.
        shared.metrics.handshakes.refused.inc();
        refused(&lost, &host, peer, downstream.tls.as_ref());
        let _ = timeout(LINGER.0, stream.shutdown()).await;
        linger(stream.into_inner().0).await;
        return;
    }
    let downstream = downstream.watched(&host);
    if http2 {
        connection::http2(stream, downstream).await;
    } else {
        connection::http1(stream, downstream).await;
    }
}

/// A connection after its handshake.
struct Accepted {
    /// What the handshake was made under.
    host: Arc<HostTls>,
    /// The host that the client named, or is taken to have named.
    sni: HostName,
    /// Boxed: it is moved on its way into the connection, and the task keeps room for each place: 2.7 KiB per connection.
    stream: Box<TlsStream<TcpStream>>,
}

/// What the finished handshake tells about the client.
fn established(session: &ServerConnection, sni: HostName) -> Tls {
    let chain = session.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    Tls::new(sni, chain, version)
}

/// Handshakes under the settings of the host that the client names. `None` where that failed, which has been logged.
async fn accept(stream: TcpStream, peer: SocketAddr, place: &Place) -> Option<Accepted> {
    let shared = &place.shared;
    let counters = &shared.metrics.handshakes;
    let failed = |error: io::Error| {
        counters.failed.inc();
        tracing::debug!(%peer, "the TLS handshake failed: {error}");
    };
    let start = match LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await {
        Ok(start) => start,
        Err(error) => {
            failed(error);
            return None;
        }
    };
    let sni = match start.client_hello().server_name() {
        Some(name) => HostName::parse(name),
        None => shared.settings.fallback_sni.clone(),
    };
    let Some(sni) = sni else {
        counters.no_sni.inc();
        refuse(start, Alert::UnrecognizedName, peer, "", "the client named no host (SNI)").await;
        return None;
    };
    let Some(host) = shared.current.load().handshake(&sni).cloned() else {
        counters.unknown_sni.inc();
        refuse(start, Alert::UnrecognizedName, peer, sni.as_str(), "no TLS is configured for the host").await;
        return None;
    };
    let config = match &host.server {
        Ok(config) => config.clone(),
        Err(invalid) => {
            counters.unusable.inc();
            let why = format!("{} cannot be served: {invalid}", host.object);
            refuse(start, Alert::InternalError, peer, sni.as_str(), &why).await;
            return None;
        }
    };
    match start.into_stream(config).into_fallible().await {
        Ok(stream) => Some(Accepted { host, sni, stream: Box::new(stream) }),
        Err((error, stream)) => {
            match rejection(&error) {
                Some(Rejection { chain, refusal }) => {
                    counters.refused.inc();
                    let tls = Tls::new(sni, chain, "");
                    refused(&refusal, &host, peer, Some(&tls));
                }
                None => failed(error),
            }
            linger(stream).await;
            None
        }
    }
}

/// Why the client was refused, where the handshake failed for that.
fn rejection(error: &io::Error) -> Option<Rejection> {
    let left = Rejection::take(); // must not stay for another handshake
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    match tls {
        rustls::Error::NoCertificatesPresented => Some(Rejection { chain: Vec::new(), refusal: Refusal::NotPresent }),
        _ => left,
    }
}

/// Logs that a client was refused without an answer.
fn refused(why: &dyn fmt::Display, host: &HostTls, peer: SocketAddr, client: Option<&Tls>) {
    let sni = client.map_or("", |client| client.sni.as_str());
    let subject = client.and_then(Tls::subject).unwrap_or_default();
    tracing::error!(
        "{why}, client: {}, sni: \"{sni}\", object: {}, subject: \"{}\"",
        peer.ip(),
        host.object,
        Escaped(subject.as_bytes()),
    );
}

/// Closes a connection after an alert so that the client gets to read it: what the client sent meanwhile (with TLS 1.3 a
/// request, perhaps) would make the kernel reset the connection, and throw the alert away with it.
async fn linger(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut rest = stream.take(LINGER.1);
    let _ = timeout(LINGER.0, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

/// Sends a fatal alert and logs why. Nothing is encrypted before the `ServerHello`, so the alert is a plain record.
async fn refuse(start: StartHandshake<TcpStream>, alert: Alert, peer: SocketAddr, sni: &str, why: &str) {
    tracing::warn!("TLS handshake refused: {why}, client: {}, sni: \"{sni}\"", peer.ip());
    let mut stream = start.io;
    let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, alert as u8]).await;
    linger(stream).await;
}
