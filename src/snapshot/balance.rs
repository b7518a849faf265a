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

/// The place in `nodes`, which are hashes of endpoints, for a request whose key has the hash `key`; 0 where there are none.
///
/// Rendezvous hashing (Thaler and Ravishankar 1998): the node whose hash together with the key's is highest. A node that
/// comes takes its share from all others, and one that goes gives it to all others; no other key moves. This is what
/// ketama's ring approximates with 160 points per node.
pub(super) fn rendezvous(key: u64, nodes: &[u64]) -> usize {
    let highest = nodes.iter().enumerate().max_by_key(|(_, node)| mix(key ^ **node));
    highest.map_or(0, |(place, _)| place)
}

/// The place of the lowest of `loads`; the first at or after the place `turn` among equals, and 0 where there are none.
pub(super) fn lowest(loads: impl ExactSizeIterator<Item = usize>, turn: usize) -> usize {
    let length = loads.len();
    let from_turn = |place: usize| (place + length - turn) % length;
    loads.enumerate().min_by_key(|(place, load)| (*load, from_turn(*place))).map_or(0, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: usize = 10_000;

    fn nodes(count: u8) -> Vec<u64> {
        (1..=count).map(|host| hash(format!("10.0.0.{host}:8080").as_bytes())).collect()
    }

    fn places(nodes: &[u64]) -> Vec<usize> {
        (0..KEYS).map(|key| rendezvous(hash(format!("user-{key}").as_bytes()), nodes)).collect()
    }

    #[test]
    fn keys_spread_evenly() {
        for count in [2, 3, 10] {
            let mut shares = vec![0_usize; usize::from(count)];
            for place in places(&nodes(count)) {
                shares[place] += 1;
            }
            let fair = KEYS / usize::from(count);
            assert!(shares.iter().all(|share| share.abs_diff(fair) * 10 < fair), "{shares:?}");
        }
    }

    #[test]
    fn a_node_that_comes_takes_its_share_and_nothing_else_moves() {
        let (before, after) = (places(&nodes(4)), places(&nodes(5)));
        let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert!(moved.iter().all(|(_, after)| **after == 4), "only the new node gets keys");
        assert!(moved.len().abs_diff(KEYS / 5) * 10 < KEYS / 5, "{} keys moved", moved.len());
    }

    #[test]
    fn the_hash_is_the_same_in_every_release() {
        // The published values of FNV-1a for `a` and of SplitMix64 for the seed 0.
        assert_eq!(hash(b"a"), mix(0xaf63_dc4c_8601_ec8c));
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn the_lowest_load_is_taken_and_equals_take_turns() {
        assert_eq!(lowest([3, 1, 2].into_iter(), 0), 1);
        let turns: Vec<_> = (0..4).map(|turn| lowest([1, 1, 2, 1].into_iter(), turn)).collect();
        assert_eq!(turns, [0, 1, 3, 3]);
        assert_eq!(lowest([].into_iter(), 0), 0);
        assert_eq!(rendezvous(1, &[]), 0);
    }
}
