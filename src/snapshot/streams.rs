//! Rules for TCP, TLS and UDP by port.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Backends, HostTable};
use crate::model::{HostName, HostPattern, Network};

/// One rule for a stream, ready to serve.
#[derive(Debug)]
pub struct StreamRoute {
    /// Where the stream goes: one upstream, or none where it is not resolved.
    pub backends: Backends,
    /// The clients that it is for; empty for all.
    pub clients: Box<[Network]>,
    /// `namespace/object/rule`, for logs and metrics.
    pub name: Arc<str>,
    /// Counters; they survive recompilation.
    pub stats: Arc<StreamStats>,
}

impl StreamRoute {
    fn serves(&self, client: IpAddr) -> bool {
        self.clients.is_empty() || self.clients.iter().any(|network| network.contains(client))
    }
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

/// Rules with one key, in the order in which they are asked: those for some clients, then those for all.
type Rules = Vec<Arc<StreamRoute>>;

/// Rules by port. A look-up costs one hash, and for TLS one more per label of the host; then one step for each rule that is for
/// some clients only.
#[derive(Debug, Default)]
pub struct StreamTable {
    tcp: HashMap<u16, Rules>,
    tls: HashMap<u16, HostTable<Rules>>,
    udp: HashMap<u16, Rules>,
}

fn put(rules: &mut Rules, route: Arc<StreamRoute>) {
    let of_all = rules.iter().position(|rule| rule.clients.is_empty());
    let place = of_all.filter(|_| !route.clients.is_empty()).unwrap_or(rules.len());
    rules.insert(place, route);
}

fn find(rules: &Rules, client: IpAddr) -> Option<&Arc<StreamRoute>> {
    rules.iter().find(|route| route.serves(client))
}

impl StreamTable {
    /// Puts `route` under `key`, behind those that are there and for as few clients.
    pub fn insert(&mut self, key: &StreamKey, route: Arc<StreamRoute>) {
        match key {
            StreamKey::Tcp(port) => put(self.tcp.entry(*port).or_default(), route),
            StreamKey::Tls(port, host) => {
                let hosts = self.tls.entry(*port).or_default();
                let mut rules = hosts.get(host).cloned().unwrap_or_default();
                put(&mut rules, route);
                hosts.insert(host, rules);
            }
            StreamKey::Udp(port) => put(self.udp.entry(*port).or_default(), route),
        }
    }

    /// The rule under exactly this key, for exactly these clients.
    pub fn get(&self, key: &StreamKey, clients: &[Network]) -> Option<&Arc<StreamRoute>> {
        let rules = match key {
            StreamKey::Tcp(port) => self.tcp.get(port),
            StreamKey::Tls(port, host) => self.tls.get(port)?.get(host),
            StreamKey::Udp(port) => self.udp.get(port),
        };
        rules?.iter().find(|route| *route.clients == *clients)
    }

    /// The rule for a plain TCP connection of `client` to `port`.
    pub fn tcp(&self, port: u16, client: IpAddr) -> Option<&Arc<StreamRoute>> {
        find(self.tcp.get(&port)?, client)
    }

    /// The rule for a TLS connection of `client` to `port`, in which it named `sni`: that of the exact host, the longest wildcard, or
    /// any.
    pub fn tls(&self, port: u16, sni: &HostName, client: IpAddr) -> Option<&Arc<StreamRoute>> {
        self.tls.get(&port)?.covering(sni).find_map(|rules| find(rules, client))
    }

    /// The rule for datagrams of `client` to `port`.
    pub fn udp(&self, port: u16, client: IpAddr) -> Option<&Arc<StreamRoute>> {
        find(self.udp.get(&port)?, client)
    }

    /// Every rule with its key, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (StreamKey, &Arc<StreamRoute>)> {
        let tcp = self.tcp.iter().map(|(port, rules)| (StreamKey::Tcp(*port), rules));
        let udp = self.udp.iter().map(|(port, rules)| (StreamKey::Udp(*port), rules));
        let tls = self.tls.iter().flat_map(|(port, hosts)| {
            hosts.iter().map(|(host, rules)| (StreamKey::Tls(*port, host), rules)).collect::<Vec<_>>()
        });
        tcp.chain(tls).chain(udp).flat_map(|(key, rules)| rules.iter().map(move |route| (key.clone(), route)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_for_some_clients_come_before_those_for_all() {
        let mut table = StreamTable::default();
        let network = |text: &str| Network::parse(text).unwrap();
        let rule = |name: &str, clients: &[&str]| {
            let clients = clients.iter().map(|text| network(text)).collect();
            Arc::new(StreamRoute { backends: Backends::default(), clients, name: name.into(), stats: Arc::default() })
        };
        let host = |text: &str| StreamKey::Tls(2, HostPattern::parse(text).unwrap());
        for (key, route) in [
            (StreamKey::Tcp(1), rule("all", &[])),
            (StreamKey::Tcp(1), rule("ten", &["10.0.0.0/8", "::1"])),
            (StreamKey::Tcp(1), rule("one", &["10.0.0.1"])),
            (host("a.test"), rule("a-ten", &["10.0.0.0/8"])),
            (StreamKey::Tls(2, HostPattern::Any), rule("any", &[])),
            (StreamKey::Udp(3), rule("udp", &["10.0.0.1"])),
        ] {
            table.insert(&key, route);
        }
        let name = |route: Option<&Arc<StreamRoute>>| route.map_or("none", |route| &*route.name).to_owned();
        let client = |text: &str| text.parse().unwrap();
        assert_eq!(name(table.tcp(1, client("10.0.0.1"))), "ten", "the older one");
        assert_eq!(name(table.tcp(1, client("::1"))), "ten");
        assert_eq!(name(table.tcp(1, client("192.0.2.1"))), "all");
        let a = HostName::parse("a.test").unwrap();
        assert_eq!(name(table.tls(2, &a, client("10.0.0.1"))), "a-ten");
        assert_eq!(name(table.tls(2, &a, client("192.0.2.1"))), "any");
        assert_eq!(name(table.udp(3, client("192.0.2.1"))), "none");
        assert_eq!(name(table.get(&StreamKey::Tcp(1), &[network("10.0.0.1")])), "one");
        assert_eq!(name(table.get(&StreamKey::Udp(3), &[])), "none");
        assert_eq!(table.iter().count(), 6);
    }
}
