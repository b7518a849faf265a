//! Upstreams: where a route's requests can go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;

use super::balance;
use super::endpoint::{Endpoint, UnderWay};
use crate::model::{HashKey, Timeouts};

/// The `Host` that an upstream is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Host {
    /// The endpoint's address.
    Node,
    /// The client's.
    #[default]
    Pass,
    /// This one.
    Rewrite(HeaderValue),
}

/// Which endpoint is tried first.
#[derive(Debug)]
enum Balance {
    /// By what is hashed of a request, and the hashes of the endpoints' addresses.
    Hash(HashKey, Box<[u64]>),
    LeastConnections,
    RoundRobin,
}

/// An endpoint's place in an upstream.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where and how it is reached.
    pub endpoint: Arc<Endpoint>,
    /// The name that its address was found by, without a final dot.
    pub name: Option<Arc<str>>,
    /// Its share of the requests; 0 gets none.
    pub weight: u32,
}

impl From<Arc<Endpoint>> for Node {
    fn from(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, name: None, weight: 1 }
    }
}

impl Node {
    /// The node as a `Host` field: its name, or else its address, without the port where that is the scheme's own. `None`
    /// where that cannot be one.
    pub fn host(&self) -> Option<HeaderValue> {
        let Endpoint { address, text, transport, .. } = &*self.endpoint;
        let usual = if transport.tls.is_some() { 443 } else { 80 };
        match &self.name {
            None if address.port() == usual => HeaderValue::from_str(text.rsplit_once(':').map_or(text, |(ip, _)| ip)),
            None => HeaderValue::from_str(text),
            Some(name) if address.port() == usual => HeaderValue::from_str(name),
            Some(name) => HeaderValue::try_from(format!("{name}:{}", address.port())),
        }
        .ok()
    }
}

/// The endpoints of one backend of a rule.
#[derive(Debug)]
pub struct Upstream {
    /// How many endpoints a request may try; `usize::MAX` for all.
    pub attempts: usize,
    /// The `Host` that is sent.
    pub host: Host,
    /// `namespace/service:port`, for logs.
    pub name: Arc<str>,
    /// Deadlines instead of the route's.
    pub timeouts: Option<Timeouts>,
    balance: Balance,
    nodes: Box<[Node]>,
    next: AtomicUsize,
}

impl Upstream {
    /// An upstream of these endpoints, each of which is tried in turn.
    pub fn new(name: Arc<str>, nodes: impl IntoIterator<Item = Node>) -> Self {
        let (attempts, balance, next) = (usize::MAX, Balance::RoundRobin, AtomicUsize::new(0));
        Self { attempts, balance, host: Host::Pass, name, next, nodes: nodes.into_iter().collect(), timeouts: None }
    }

    /// The upstream with equal requests at the same endpoint.
    #[must_use]
    pub fn hashing(self, key: HashKey) -> Self {
        let nodes = self.nodes.iter().map(|node| balance::hash(node.endpoint.text.as_bytes())).collect();
        Self { balance: Balance::Hash(key, nodes), ..self }
    }

    /// The upstream with each request at the endpoint that has the fewest under way.
    #[must_use]
    pub fn with_least_connections(self) -> Self {
        Self { balance: Balance::LeastConnections, ..self }
    }

    /// The endpoints, sorted by address.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The place of the endpoint that a request tries first. `hash` gives the [`hash`](balance::hash) of the request's key.
    pub fn first(&self, hash: impl FnOnce(&HashKey) -> u64) -> usize {
        let turn = || self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.nodes.len()).unwrap_or(0);
        match &self.balance {
            Balance::Hash(key, nodes) => balance::rendezvous(hash(key), nodes),
            Balance::LeastConnections => {
                let loads = self.nodes.iter().map(|node| node.endpoint.under_way());
                balance::lowest(loads, turn())
            }
            Balance::RoundRobin => turn(),
        }
    }

    /// The endpoints that a request may try, each once, from the place `first` on: the others are for when that one cannot be
    /// reached.
    pub fn from(&self, first: usize) -> impl Iterator<Item = &Node> {
        let (later, first) = self.nodes.split_at_checked(first).unwrap_or_default();
        first.iter().chain(later).take(self.attempts)
    }

    /// Counts a request at `endpoint`, where that decides about others.
    pub fn occupy(&self, endpoint: &Arc<Endpoint>) -> Option<UnderWay> {
        matches!(self.balance, Balance::LeastConnections).then(|| UnderWay::at(endpoint.clone()))
    }
}

/// The weighted upstreams of a rule.
#[derive(Debug, Default)]
pub struct Backends {
    /// Upstream and the sum of all weights up to and including it.
    upstreams: Vec<(Arc<Upstream>, u64)>,
    next: AtomicUsize,
}

/// A prime near 2^32 divided by the golden ratio: coprime with every sum of weights below it, so that one round visits
/// every share once, and large, so that weights 100 and 50 mix instead of giving a run of 100.
const STRIDE: u64 = 2_654_435_761;

impl Backends {
    /// Backends with their weights. Those of weight 0 are never picked.
    pub fn new(upstreams: impl IntoIterator<Item = (Upstream, u32)>) -> Self {
        let mut sum = 0;
        let upstreams = upstreams
            .into_iter()
            .map(|(upstream, weight)| {
                sum += u64::from(weight);
                (Arc::new(upstream), sum)
            })
            .collect();
        Self { upstreams, next: AtomicUsize::new(0) }
    }

    /// The upstreams with their weights.
    pub fn iter(&self) -> impl Iterator<Item = (&Upstream, u64)> {
        let before = std::iter::once(0).chain(self.upstreams.iter().map(|(_, sum)| *sum));
        self.upstreams.iter().zip(before).map(|((upstream, sum), before)| (&**upstream, sum - before))
    }

    /// The upstream whose turn it is, by weight; `None` where all weights are 0.
    ///
    /// Over as many turns as the sum of the weights each upstream comes up exactly as often as its weight says.
    pub fn pick(&self) -> Option<&Arc<Upstream>> {
        if let [(upstream, sum)] = self.upstreams.as_slice() {
            return (*sum > 0).then_some(upstream);
        }
        let total = self.upstreams.last().map(|(_, sum)| *sum).filter(|total| *total > 0)?;
        let turn = self.next.fetch_add(1, Ordering::Relaxed) as u128;
        let at = turn % u128::from(total) * u128::from(STRIDE) % u128::from(total);
        self.upstreams.iter().find(|(_, sum)| at < u128::from(*sum)).map(|(upstream, _)| upstream)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::snapshot::Transport;

    fn node(port: u16) -> Node {
        Arc::new(Endpoint::new(([127, 0, 0, 1], port).into(), Transport::default())).into()
    }

    fn upstream(name: &str) -> Upstream {
        Upstream::new(name.into(), [])
    }

    #[test]
    fn weights_are_kept_exactly_over_one_round() {
        for weights in [vec![2, 1], vec![100, 50], vec![1, 0, 3], vec![7, 11, 13]] {
            let backends = Backends::new(weights.iter().enumerate().map(|(i, w)| (upstream(&i.to_string()), *w)));
            let mut seen = BTreeMap::new();
            for _ in 0..weights.iter().sum() {
                *seen.entry(backends.pick().unwrap().name.to_string()).or_insert(0) += 1;
            }
            for (index, weight) in weights.iter().enumerate() {
                assert_eq!(seen.get(&index.to_string()).copied().unwrap_or(0), *weight, "{weights:?}");
            }
        }
    }

    #[test]
    fn nothing_is_picked_from_weights_of_zero() {
        assert!(Backends::new([(upstream("a"), 0)]).pick().is_none());
        assert!(Backends::new([(upstream("a"), 0), (upstream("b"), 0)]).pick().is_none());
        assert!(Backends::default().pick().is_none());
    }

    #[test]
    fn the_host_of_a_node_is_its_name_or_its_address_without_the_usual_port() {
        for (port, name, host) in [
            (80, None, "127.0.0.1"),
            (8080, None, "127.0.0.1:8080"),
            (80, Some("a.example"), "a.example"),
            (8080, Some("a.example"), "a.example:8080"),
        ] {
            assert_eq!(Node { name: name.map(Arc::from), ..node(port) }.host().unwrap(), host);
        }
    }

    #[test]
    fn endpoints_take_turns() {
        let upstream = Upstream::new("a".into(), [node(1), node(2)]);
        let order = |upstream: &Upstream| {
            let first = upstream.first(|_| 0);
            upstream.from(first).map(|node| node.endpoint.address.to_string()).collect::<Vec<_>>()
        };
        let turn = || order(&upstream);
        assert_eq!(turn(), ["127.0.0.1:1", "127.0.0.1:2"]);
        assert_eq!(turn(), ["127.0.0.1:2", "127.0.0.1:1"]);
        assert_eq!(turn(), ["127.0.0.1:1", "127.0.0.1:2"]);
        let none = || Upstream::new("b".into(), []);
        for empty in [none(), none().hashing(HashKey::Address), none().with_least_connections()] {
            assert_eq!(order(&empty), [""; 0]);
        }
        let once = Upstream { attempts: 1, ..Upstream::new("c".into(), [node(1), node(2)]) };
        assert_eq!(order(&once), ["127.0.0.1:1"]);
    }

    #[test]
    fn least_connections_fill_up_and_empty() {
        let upstream = Upstream::new("a".into(), [node(1), node(2), node(3)]).with_least_connections();
        let occupy = || {
            let first = upstream.first(|_| 0);
            (first, upstream.occupy(&upstream.from(first).next().unwrap().endpoint))
        };
        let mut busy: Vec<_> = (0..9).map(|_| occupy()).collect();
        for place in 0..3 {
            assert_eq!(busy.iter().filter(|(at, _)| *at == place).count(), 3);
        }
        busy.retain(|(place, _)| *place != 1);
        let next: Vec<_> = (0..3).map(|_| occupy()).collect();
        assert!(next.iter().all(|(place, _)| *place == 1), "{next:?}");
    }
}
