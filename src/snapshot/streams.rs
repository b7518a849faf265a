//! Rules for TCP, TLS and UDP by port.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Backends, HostTable};
use crate::model::{HostName, HostPattern};

/// One rule for a stream, ready to serve.
#[derive(Debug)]
pub struct StreamRoute {
    /// Where the stream goes: one upstream, or none where it is not resolved.
    pub backends: Backends,
    /// `namespace/object/rule`, for logs and metrics.
    pub name: Arc<str>,
    /// Counters; they survive recompilation.
    pub stats: Arc<StreamStats>,
}

/// What carries a stream on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// UDP: the datagrams of one client.
    Udp,
}

impl Carrier {
    /// Every carrier, in declaration order.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Tls, Self::Udp];

    /// The carrier as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// One side broke off.
    Broken,
    /// Both sides ended.
    Closed,
    /// The client is not let in any more.
    Distrusted,
    /// The endpoint is not one of the rule's any more.
    Gone,
    /// Nothing moved for too long.
    Idle,
    /// There is no endpoint.
    NoEndpoint,
    /// No rule is for it.
    NoRoute,
    /// The process stopped.
    Stopped,
    /// No endpoint could be connected to.
    Unreachable,
}

impl StreamEnd {
    /// Every end, in declaration order.
    pub const ALL: [Self; 9] = [
        Self::Broken,
        Self::Closed,
        Self::Distrusted,
        Self::Gone,
        Self::Idle,
        Self::NoEndpoint,
        Self::NoRoute,
        Self::Stopped,
        Self::Unreachable,
    ];

    /// The end as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Closed => "closed",
            Self::Distrusted => "distrusted",
            Self::Gone => "gone",
            Self::Idle => "idle",
            Self::NoEndpoint => "no_endpoint",
            Self::NoRoute => "no_route",
            Self::Stopped => "stopped",
            Self::Unreachable => "unreachable",
        }
    }

    /// The status that nginx gives a stream (`ngx_stream_core_module`, `$status`).
    pub const fn status(self) -> u16 {
        match self {
            Self::Broken | Self::Closed | Self::Gone | Self::Idle => 200,
            Self::Distrusted => 403,
            Self::NoRoute | Self::Stopped => 500,
            Self::NoEndpoint | Self::Unreachable => 502,
        }
    }
}

/// What a rule has carried.
#[derive(Debug, Default)]
pub struct StreamStats {
    received: AtomicU64,
    sent: AtomicU64,
    streams: AtomicU64,
}

impl StreamStats {
    /// Counts a stream that has ended, with the bytes that came from the client and those that went to it.
    pub fn count(&self, received: u64, sent: u64) {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// Streams that have ended.
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// The bytes from clients, and those to clients, of streams that have ended.
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}

/// What a port is opened for, and the host where the rule is for one. Plain and secured ports are apart, so that no rule of
/// one is found on the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StreamKey {
    /// A port for plain TCP.
    Tcp(u16),
    /// A port for TLS, and the hosts that clients name there.
    Tls(u16, HostPattern),
    /// A port for UDP.
    Udp(u16),
}

/// Rules by port. A look-up costs one hash, and for TLS one more per label of the host.
#[derive(Debug, Default)]
pub struct StreamTable {
    tcp: HashMap<u16, Arc<StreamRoute>>,
    tls: HashMap<u16, HostTable<Arc<StreamRoute>>>,
    udp: HashMap<u16, Arc<StreamRoute>>,
}

impl StreamTable {
    /// Puts `route` under `key`; returns the one that was there.
    pub fn insert(&mut self, key: &StreamKey, route: Arc<StreamRoute>) -> Option<Arc<StreamRoute>> {
        match key {
            StreamKey::Tcp(port) => self.tcp.insert(*port, route),
            StreamKey::Tls(port, host) => self.tls.entry(*port).or_default().insert(host, route),
            StreamKey::Udp(port) => self.udp.insert(*port, route),
        }
    }

    /// The rule under exactly this key.
    pub fn get(&self, key: &StreamKey) -> Option<&Arc<StreamRoute>> {
        match key {
            StreamKey::Tcp(port) => self.tcp.get(port),
            StreamKey::Tls(port, host) => self.tls.get(port)?.get(host),
            StreamKey::Udp(port) => self.udp.get(port),
        }
    }

    /// The rule for a plain TCP connection to `port`.
    pub fn tcp(&self, port: u16) -> Option<&Arc<StreamRoute>> {
        self.tcp.get(&port)
    }

    /// The rule for a TLS connection to `port` whose client named `sni`: that of the exact host, the longest wildcard, or any.
    pub fn tls(&self, port: u16, sni: &HostName) -> Option<&Arc<StreamRoute>> {
        self.tls.get(&port)?.most_specific(sni)
    }

    /// The rule for datagrams to `port`.
    pub fn udp(&self, port: u16) -> Option<&Arc<StreamRoute>> {
        self.udp.get(&port)
    }

    /// Every rule with its key, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (StreamKey, &Arc<StreamRoute>)> {
        let tcp = self.tcp.iter().map(|(port, route)| (StreamKey::Tcp(*port), route));
        let udp = self.udp.iter().map(|(port, route)| (StreamKey::Udp(*port), route));
        let tls = self.tls.iter().flat_map(|(port, hosts)| {
            hosts.iter().map(|(host, route)| (StreamKey::Tls(*port, host), route)).collect::<Vec<_>>()
        });
        tcp.chain(tls).chain(udp)
    }
}

impl std::fmt::Display for StreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "TCP port {port}"),
            Self::Tls(port, host) => write!(f, "{host} on TLS port {port}"),
            Self::Udp(port) => write!(f, "UDP port {port}"),
        }
    }
}
