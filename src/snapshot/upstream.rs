//! Upstreams: where a route's requests can go.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Connection;
use crate::pool::Pool;

/// One address of an upstream with its idle connections. Shared by every upstream and every snapshot that has the address.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect to.
    pub address: Address,
    /// Idle connections.
    pub idle: Pool<Box<Connection>>,
    /// The address as text, for logs: made once, not per request. Not escaped.
    pub text: Box<str>,
}

impl Endpoint {
    /// An endpoint without connections.
    pub fn new(address: Address) -> Self {
        let text = address.to_string().into();
        Self { address, idle: Pool::default(), text }
    }
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

/// The endpoints of one backend of a rule, picked in turn.
#[derive(Debug)]
pub struct Upstream {
    /// `namespace/service:port`, for logs.
    pub name: Arc<str>,
    endpoints: Arc<[Arc<Endpoint>]>,
    next: AtomicUsize,
}

impl Upstream {
    /// An upstream of these endpoints.
    pub fn new(name: Arc<str>, endpoints: Arc<[Arc<Endpoint>]>) -> Self {
        Self { name, endpoints, next: AtomicUsize::new(0) }
    }

    /// The endpoints, sorted by address.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Every endpoint once, starting with the one whose turn it is: the others are for when that cannot be reached.
    pub fn in_turn(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.endpoints.len()).unwrap_or(0);
        let (later, first) = self.endpoints.split_at(turn);
        first.iter().chain(later)
    }
}

/// The weighted upstreams of a rule.
#[derive(Debug, Default)]
pub struct Backends {
    /// Upstream and the sum of all weights up to and including it.
    upstreams: Vec<(Upstream, u64)>,
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
                (upstream, sum)
            })
            .collect();
        Self { upstreams, next: AtomicUsize::new(0) }
    }

    /// The upstreams with their weights.
    pub fn iter(&self) -> impl Iterator<Item = (&Upstream, u64)> {
        let before = std::iter::once(0).chain(self.upstreams.iter().map(|(_, sum)| *sum));
        self.upstreams.iter().zip(before).map(|((upstream, sum), before)| (upstream, sum - before))
    }

    /// The upstream whose turn it is, by weight; `None` where all weights are 0.
    ///
    /// Over as many turns as the sum of the weights each upstream comes up exactly as often as its weight says.
    pub fn pick(&self) -> Option<&Upstream> {
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

    fn upstream(name: &str) -> Upstream {
        Upstream::new(name.into(), [].into())
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
    fn endpoints_take_turns() {
        let endpoint = |port| Arc::new(Endpoint::new(Address::Socket(([127, 0, 0, 1], port).into())));
        let upstream = Upstream::new("a".into(), [endpoint(1), endpoint(2)].into());
        let turn = || upstream.in_turn().map(|endpoint| endpoint.address.to_string()).collect::<Vec<_>>();
        assert_eq!(turn(), ["127.0.0.1:1", "127.0.0.1:2"]);
        assert_eq!(turn(), ["127.0.0.1:2", "127.0.0.1:1"]);
        assert_eq!(turn(), ["127.0.0.1:1", "127.0.0.1:2"]);
        assert_eq!(Upstream::new("b".into(), [].into()).in_turn().count(), 0);
    }
}
