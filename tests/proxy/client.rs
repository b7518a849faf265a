//! Clients: HTTP/1.1 and HTTP/2 over TLS, and plain text.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pki::{Certified, PKI};
use crate::upstream::{AnyBody, text};

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) fn tls_config(alpn: &str, certificate: Option<&Certified>) -> Arc<ClientConfig> {
    tls_config_of(alpn, certificate, rustls::ALL_VERSIONS)
}

pub(crate) fn tls_config_of(
    alpn: &str,
    certificate: Option<&Certified>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(PKI.servers.certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match certificate {
        Some(certified) => builder.with_client_auth_cert(certified.chain.clone(), certified.private_key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    Arc::new(config)
}

pub(crate) async fn tls(
    address: SocketAddr,
    sni: &str,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(config).connect(sni.to_owned().try_into().unwrap(), stream).await
}

/// A connection that carries requests one after the other, or many at once.
pub(crate) enum Connection {
    Http1(http1::SendRequest<AnyBody>),
    Http2(http2::SendRequest<AnyBody>),
}

impl Connection {
    /// TLS with ALPN `alpn`.
    pub(crate) async fn secure(address: SocketAddr, alpn: &str, sni: &str, certificate: Option<&Certified>) -> Self {
        let stream = tls(address, sni, tls_config(alpn, certificate)).await.unwrap();
        Self::over(stream, alpn == "h2").await
    }

    pub(crate) async fn plain(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), false).await
    }

    pub(crate) async fn over<S>(stream: S, http2: bool) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            return Self::Http2(sender);
        }
        let (sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self::Http1(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<AnyBody>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// A request, with the host where the protocol has it.
    pub(crate) fn request(&self, method: &str, host: &str, path: &str) -> http::request::Builder {
        let builder = Request::builder().method(method);
        match self {
            Self::Http1(_) => builder.uri(path).header("host", host),
            Self::Http2(_) => builder.uri(format!("https://{host}{path}")),
        }
    }

    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Answer {
        let request = self.request("GET", host, path).body(text("")).unwrap();
        answer(self.send(request).await.unwrap()).await
    }

    /// Whether the proxy has closed the connection.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Whether the proxy has closed the connection, or does so soon.
    pub(crate) async fn closes(&mut self) -> bool {
        self.closes_within(Duration::from_secs(30)).await
    }

    pub(crate) async fn closes_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < limit {
            if self.is_closed() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }
}

pub(crate) async fn answer(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Sends `bytes` on a new plain connection and reads until the proxy closes it.
pub(crate) async fn raw(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
    read.await.expect("the connection stays open").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
