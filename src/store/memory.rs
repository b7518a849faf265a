//! A store that is gone with the process: for gateways whose whole configuration is sent to them, and for tests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;

use super::state::State;
use super::{Committed, Entry, Guard, Listing, Operation, Transaction, Update};

/// A store in memory. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

impl Memory {
    /// The text under `key`.
    pub fn get(&self, key: &str) -> Option<Entry> {
        self.lock().get(key)
    }

    /// Everything whose key begins with `prefix`.
    pub fn list(&self, prefix: &str) -> Listing {
        self.lock().list(prefix)
    }

    /// Does `transaction` if its guards hold.
    pub fn commit(&self, transaction: &Transaction) -> Committed {
        let mut state = self.lock();
        let Some(events) = state.events(transaction) else { return Committed::Refused };
        let revision = state.apply_next(events);
        for operation in &transaction.operations {
            if let Operation::Put { key, ttl: Some(ttl), .. } = operation {
                tokio::spawn(expire(Arc::downgrade(&self.state), key.clone(), revision, *ttl));
            }
        }
        Committed::Done(revision)
    }

    /// Everything, then every change.
    pub fn watch(&self) -> mpsc::UnboundedReceiver<Update> {
        self.lock().watch()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes `key` after `ttl`, unless it was written again.
async fn expire(state: Weak<Mutex<State>>, key: Arc<str>, revision: u64, ttl: Duration) {
    tokio::time::sleep(ttl).await;
    if let Some(state) = state.upgrade() {
        let guards = vec![Guard::Unchanged(key.clone(), revision)];
        Memory { state }.commit(&Transaction { guards, operations: vec![Operation::Delete(key)] });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Event;

    fn put(key: &str, value: &str) -> Operation {
        Operation::Put { key: key.into(), ttl: None, value: value.into() }
    }

    fn transaction(guards: Vec<Guard>, operations: Vec<Operation>) -> Transaction {
        Transaction { guards, operations }
    }

    #[test]
    fn a_transaction_is_done_whole_or_not_at_all() {
        let store = Memory::default();
        let first = transaction(vec![Guard::Absent("a".into())], vec![put("a", "1"), put("b", "1")]);
        assert_eq!(store.commit(&first), Committed::Done(1));
        assert_eq!(store.commit(&first), Committed::Refused);
        let second =
            transaction(vec![Guard::Unchanged("a".into(), 1)], vec![put("a", "2"), Operation::Delete("b".into())]);
        assert_eq!(store.commit(&second), Committed::Done(2));
        assert_eq!(store.commit(&second), Committed::Refused, "the key has changed since");
        assert_eq!(store.get("a"), Some(Entry { value: "2".into(), created: 1, modified: 2 }));
        assert_eq!(store.get("b"), None);
    }

    #[test]
    fn a_list_holds_what_is_below_its_prefix() {
        let store = Memory::default();
        store.commit(&transaction(vec![], vec![put("routes/1", "r"), put("routes/2", "r"), put("routesx/1", "x")]));
        let listing = store.list("routes/");
        assert_eq!((listing.entries.len(), listing.revision), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_begins_with_everything_and_tells_of_the_end_of_a_ttl() {
        let store = Memory::default();
        store.commit(&transaction(vec![], vec![put("a", "1")]));
        let mut watch = store.watch();
        let Some(Update::All(all)) = watch.recv().await else { panic!("no list") };
        assert_eq!(all.entries.len(), 1);
        let ttl = Some(Duration::from_secs(5));
        let short = Operation::Put { key: "b".into(), ttl, value: "1".into() };
        store.commit(&transaction(vec![], vec![short, Operation::Delete("none".into())]));
        let entry = Entry { value: "1".into(), created: 2, modified: 2 };
        let made = Update::Events(vec![Event { key: "b".into(), entry: Some(entry) }]);
        assert_eq!(watch.recv().await, Some(made));
        let gone = Update::Events(vec![Event { key: "b".into(), entry: None }]);
        assert_eq!(watch.recv().await, Some(gone), "the clock is the test's");
    }
}
