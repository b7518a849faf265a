//! Endpoints: one address each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Connection, Secure};
use crate::pool::Pool;

/// One address, spoken to in one way, with its idle connections. Shared by every upstream and every snapshot that has both.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect to.
    pub address: SocketAddr,
    /// Idle connections.
    pub idle: Pool<Box<Connection>>,
    /// The address as text, for logs: made once, not per request.
    pub text: Box<str>,
    /// How it is spoken to.
    pub transport: Transport,
    under_way: AtomicUsize,
}

impl Endpoint {
    /// An endpoint without connections.
    pub fn new(address: SocketAddr, transport: Transport) -> Self {
        let text = address.to_string().into();
        Self { address, idle: Pool::default(), text, transport, under_way: AtomicUsize::new(0) }
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
