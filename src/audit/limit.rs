//! A bound on how many like events are told: a client that is refused a thousand times a second must not fill the disk.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Like events are told this often per window.
const EACH: u32 = 10;

/// All events together are told this often per window.
const ALL: u32 = 1_000;

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(10);

/// How many kinds of event are told apart in a window; the rest is only counted.
const KINDS: usize = 4_096;

/// How many kinds are told of that were not told in full, those with the most events.
const SUMMARIES: usize = 20;

/// Tells the first few events of a kind in each window of ten seconds, and counts the others.
#[derive(Debug)]
pub(super) struct Limiter<K>(Mutex<State<K>>);

#[derive(Debug)]
struct State<K> {
    began: Instant,
    kinds: HashMap<K, Count>,
    /// Events of kinds beyond [`KINDS`].
    others: u64,
    told: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    hidden: u64,
    told: u32,
}

/// What was not told in the window that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Untold<K> {
    /// The kinds with the most events, most first.
    pub(super) most: Vec<(K, u64)>,
    /// The events of all other kinds.
    pub(super) others: u64,
}

impl<K: Clone + Eq + Hash + Ord> Limiter<K> {
    /// A limiter whose first window begins at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(State { began: now, kinds: HashMap::new(), others: 0, told: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an event is to be told.
    pub(super) fn admits(&self, kind: &K) -> bool {
        let mut state = self.state();
        let full = state.told >= ALL;
        if !state.kinds.contains_key(kind) && state.kinds.len() >= KINDS {
            state.others += 1;
            return false;
        }
        let count = state.kinds.entry(kind.clone()).or_default();
        if full || count.told >= EACH {
            count.hidden += 1;
            return false;
        }
        count.told += 1;
        state.told += 1;
        true
    }

    /// Begins another window where the last one has ended at `now`; returns what was not told in it. To be called about as
    /// often as windows end: a window lasts until then.
    pub(super) fn turn(&self, now: Instant) -> Option<Untold<K>> {
        let mut state = self.state();
        if now.saturating_duration_since(state.began) < WINDOW {
            return None;
        }
        let kinds = std::mem::take(&mut state.kinds);
        let others = std::mem::take(&mut state.others);
        (state.began, state.told) = (now, 0);
        drop(state);
        let mut most: Vec<_> = kinds.into_iter().map(|(kind, count)| (kind, count.hidden)).collect();
        most.retain(|(_, hidden)| *hidden > 0);
        most.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let rest = most.split_off(most.len().min(SUMMARIES));
        let others = others + rest.iter().map(|(_, hidden)| hidden).sum::<u64>();
        (!most.is_empty() || others > 0).then_some(Untold { most, others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_are_told_and_the_rest_is_counted() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        assert_eq!((0..25).filter(|_| limiter.admits(&"a")).count(), 10);
        assert!(limiter.admits(&"b"), "another kind has its own share");
        assert_eq!(limiter.turn(start + WINDOW / 2), None, "the window has not ended");
        assert_eq!(limiter.turn(start + WINDOW), Some(Untold { most: vec![("a", 15)], others: 0 }));
        assert!(limiter.admits(&"a"), "a new window");
        assert_eq!(limiter.turn(start + WINDOW * 2), None, "all was told");
    }

    #[test]
    fn lines_memory_and_summaries_are_bounded_whatever_comes() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        let told = (0..20_000_u32).filter(|kind| limiter.admits(kind)).count();
        assert_eq!(told, 1_000);
        assert_eq!(limiter.state().kinds.len(), KINDS);
        let untold = limiter.turn(start + WINDOW).unwrap();
        assert_eq!(untold.most.len(), SUMMARIES);
        assert_eq!(untold.others + 20, 19_000);
    }
}
