//! Endpoints: one address each.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;

use super::{Connection, Multiplexed, Secure};
use crate::pool::Pool;

/// One address, spoken to in one way, with its idle connections. Shared by every upstream and every snapshot that has both.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect to.
    pub address: Address,
    /// The connections of HTTP/2, where that is spoken.
    pub http2: Option<Box<Multiplexed>>,
    /// Idle connections of HTTP/1.1.
    pub idle: Pool<Box<Connection>>,
    /// The address as text, for logs: made once, not per request. Not escaped.
    pub text: Box<str>,
    /// How it is spoken to.
    pub transport: Transport,
    under_way: AtomicUsize,
}

impl Endpoint {
    /// An endpoint without connections.
    pub fn new(address: Address, transport: Transport) -> Self {
        let text = address.to_string().into();
        let http2 = transport.http2.then(Box::default);
        Self { address, http2, idle: Pool::default(), text, transport, under_way: AtomicUsize::new(0) }
    }

    /// The address as a `Host` field: without the port where that is the scheme's own. `None` where it cannot be one.
    pub fn host(&self) -> Option<HeaderValue> {
        let port = if self.transport.tls.is_some() { ":443" } else { ":80" };
        HeaderValue::from_str(self.text.strip_suffix(port).unwrap_or(&self.text)).ok()
    }
}

/// How an endpoint is spoken to. A connection is used only by requests that agree in all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transport {
    /// Whether HTTP/2 is spoken, and not HTTP/1.1.
    pub http2: bool,
    /// TLS; `None` for plain text.
    pub tls: Option<Secure>,
}

/// Where an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A name to resolve when connecting, and a port (`ExternalName`).
    Name(Arc<str>, u16),
    /// An IP address and a port.
    Socket(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Socket(address) => write!(f, "{address}"),
        }
    }
}

/// A request that is under way at an endpoint, as long as this lives.
#[derive(Debug)]
pub struct UnderWay(Arc<Endpoint>);

impl UnderWay {
    pub(super) fn at(endpoint: Arc<Endpoint>) -> Self {
        endpoint.under_way.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }
}

impl Endpoint {
    /// Requests that are under way and were counted.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_without_the_usual_port() {
        for (address, host) in [
            (Address::Socket(([10, 0, 0, 1], 80).into()), "10.0.0.1"),
            (Address::Socket(([10, 0, 0, 1], 8080).into()), "10.0.0.1:8080"),
            (Address::Name("a.example".into(), 80), "a.example"),
        ] {
            assert_eq!(Endpoint::new(address, Transport::default()).host().unwrap(), host);
        }
    }
}
