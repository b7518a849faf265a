//! What the process still waits for, and what does not work: the text behind `/readyz`.
//!
//! Gates decide: the process is ready when all are open, and stays so. Parts only inform: one that fails later is shown
//! and logged, but the proxy goes on serving what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A handle on the readiness of the process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    closed: BTreeSet<&'static str>,
    parts: BTreeMap<String, Result<(), String>>,
}

impl Readiness {
    /// Not ready before each of `gates` was opened. Say what is awaited: `first snapshot`.
    pub fn awaiting(gates: &[&'static str]) -> Self {
        let state = State { closed: gates.iter().copied().collect(), parts: BTreeMap::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Opens a gate, for good.
    pub fn open(&self, gate: &str) {
        self.state().closed.remove(gate);
    }

    /// Closes a gate: the process must get no more work.
    pub fn close(&self, gate: &'static str) {
        self.state().closed.insert(gate);
    }

    /// Whether every gate is open.
    pub fn is_ready(&self) -> bool {
        self.state().closed.is_empty()
    }

    /// Says how a part is; `Err` holds what is missing. True when that is new, so that a log tells it once and not at each
    /// retry.
    pub fn report(&self, part: &str, health: Result<(), String>) -> bool {
        let mut state = self.state();
        match state.parts.get_mut(part) {
            Some(known) if *known == health => false,
            Some(known) => {
                *known = health;
                true
            }
            None => {
                state.parts.insert(part.to_owned(), health);
                true
            }
        }
    }

    /// One line for each thing that is missing, or for every part where `verbose`; `ready` or `not ready` at the end.
    pub fn to_text(&self, verbose: bool) -> String {
        let state = self.state();
        let mut text = String::new();
        for gate in &state.closed {
            let _ = writeln!(text, "waiting for the {gate}");
        }
        for (part, health) in &state.parts {
            let _ = match health {
                Ok(()) if verbose => writeln!(text, "{part}: ok"),
                Ok(()) => Ok(()),
                Err(missing) => writeln!(text, "{part}: {missing}"),
            };
        }
        text.push_str(if state.closed.is_empty() { "ready\n" } else { "not ready\n" });
        text
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_ready_when_every_gate_is_open_and_stays_so() {
        let readiness = Readiness::awaiting(&["first snapshot"]);
        readiness.report("ApisixRoute", Ok(()));
        readiness.report("Secret", Err("forbidden".into()));
        assert!(!readiness.is_ready());
        assert_eq!(readiness.to_text(false), "waiting for the first snapshot\nSecret: forbidden\nnot ready\n");
        readiness.open("first snapshot");
        assert!(readiness.is_ready(), "a part that fails does not take traffic away");
        assert_eq!(readiness.to_text(true), "ApisixRoute: ok\nSecret: forbidden\nready\n");
    }

    #[test]
    fn only_news_are_news() {
        let readiness = Readiness::default();
        assert!(readiness.report("a", Err("x".into())));
        assert!(!readiness.report("a", Err("x".into())));
        assert!(readiness.report("a", Ok(())));
    }
}
