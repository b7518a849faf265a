//! Which endpoint of several: pure functions.

/// A hash that is the same in every process: replicas send equal requests to the same endpoint. FNV-1a, and after it the
/// finalizer of `SplitMix64`, because FNV alone hardly mixes the last bytes into the high bits.
///
/// No secret is in it: a client that can choose its key can choose its endpoint, as with any consistent hash.
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(fnv)
}

/// The finalizer of `SplitMix64`.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A node to choose from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<T> {
    /// Its place among all nodes.
    pub(super) place: usize,
    /// What decides.
    pub(super) value: T,
    /// More than 0.
    pub(super) weight: u32,
}

/// The node for a request whose key has the hash `key`, among nodes with the hashes of their addresses.
///
/// Weighted rendezvous hashing (Schindelhauer and Schomaker 2005; of equal weights Thaler and Ravishankar 1998): the node that
/// scores highest with the key. A node that comes or gets heavier takes its share from all others, and one that goes gives it to all
/// others; no other key moves. This is what ketama's ring approximates with 160 points per unit of weight.
pub(super) fn rendezvous(key: u64, nodes: impl Iterator<Item = Candidate<u64>>) -> Option<usize> {
    let mut best: Option<(u64, Candidate<u64>)> = None;
    for node in nodes {
        let mixed = mix(key ^ node.value);
        let better = best.is_none_or(|(most, highest)| {
            if node.weight == highest.weight {
                mixed >= most // the order of the scores, without their logarithms
            } else {
                score(mixed, node.weight) > score(most, highest.weight)
            }
        });
        if better {
            best = Some((mixed, node));
        }
    }
    best.map(|(_, node)| node.place)
}

/// The score of a node of this weight, where `mixed` is uniformly distributed.
#[expect(clippy::cast_precision_loss, reason = "52 bits fit, and are enough to tell two nodes apart")]
fn score(mixed: u64, weight: u32) -> f64 {
    let uniform = ((mixed >> 12) as f64 + 0.5) / (1_u64 << 52) as f64; // neither 0 nor 1
    -f64::from(weight) / uniform.ln()
}

/// The node with the lowest load for its weight; the first at or after the place `turn` among equals.
pub(super) fn lowest(nodes: impl Iterator<Item = Candidate<u64>>, turn: usize) -> Option<usize> {
    let load = |a: &Candidate<u64>, b: &Candidate<u64>| {
        (u128::from(a.value) * u128::from(b.weight)).cmp(&(u128::from(b.value) * u128::from(a.weight)))
    };
    let nodes = nodes.min_by(|a, b| load(a, b).then_with(|| (a.place < turn, a.place).cmp(&(b.place < turn, b.place))));
    nodes.map(|node| node.place)
}

/// The node whose turn it is: smooth weighted round robin, as nginx does it. `credits` are the nodes' by place.
///
/// Each node gains its weight, the richest is taken and pays for all. Over as many turns as the sum of the weights each comes up
/// exactly as often as its weight says, as far apart as possible.
pub(super) fn smooth(credits: &mut [i64], nodes: impl Iterator<Item = Candidate<()>>) -> Option<usize> {
    let (mut total, mut richest) = (0, None);
    for node in nodes {
        let Some(credit) = credits.get_mut(node.place) else { continue };
        *credit += i64::from(node.weight);
        total += i64::from(node.weight);
        if richest.is_none_or(|(most, _)| *credit > most) {
            richest = Some((*credit, node.place));
        }
    }
    let (_, place) = richest?;
    credits[place] -= total;
    Some(place)
}

/// Two different numbers below `count`, which is at least 2: others for every `turn`.
pub(super) fn two_of(count: usize, turn: u64) -> (usize, usize) {
    let below = |random: u64, count: usize| usize::try_from(random % count as u64).unwrap_or(0);
    let random = mix(turn);
    let one = below(random & u64::from(u32::MAX), count);
    (one, (one + 1 + below(random >> 32, count - 1)) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: usize = 10_000;

    /// Nodes of these weights.
    fn nodes(weights: &[u32]) -> impl Iterator<Item = Candidate<u64>> {
        weights.iter().enumerate().map(|(place, weight)| Candidate {
            place,
            value: hash(format!("10.0.0.{place}:8080").as_bytes()),
            weight: *weight,
        })
    }

    fn places(weights: &[u32]) -> Vec<usize> {
        let place = |key| rendezvous(hash(format!("user-{key}").as_bytes()), nodes(weights)).unwrap();
        (0..KEYS).map(place).collect()
    }

    #[test]
    fn keys_spread_by_weight() {
        for weights in [vec![1; 2], vec![7; 3], vec![1; 10], vec![1, 2, 3, 4], vec![100, 50]] {
            let mut shares = vec![0_usize; weights.len()];
            for place in places(&weights) {
                shares[place] += 1;
            }
            for (share, weight) in shares.iter().zip(&weights) {
                let fair = KEYS * *weight as usize / weights.iter().sum::<u32>() as usize;
                assert!(share.abs_diff(fair) * 10 < fair, "{weights:?}: {shares:?}");
            }
        }
    }

    #[test]
    fn a_node_that_comes_takes_its_share_and_nothing_else_moves() {
        for (before, after) in
            [(&[1; 4][..], &[1; 5][..]), (&[2, 1, 3, 2], &[2, 1, 3, 2, 2]), (&[1, 1, 1, 1, 2], &[1, 1, 1, 1, 4])]
        {
            let (before, after) = (places(before), places(after));
            let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
            assert!(moved.iter().all(|(_, after)| **after == 4), "only the new node gets keys");
            assert!(moved.len() > KEYS / 10 && moved.len() < KEYS / 3, "{} keys moved", moved.len());
        }
    }

    #[test]
    fn the_hash_is_the_same_in_every_release() {
        // The published values of FNV-1a for `a` and of SplitMix64 for the seed 0.
        assert_eq!(hash(b"a"), mix(0xaf63_dc4c_8601_ec8c));
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn the_lowest_load_for_its_weight_is_taken_and_equals_take_turns() {
        let lowest = |loads: &[(u64, u32)], turn| {
            let nodes = loads.iter().enumerate();
            super::lowest(
                nodes.map(|(place, (value, weight))| Candidate { place, value: *value, weight: *weight }),
                turn,
            )
        };
        assert_eq!(lowest(&[(3, 1), (1, 1), (2, 1)], 0), Some(1));
        assert_eq!(lowest(&[(3, 4), (1, 1), (2, 2)], 0), Some(0));
        let turns: Vec<_> = (0..4).filter_map(|turn| lowest(&[(1, 1), (2, 2), (2, 1), (1, 1)], turn)).collect();
        assert_eq!(turns, [0, 1, 3, 3]);
        assert_eq!(lowest(&[], 0), None);
        assert_eq!(rendezvous(1, nodes(&[])), None);
    }

    /// The places of one round.
    fn round(weights: &[u32]) -> Vec<usize> {
        let mut credits = vec![0; weights.len()];
        let nodes = |weights: &[u32]| {
            let nodes: Vec<_> = weights.iter().copied().enumerate().collect();
            nodes.into_iter().map(|(place, weight)| Candidate { place, value: (), weight })
        };
        let turns = 0..weights.iter().sum::<u32>();
        let round = turns.map(|_| smooth(&mut credits, nodes(weights)).unwrap()).collect();
        assert!(credits.iter().all(|credit| *credit == 0), "a round ends where it began");
        round
    }

    #[test]
    fn turns_are_those_of_nginx() {
        // The example of the commit that brought the algorithm to nginx (52327e0627f4).
        assert_eq!(round(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(round(&[4, 2]), [0, 1, 0, 0, 1, 0]);
        assert_eq!(round(&[1, 1, 1]), [0, 1, 2]);
        for weights in [&[7, 3][..], &[100, 50], &[13, 11, 7, 1]] {
            let round = round(weights);
            for (place, weight) in weights.iter().enumerate() {
                assert_eq!(round.iter().filter(|at| **at == place).count(), *weight as usize, "{weights:?}");
            }
        }
        assert_eq!(smooth(&mut [], [].into_iter()), None);
    }

    #[test]
    fn every_pair_of_two_comes_up() {
        let mut pairs: Vec<_> = (0..1000).map(|turn| two_of(4, turn)).collect();
        assert!(pairs.iter().all(|(one, other)| one != other));
        pairs.sort_unstable();
        pairs.dedup();
        assert_eq!(pairs.len(), 12);
        assert!((0..100).all(|turn| matches!(two_of(2, turn), (0, 1) | (1, 0))));
    }
}
