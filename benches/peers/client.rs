//! The client: tokio-rustls and hyper, with one cipher suite and one key exchange, so that every server does the same
//! cryptography. It never resumes a session.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::authority::{self, Certificates, Identity};
use crate::backend::BODY;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Opens connections to one server, as one client identity.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Client {
    /// A client that shows `identity`, or none.
    pub(crate) fn new(
        address: SocketAddr,
        certificates: &Certificates,
        identity: Option<&Identity>,
    ) -> anyhow::Result<Self> {
        let mut provider = default_provider();
        provider.cipher_suites = vec![cipher_suite::TLS13_AES_256_GCM_SHA384];
        provider.kx_groups = vec![kx_group::X25519];
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificates.authority.as_bytes())?)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes())?],
                PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?,
            )?,
        };
        config.resumption = Resumption::disabled();
        Ok(Self { address, config: Arc::new(config) })
    }

    /// Connects, shakes hands in full, and is ready to send requests.
    pub(crate) async fn connect(&self, protocol: Protocol) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let alpn: &[u8] = match protocol {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        };
        let name = ServerName::try_from(authority::HOST)?;
        let stream = TlsConnector::from(self.config.clone())
            .with_alpn(vec![alpn.to_vec()])
            .connect(name, stream)
            .await
            .context("the handshake failed")?;
        let tls = stream.get_ref().1;
        ensure!(tls.handshake_kind() == Some(HandshakeKind::Full), "the handshake was {:?}", tls.handshake_kind());
        let group = tls.negotiated_key_exchange_group().map(SupportedKxGroup::name);
        ensure!(group == Some(NamedGroup::X25519), "the key exchange was {group:?}");
        ensure!(tls.alpn_protocol() == Some(alpn), "the server does not speak {protocol:?}");
        Ok(match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                Connection { sender: Sender::Http1(sender), driver: tokio::spawn(connection) }
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                Connection { sender: Sender::Http2(sender), driver: tokio::spawn(connection) }
            }
        })
    }
}

/// A connection, closed when dropped.
pub(crate) struct Connection {
    driver: JoinHandle<hyper::Result<()>>,
    sender: Sender,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Connection {
    /// Sends `count` requests: one after the other over HTTP/1.1, in `STREAMS` streams at a time over HTTP/2.
    pub(crate) async fn requests(&mut self, count: usize) -> anyhow::Result<()> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                for _ in 0..count {
                    sender.ready().await?;
                    right(sender.send_request(get("/")?).await?).await?;
                }
            }
            Sender::Http2(sender) => {
                let streams = (0..STREAMS).map(|stream| {
                    let mut sender = sender.clone();
                    async move {
                        for _ in (stream..count).step_by(STREAMS) {
                            sender.ready().await?;
                            right(sender.send_request(get(&format!("https://{}/", authority::HOST))?).await?).await?;
                        }
                        anyhow::Ok(())
                    }
                });
                futures::future::try_join_all(streams).await?;
            }
        }
        Ok(())
    }

    /// Sends the only request of an HTTP/1.1 connection and waits until both sides have closed.
    pub(crate) async fn only_request(mut self) -> anyhow::Result<()> {
        let Sender::Http1(sender) = &mut self.sender else { bail!("HTTP/2 has no `connection: close`") };
        let mut request = get("/")?;
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        right(sender.send_request(request).await?).await?;
        Ok(self.driver.await??)
    }

    /// The status of one request.
    pub(crate) async fn status(&mut self) -> anyhow::Result<StatusCode> {
        let Sender::Http1(sender) = &mut self.sender else { bail!("asked over HTTP/1.1 only") };
        Ok(sender.send_request(get("/")?).await?.status())
    }
}

/// Concurrent streams of an HTTP/2 connection.
const STREAMS: usize = 10;

fn get(uri: &str) -> anyhow::Result<Request<Empty<Bytes>>> {
    let request = Request::get(uri).header(USER_AGENT, "peers").header(ACCEPT, "*/*");
    // Over HTTP/2 the whole URI says it; `host` beside it would be one header more than real clients send.
    let request = if uri.starts_with('/') { request.header(HOST, authority::HOST) } else { request };
    Ok(request.body(Empty::new())?)
}

/// Fails unless this is the backend's answer.
async fn right(response: Response<Incoming>) -> anyhow::Result<()> {
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status == StatusCode::OK && body == BODY, "a wrong answer: {status} {}", String::from_utf8_lossy(&body));
    Ok(())
}
