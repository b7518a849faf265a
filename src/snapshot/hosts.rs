//! A table from hosts to values: exact names by hash, wildcards by their suffix, one default.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::{HostName, HostPattern};

/// A request asks five times. Only configuration puts names in, so nobody can make them collide by what they ask for.
type Names<T> = HashMap<Arc<str>, T, RandomState>;

/// Values by host pattern. A look-up costs one hash per label of the host, whatever the number of entries.
#[derive(Clone, Debug)]
pub struct HostTable<T> {
    any: Option<T>,
    exact: Names<T>,
    wildcards: Names<T>,
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self { any: None, exact: HashMap::default(), wildcards: HashMap::default() }
    }
}

impl<T> HostTable<T> {
    /// Puts `value` under `pattern`; returns the one that was there.
    pub fn insert(&mut self, pattern: &HostPattern, value: T) -> Option<T> {
        match pattern {
            HostPattern::Any => self.any.replace(value),
            HostPattern::Exact(name) => self.exact.insert(name.clone(), value),
            HostPattern::Wildcard(suffix) => self.wildcards.insert(suffix.clone(), value),
        }
    }

    /// The value under exactly this pattern.
    pub fn get(&self, pattern: &HostPattern) -> Option<&T> {
        match pattern {
            HostPattern::Any => self.any.as_ref(),
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Wildcard(suffix) => self.wildcards.get(suffix),
        }
    }

    /// The exact host's value, else that of the wildcard which covers exactly one label.
    pub fn one_label(&self, host: &HostName) -> Option<&T> {
        let name = host.as_str();
        self.exact.get(name).or_else(|| self.wildcards.get(&name[name.find('.')?..]))
    }

    /// The values of all patterns that cover `host`, most specific first: exact, the longest wildcard, shorter ones, any.
    pub fn covering<'a, 'h>(&'a self, host: &'h HostName) -> impl Iterator<Item = &'a T> + use<'a, 'h, T> {
        let name = host.as_str();
        // A wildcard stands for at least one character, so a suffix never starts at the name's first byte.
        let suffixes = name.char_indices().filter(|(at, c)| *c == '.' && *at > 0).map(move |(at, _)| &name[at..]);
        let wildcards = suffixes.filter(|_| !self.wildcards.is_empty()).filter_map(|suffix| self.wildcards.get(suffix));
        self.exact.get(name).into_iter().chain(wildcards).chain(self.any.as_ref())
    }

    /// The value of the most specific pattern that covers `host`.
    pub fn most_specific(&self, host: &HostName) -> Option<&T> {
        let name = host.as_str();
        self.exact.get(name).or_else(|| {
            let mut rest = name;
            while let Some(at) = rest.find('.').filter(|_| !self.wildcards.is_empty()) {
                if let Some(value) = self.wildcards.get(&rest[at..]) {
                    return Some(value);
                }
                rest = &rest[at + 1..];
            }
            self.any.as_ref()
        })
    }

    /// Every pattern with its value, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (HostPattern, &T)> {
        let exact = self.exact.iter().map(|(name, value)| (HostPattern::Exact(name.clone()), value));
        let wildcards = self.wildcards.iter().map(|(suffix, value)| (HostPattern::Wildcard(suffix.clone()), value));
        exact.chain(wildcards).chain(self.any.iter().map(|value| (HostPattern::Any, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[&str]) -> HostTable<String> {
        let mut table = HostTable::default();
        for text in patterns {
            let pattern = if *text == "any" { HostPattern::Any } else { HostPattern::parse(text).unwrap() };
            table.insert(&pattern, (*text).to_owned());
        }
        table
    }

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    #[test]
    fn exact_beats_longer_wildcard_beats_shorter_beats_any() {
        let table = table(&["a.b.c", "*.b.c", "*.c", "any"]);
        let covering = |name: &str| table.covering(&host(name)).cloned().collect::<Vec<_>>();
        assert_eq!(covering("a.b.c"), ["a.b.c", "*.b.c", "*.c", "any"]);
        assert_eq!(covering("x.b.c"), ["*.b.c", "*.c", "any"]);
        assert_eq!(covering("b.c"), ["*.c", "any"]);
        assert_eq!(covering("c"), ["any"]);
        for name in ["a.b.c", "x.y.b.c", "b.c", "c", "z"] {
            assert_eq!(table.most_specific(&host(name)), table.covering(&host(name)).next(), "{name}");
        }
    }

    #[test]
    fn a_handshake_wildcard_covers_one_label() {
        let table = table(&["*.b.c", "any"]);
        assert_eq!(table.one_label(&host("a.b.c")).map(String::as_str), Some("*.b.c"));
        assert_eq!(table.one_label(&host("x.a.b.c")), None);
        assert_eq!(table.one_label(&host("b.c")), None);
    }
}
