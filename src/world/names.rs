//! What DNS said about names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What is known about a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// The addresses that were found last; none where none ever were.
    pub addresses: BTreeSet<IpAddr>,
    /// Why the latest lookup found none.
    pub failure: Option<String>,
}

/// Names with what is known about each.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeMap<Arc<str>, Lookup>);

impl Names {
    /// Takes an answer in; says whether anything is different now. A name keeps its last addresses when it cannot be
    /// resolved any more.
    pub(super) fn note(&mut self, name: Arc<str>, answer: Result<BTreeSet<IpAddr>, String>) -> bool {
        let is_new = !self.0.contains_key(&name);
        let known = self.0.entry(name).or_default();
        let now = match answer {
            Ok(addresses) => Lookup { addresses, failure: None },
            Err(why) => Lookup { addresses: known.addresses.clone(), failure: Some(why) },
        };
        let changed = is_new || *known != now;
        *known = now;
        changed
    }

    pub(super) fn get(&self, name: &str) -> Option<&Lookup> {
        self.0.get(name)
    }

    /// Forgets every name that is not `wanted`.
    pub(super) fn keep(&mut self, wanted: &BTreeSet<Arc<str>>) {
        self.0.retain(|name, _| wanted.contains(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(hosts: &[u8]) -> BTreeSet<IpAddr> {
        hosts.iter().map(|host| IpAddr::from([10, 0, 0, *host])).collect()
    }

    #[test]
    fn a_name_that_is_gone_keeps_its_last_addresses() {
        let mut names = Names::default();
        assert!(names.note("a".into(), Err("gone".into())));
        assert!(!names.note("a".into(), Err("gone".into())), "nothing new");
        assert_eq!(names.get("a").unwrap().addresses.len(), 0);
        assert!(names.note("a".into(), Ok(found(&[1, 2]))));
        assert_eq!(names.get("a").unwrap().failure, None);
        assert!(!names.note("a".into(), Ok(found(&[2, 1]))), "the order does not count");
        assert!(names.note("a".into(), Err("gone".into())));
        let lookup = names.get("a").unwrap();
        assert_eq!((lookup.addresses.clone(), lookup.failure.as_deref()), (found(&[1, 2]), Some("gone")));
        names.keep(&["b".into()].into());
        assert_eq!(names.get("a"), None);
    }
}
