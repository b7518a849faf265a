//! How many connections each source has open.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A source of connections: an IPv4 address, or the /64 of an IPv6 address, which is the least that a site gets (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(NonZeroU64);

impl Source {
    /// The source that `address` belongs to.
    pub(super) fn of(address: IpAddr) -> Self {
        let number = match address.to_canonical() {
            // Under a prefix of IPv6 that is nobody's (RFC 4291 section 2.4: 0000::/8 is reserved).
            IpAddr::V4(address) => 1 << 32 | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64, // the upper half
        };
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }
}

/// The open connections by source. As large as the number of sources that have any.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<HashMap<Source, usize>>);

impl Sources {
    fn open(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection of `source` unless that has `most` already. What was counted must [`leave`](Self::leave).
    pub(super) fn enter(&self, source: Source, most: usize) -> bool {
        let mut open = self.open();
        let count = open.entry(source).or_default();
        let admitted = *count < most;
        if admitted {
            *count += 1;
        } else if *count == 0 {
            open.remove(&source);
        }
        admitted
    }

    /// A connection of `source` has ended.
    pub(super) fn leave(&self, source: Source) {
        let mut open = self.open();
        if let Entry::Occupied(mut count) = open.entry(source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn addresses_of_one_site_are_one_source() {
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_ne!(source("0.0.0.0"), source("::1"));
    }

    #[test]
    fn a_source_has_so_many_connections_and_no_trace_of_them_stays() {
        let sources = Sources::default();
        let (one, other) = (source("192.0.2.1"), source("192.0.2.2"));
        assert!(sources.enter(one, 2) && sources.enter(one, 2) && !sources.enter(one, 2));
        assert!(sources.enter(other, 2));
        sources.leave(one);
        assert!(sources.enter(one, 2) && !sources.enter(one, 2));
        for source in [one, one, other] {
            sources.leave(source);
        }
        assert!(!sources.enter(one, 0));
        assert!(sources.open().is_empty());
    }
}
