//! Endpoints: one address each.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::latency::Latency;
use super::{Connection, Multiplexed, Secure};
use crate::model::Keepalive;
use crate::pool::Pool;

/// One address, spoken to in one way, with its idle connections. Shared by every upstream and every snapshot that has both.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect to.
    pub address: SocketAddr,
    /// The connections of HTTP/2, where that is spoken.
    pub http2: Option<Box<Multiplexed>>,
    /// Idle connections of HTTP/1.1.
    pub idle: Pool<Box<Connection>>,
    /// The address as text, for logs: made once, not per request.
    pub text: Box<str>,
    /// How it is spoken to.
    pub transport: Transport,
    pub(super) latency: Latency,
    /// Requests that are under way and counted: those of upstreams that ask.
    pub(super) under_way: AtomicUsize,
}

impl Endpoint {
    /// An endpoint without connections.
    pub fn new(address: SocketAddr, transport: Transport) -> Self {
        let text = address.to_string().into();
        let Keepalive { idle_timeout, requests: _, size } = transport.keepalive;
        let (idle, latency) = (Pool::new(size, idle_timeout), Latency::default());
        let http2 = transport.http2.then(Box::default);
        Self { address, http2, idle, text, transport, latency, under_way: AtomicUsize::new(0) }
    }

    /// Requests that are under way and counted.
    pub(super) fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed) as u64
    }

    /// Takes back a connection that is idle, unless it has carried as many requests as it may.
    pub fn keep(&self, connection: Box<Connection>) {
        if connection.requests() < self.transport.keepalive.requests {
            self.idle.put(connection);
        }
    }
}

/// How an endpoint is spoken to. A connection is used only by requests that agree in all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transport {
    /// Whether HTTP/2 is spoken, and not HTTP/1.1.
    pub http2: bool,
    /// How connections are kept.
    pub keepalive: Keepalive,
    /// TLS; `None` for plain text.
    pub tls: Option<Secure>,
}
