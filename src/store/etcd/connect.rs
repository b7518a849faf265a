//! Connections to etcd's endpoints.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::Files;

/// The port of an endpoint that names none.
const PORT: u16 = 2379;

/// How long a machine may say nothing at all before it counts as gone: that of an idle watch, and that of an unanswered request.
const SILENCE: Duration = Duration::from_secs(10);

/// One of etcd's endpoints.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// What `Host` says.
    pub(super) authority: Authority,
    host: String,
    port: u16,
    tls: bool,
}

impl Endpoint {
    /// Reads `http://host:port` or `https://host:port`.
    ///
    /// # Errors
    /// A sentence, without the endpoint.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is no endpoint of etcd: write http://HOST:PORT or https://HOST:PORT");
        let uri: Uri = text.parse().map_err(|_| form())?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(form()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(form)?.clone();
        if !matches!(uri.path_and_query().map(PathAndQuery::as_str), None | Some("/")) {
            return Err(form());
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(PORT), authority, tls })
    }

    /// Whether it is spoken to by TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Opens a connection. It ends when its sender and the body of the last answer are gone.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn open(&self, files: &Arc<Files>) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| error.to_string())?;
        notice_silence(&stream).map_err(|error| error.to_string())?;
        if !self.tls {
            return speak(stream).await;
        }
        let name = files.sni().unwrap_or(&self.host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` is no name for TLS"))?;
        let making = files.clone();
        let config =
            tokio::task::spawn_blocking(move || making.config()).await.map_err(|error| error.to_string())??;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        speak(stream.map_err(|error| format!("TLS: {error}"))?).await
    }
}

/// Has the kernel end a connection whose other side is gone without a word.
fn notice_silence(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let third = SILENCE / 3;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(third).with_interval(third).with_retries(2))?;
    socket.set_tcp_user_timeout(Some(SILENCE))
}

async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to etcd has ended");
        }
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        for (text, host, port, tls) in [
            ("http://127.0.0.1:2379", "127.0.0.1", 2379, false),
            ("https://etcd.test:1/", "etcd.test", 1, true),
            ("https://[::1]", "::1", 2379, true),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((&*endpoint.host, endpoint.port, endpoint.tls), (host, port, tls));
        }
        for text in ["", "etcd", "127.0.0.1:2379", "ftp://a", "http://", "http://a/v3", "http://a?b", "http://u:p@a"] {
            assert!(Endpoint::parse(text).unwrap_err().contains("is no endpoint of etcd"), "{text}");
        }
    }
}
