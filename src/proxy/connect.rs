//! Connections to endpoints: idle ones, and new ones.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::ProxyError;
use crate::metrics::Metrics;
use crate::model::HostName;
use crate::snapshot::{Connection, Endpoint, Secure, server_name};

/// The newest idle connection for a request of `host` that the upstream has not closed.
pub(super) fn idle(endpoint: &Endpoint, host: Option<&HostName>, now: Instant) -> Option<Box<Connection>> {
    let idle = &endpoint.idle;
    let newest = || match &endpoint.transport.tls {
        None => idle.take(now.into_std()),
        Some(secure) => {
            let name = secure.name(host);
            idle.take_if(now.into_std(), |connection| *connection.name == *name)
        }
    };
    std::iter::from_fn(newest).find_map(|mut connection| connection.is_still_idle().then_some(connection))
}

/// Connects to an endpoint, for a request of `host`.
pub(super) async fn connect(
    endpoint: &Endpoint,
    host: Option<&HostName>,
    timeout: Duration,
    metrics: &Metrics,
) -> Result<Box<Connection>, ProxyError> {
    let connected = async {
        let stream = tcp(endpoint).await?;
        let connection = match &endpoint.transport.tls {
            None => Connection::new(stream).await,
            Some(secure) => {
                let (stream, name) = tls(endpoint, secure, host, stream).await?;
                Connection::secure(stream, name).await
            }
        };
        connection.map(Box::new).map_err(|error| ProxyError::Connect(io::Error::other(error)))
    };
    counted(connected, timeout, metrics).await
}

/// Waits for a connection, within the deadline, and counts it.
pub(super) async fn counted<T>(
    connected: impl Future<Output = Result<T, ProxyError>>,
    timeout: Duration,
    metrics: &Metrics,
) -> Result<T, ProxyError> {
    let connected = tokio::time::timeout(timeout, connected).await.unwrap_or(Err(ProxyError::ConnectTimeout));
    let counter = if connected.is_ok() { &metrics.upstream.connects } else { &metrics.upstream.connect_failures };
    counter.inc();
    connected
}

/// A connection of bytes.
pub(super) async fn tcp(endpoint: &Endpoint) -> Result<TcpStream, ProxyError> {
    let stream = TcpStream::connect(endpoint.address).await.map_err(ProxyError::Connect)?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// TLS on `stream`, with the name that the handshake was for.
pub(super) async fn tls<'a>(
    endpoint: &'a Endpoint,
    secure: &'a Secure,
    host: Option<&'a HostName>,
    stream: TcpStream,
) -> Result<(TlsStream<TcpStream>, &'a str), ProxyError> {
    let name = secure.name(host);
    let server = server_name(name, endpoint.address).ok_or_else(|| {
        ProxyError::Connect(io::Error::new(io::ErrorKind::InvalidInput, "the host is no name that TLS can ask for"))
    })?;
    let connector = TlsConnector::from(secure.client.config.clone());
    let stream = connector.connect(server, stream).await.map_err(ProxyError::Handshake)?;
    Ok((stream, name))
}
