//! Backends: the weighted upstreams of a rule.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::upstream::Upstream;

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

    /// Whether any upstream that can be picked has an endpoint.
    pub fn is_usable(&self) -> bool {
        self.iter().any(|(upstream, weight)| weight > 0 && upstream.is_usable())
    }

    /// The addresses that can be picked.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let upstreams = self.iter().filter(|(_, weight)| *weight > 0).flat_map(|(upstream, _)| upstream.nodes());
        upstreams.filter(|node| node.weight > 0).map(|node| node.endpoint.address)
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
}
