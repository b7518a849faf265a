//! A TLS client that believes every server and can leave out its certificate at will.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{Connection, tls};
use crate::pki::Certified;

pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

pub(crate) const PROTOCOLS: [&str; 2] = ["http/1.1", "h2"];

/// Every version of TLS with every version of HTTP.
pub(crate) fn ways() -> impl Iterator<Item = (&'static SupportedProtocolVersion, &'static str)> {
    VERSIONS.into_iter().flat_map(|version| PROTOCOLS.map(|alpn| (version, alpn)))
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client. Clones share sessions, and the switch that says whether the certificate is sent.
#[derive(Clone)]
pub(crate) struct Attacker {
    pub(crate) config: Arc<ClientConfig>,
    shows: Arc<AtomicBool>,
}

impl Attacker {
    /// A client that does not resume.
    pub(crate) fn new(version: &'static SupportedProtocolVersion, alpn: &str, certificate: Option<&Certified>) -> Self {
        Self::resuming(version, alpn, certificate, Resumption::disabled())
    }

    pub(crate) fn resuming(
        version: &'static SupportedProtocolVersion,
        alpn: &str,
        certificate: Option<&Certified>,
        resumption: Resumption,
    ) -> Self {
        let shows = Arc::new(AtomicBool::new(true));
        let certified = certificate.map(|certified| {
            let key = provider().key_provider.load_private_key(certified.private_key()).unwrap();
            Arc::new(CertifiedKey::new(certified.chain.clone(), key))
        });
        let resolver = Arc::new(Certificates { certified, shows: shows.clone() });
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(every_server());
        let mut config = builder.with_client_cert_resolver(resolver);
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        config.resumption = resumption;
        Self { config: Arc::new(config), shows }
    }

    /// A client with this configuration.
    pub(crate) fn with(config: ClientConfig) -> Self {
        Self { config: Arc::new(config), shows: Arc::default() }
    }

    /// From now on the client shows no certificate.
    pub(crate) fn hide_certificate(&self) {
        self.shows.store(false, Ordering::Relaxed);
    }

    pub(crate) async fn stream(&self, address: SocketAddr, sni: &str) -> std::io::Result<TlsStream<TcpStream>> {
        tls(address, sni, self.config.clone()).await
    }

    pub(crate) async fn connect(&self, address: SocketAddr, sni: &str) -> Session {
        let stream = self.stream(address, sni).await.unwrap();
        let (_, tls) = stream.get_ref();
        let (kind, http2) = (tls.handshake_kind().unwrap(), tls.alpn_protocol() == Some(b"h2"));
        Session { connection: Connection::over(stream, http2).await, kind }
    }

    /// The status of one request on a connection of its own; `None` where the handshake fails, or the connection ends
    /// without an answer.
    pub(crate) async fn status(&self, address: SocketAddr, sni: &str, host: &str) -> Option<u16> {
        let stream = self.stream(address, sni).await.ok()?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Connection::over(stream, http2).await.status(host, "/").await
    }

    /// Sends `text` and reads until the proxy closes the connection.
    pub(crate) async fn raw(&self, address: SocketAddr, sni: &str, text: &str) -> String {
        let mut stream = self.stream(address, sni).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
        let _ = read.await.expect("the connection stays open"); // it may end without close_notify
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A connection, and how its handshake went.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) kind: HandshakeKind,
}

impl Connection {
    /// The status of a request; `None` where the connection ends without an answer.
    pub(crate) async fn status(&mut self, host: &str, path: &str) -> Option<u16> {
        let request = self.request("GET", host, path).body(crate::upstream::text("")).ok()?;
        let response = self.send(request).await.ok()?;
        Some(crate::client::answer(response).await.status.as_u16())
    }
}

#[derive(Debug)]
struct Certificates {
    certified: Option<Arc<CertifiedKey>>,
    shows: Arc<AtomicBool>,
}

impl ResolvesClientCert for Certificates {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified.clone().filter(|_| self.shows.load(Ordering::Relaxed))
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}

/// Believes whoever answers: what is tested here is the server.
pub(crate) fn every_server() -> Arc<dyn ServerCertVerifier> {
    Arc::new(EveryServer)
}

#[derive(Debug)]
struct EveryServer;

impl ServerCertVerifier for EveryServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
