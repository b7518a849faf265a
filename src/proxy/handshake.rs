//! From an accepted socket to a TLS connection whose host is known.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::{StartHandshake, TlsStream};

use super::access_log::Escaped;
use super::downstream::{Downstream, Tls};
use super::listener::Place;
use super::standing::Lost;
use super::{Shared, connection, record, stream};
use crate::drain::Draining;
use crate::model::HostName;
use crate::snapshot::{Handshake, HostTls, Policy, Rejection};
use crate::trust::Refusal;

/// Alert descriptions (RFC 8446 section 6.2) for what rustls does not know to be wrong.
#[derive(Clone, Copy)]
enum Alert {
    InternalError = 80,
    UnrecognizedName = 112,
}

/// How long, and for how many bytes, a client that was refused may go on sending.
const LINGER: (Duration, u64) = (Duration::from_secs(1), 256 << 10);

/// Serves a connection of an HTTPS listener.
pub(super) async fn serve_https(stream: TcpStream, peer: SocketAddr, port: u16, place: Place, draining: Draining) {
    let Some(accepted) = secure(stream, peer, &place, Offer::OfHost).await else { return };
    let Accepted { host, stream, tls } = accepted;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let alerts = matches!(&host.policy, Policy::Require(auth) if auth.alerts());
    let downstream = Downstream::new(peer, port, Some(tls), place, draining);
    if alerts && let Err(lost) = downstream.standing(&host) {
        // The chain of a resumed session was judged in another handshake.
        turn_away(&downstream, &host, &lost, stream).await;
        return;
    }
    let downstream = downstream.watched(&host);
    if http2 {
        connection::http2(stream, downstream).await;
    } else {
        connection::http1(stream, downstream).await;
    }
}

/// Serves a connection of a listener for TLS streams. There is no answer that could say why a client is refused, so whatever
/// the policy wants refused clients to get, they get an alert or are closed.
pub(super) async fn serve_stream(stream: TcpStream, peer: SocketAddr, port: u16, place: Place, draining: Draining) {
    let Some(accepted) = secure(stream, peer, &place, Offer::Nothing).await else { return };
    let Accepted { host, stream, tls } = accepted;
    let downstream = Downstream::new(peer, port, Some(tls), place, draining);
    if let Err(lost) = downstream.standing(&host) {
        turn_away(&downstream, &host, &lost, stream).await;
        return;
    }
    if let Some(lost) = downstream.observed(&host) {
        record::stream_observed(&downstream, &lost);
    }
    let downstream = downstream.watched(&host);
    stream::serve_tls(stream, port, downstream).await;
}

/// Closes a connection whose handshake has succeeded, because its client is not let in.
async fn turn_away(downstream: &Downstream, host: &HostTls, lost: &Lost, mut stream: Box<TlsStream<TcpStream>>) {
    let shared = downstream.shared();
    shared.metrics.handshakes.refused.inc();
    if let Some(tls) = &downstream.tls {
        refused(shared, lost, host, downstream.peer, tls);
    }
    let _ = timeout(LINGER.0, stream.shutdown()).await;
    linger(stream.into_inner().0).await;
}

/// Which application protocols a handshake offers (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    /// None, and whatever the client offers is passed over: what a stream carries is the upstream's business.
    Nothing,
    /// What the host has.
    OfHost,
}

/// Makes the handshake within its deadline. `None` where it failed, which has been logged.
async fn secure(stream: TcpStream, peer: SocketAddr, place: &Place, offer: Offer) -> Option<Accepted> {
    let shared = &place.shared;
    let deadline = Instant::now() + shared.settings.handshake_timeout;
    // One deadline over both halves; boxed, so that its state does not stay with the connection.
    let Ok(accepted) = timeout_at(deadline, Box::pin(accept(stream, peer, shared, offer))).await else {
        shared.metrics.handshakes.timeout.inc();
        tracing::debug!(%peer, "the TLS handshake took too long");
        return None;
    };
    let accepted = accepted?;
    completed(shared, &accepted.host, &accepted.tls);
    Some(accepted)
}

/// A connection after its handshake.
struct Accepted {
    /// What the handshake was made under.
    host: Arc<HostTls>,
    /// Boxed: it is moved on its way into the connection, and the task keeps room for each place: 2.7 KiB per connection.
    stream: Box<TlsStream<TcpStream>>,
    /// The host that the client named, or is taken to have named, and what it sent.
    tls: Tls,
}

/// What the finished handshake tells about the client.
fn established(session: &ServerConnection, sni: HostName) -> Tls {
    let chain = session.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    let mut tls = Tls::new(sni, chain, version);
    tls.resumed = resumed;
    tls
}

/// Counts a handshake that was completed, and who vouched for the client.
fn completed(shared: &Shared, host: &HostTls, tls: &Tls) {
    let now = UnixTime::now();
    let handshakes = &shared.metrics.handshakes;
    if tls.resumed { &handshakes.resumed } else { &handshakes.full }.inc();
    let snapshot = shared.current.load();
    let Some(stats) = snapshot.stats.one_label(&tls.sni) else { return };
    stats.handshake(if tls.resumed { Handshake::Resumed } else { Handshake::Full });
    if let Policy::Require(auth) = &host.policy
        && let Some(not_after) = tls.not_after()
        && let Ok(verified) = &tls.judge(auth, now).outcome
    {
        stats.verified(*verified.anchor(), not_after, now);
    }
}

/// How a handshake failed.
fn failure(error: &io::Error) -> Handshake {
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match of_tls {
        None => Handshake::Closed,
        Some(rustls::Error::AlertReceived(_)) => Handshake::Alerted,
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => Handshake::Incompatible,
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature)) => Handshake::Misbehaved,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Handshake::Refused,
        Some(_) => Handshake::Misbehaved,
    }
}

/// Handshakes under the settings of the host that the client names. `None` where that failed, which has been logged.
async fn accept(stream: TcpStream, peer: SocketAddr, shared: &Shared, offer: Offer) -> Option<Accepted> {
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
        refuse(start, shared, (Alert::UnrecognizedName, "no_sni"), peer, "", "the client named no host (SNI)").await;
        return None;
    };
    let Some(host) = shared.current.load().handshake(&sni).cloned() else {
        counters.unknown_sni.inc();
        refuse(
            start,
            shared,
            (Alert::UnrecognizedName, "unknown_sni"),
            peer,
            sni.as_str(),
            "no TLS is configured for the host",
        )
        .await;
        return None;
    };
    let config = match &host.server {
        Ok(config) if offer == Offer::Nothing => Arc::new(without_protocols(config)),
        Ok(config) => config.clone(),
        Err(invalid) => {
            counters.unusable.inc();
            count(shared, &sni, Handshake::Unusable);
            let why = format!("{} cannot be served: {invalid}", host.object);
            refuse(start, shared, (Alert::InternalError, "unusable"), peer, sni.as_str(), &why).await;
            return None;
        }
    };
    match start.into_stream(config).into_fallible().await {
        Ok(stream) => {
            let tls = established(stream.get_ref().1, sni);
            Some(Accepted { host, stream: Box::new(stream), tls })
        }
        Err((error, stream)) => {
            match rejection(&error) {
                Some(Rejection { chain, refusal }) => {
                    counters.refused.inc();
                    count(shared, &sni, Handshake::Refused);
                    refused(shared, &Lost::Refused(refusal), &host, peer, &Tls::new(sni, chain, ""));
                }
                None => {
                    count(shared, &sni, failure(&error));
                    failed(error);
                }
            }
            linger(stream).await;
            None
        }
    }
}

/// The same handshake without application protocols: a client that offers others would be refused.
fn without_protocols(config: &ServerConfig) -> ServerConfig {
    let mut config = config.clone();
    config.alpn_protocols.clear();
    config
}

/// Counts a handshake that ended before it was completed, at the host that it was for.
fn count(shared: &Shared, sni: &HostName, end: Handshake) {
    if let Some(stats) = shared.current.load().stats.one_label(sni) {
        stats.handshake(end);
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

/// Records that a client was refused without an answer, and logs it unless the like was logged often of late.
fn refused(shared: &Shared, lost: &Lost, host: &HostTls, peer: SocketAddr, client: &Tls) {
    if !record::handshake(shared, host, peer, client, lost) {
        return;
    }
    let subject = client.subject().unwrap_or_default();
    tracing::error!(
        "{lost}, client: {}, sni: \"{}\", object: {}, subject: \"{}\"",
        peer.ip(),
        client.sni,
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

/// Sends a fatal alert and logs why, unless the like was logged often of late. Nothing is encrypted before the
/// `ServerHello`, so the alert is a plain record.
async fn refuse(
    start: StartHandshake<TcpStream>,
    shared: &Shared,
    (alert, reason): (Alert, &'static str),
    peer: SocketAddr,
    sni: &str,
    why: &str,
) {
    if shared.audit.admits_handshake(peer.ip(), reason) {
        tracing::warn!("TLS handshake refused: {why}, client: {}, sni: \"{sni}\"", peer.ip());
    }
    let mut stream = start.io;
    let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, alert as u8]).await;
    linger(stream).await;
}
