//! What a store of this process holds, and who watches it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Entry, Event, Guard, Listing, Operation, Transaction, Update};

/// Entries, the revision they are at, and those who are told of changes.
#[derive(Debug, Default)]
pub(super) struct State {
    all: Listing,
    /// What there is has not been heard yet, and so nobody is told anything.
    unknown: bool,
    watchers: Vec<mpsc::UnboundedSender<Update>>,
}

impl State {
    /// That of a store that has not answered yet.
    pub(super) fn unknown() -> Self {
        Self { unknown: true, ..Self::default() }
    }

    /// Whether the store has not answered yet.
    pub(super) fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// Everything.
    pub(super) fn all(&self) -> &Listing {
        &self.all
    }

    /// The text under `key`.
    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.all.entries.get(key).cloned()
    }

    /// Everything whose key begins with `prefix`.
    pub(super) fn list(&self, prefix: &str) -> Listing {
        let start: Arc<str> = prefix.into();
        let below = self.all.entries.range(start..).take_while(|(key, _)| key.starts_with(prefix));
        let entries: BTreeMap<_, _> = below.map(|(key, entry)| (key.clone(), entry.clone())).collect();
        Listing { entries, revision: self.all.revision }
    }

    /// Everything as soon as it is known, then every change.
    pub(super) fn watch(&mut self) -> mpsc::UnboundedReceiver<Update> {
        let (sender, receiver) = mpsc::unbounded_channel();
        if !self.unknown {
            let _ = sender.send(Update::All(self.all.clone())); // the receiver is held here
        }
        self.watchers.push(sender);
        receiver
    }

    /// What `transaction` would do as the next revision; `None` where a guard does not hold.
    pub(super) fn events(&self, transaction: &Transaction) -> Option<Vec<Event>> {
        if !transaction.guards.iter().all(|guard| self.holds(guard)) {
            return None;
        }
        let modified = self.all.revision + 1;
        let event = |operation: &Operation| match operation {
            Operation::Delete(key) => {
                self.all.entries.contains_key(key).then(|| Event { key: key.clone(), entry: None })
            }
            Operation::Put { key, value, .. } => {
                let created = self.all.entries.get(key).map_or(modified, |old| old.created);
                Some(Event { key: key.clone(), entry: Some(Entry { value: value.clone(), created, modified }) })
            }
        };
        Some(transaction.operations.iter().filter_map(event).collect())
    }

    /// Makes `events`, which are of the next revision, true. Returns the revision; that of before where there are none, as in etcd.
    pub(super) fn apply_next(&mut self, events: Vec<Event>) -> u64 {
        if !events.is_empty() {
            self.apply(events, self.all.revision + 1);
        }
        self.all.revision
    }

    /// Makes `events`, after which the store is at `revision`, true.
    pub(super) fn apply(&mut self, events: Vec<Event>, revision: u64) {
        for Event { key, entry } in &events {
            match entry {
                Some(entry) => drop(self.all.entries.insert(key.clone(), entry.clone())),
                None => drop(self.all.entries.remove(key)),
            }
        }
        self.all.revision = revision;
        if !events.is_empty() {
            self.tell(&Update::Events(events));
        }
    }

    /// Puts `all` in the place of what there was.
    pub(super) fn replace(&mut self, all: Listing) {
        let same = !self.unknown && self.all.entries == all.entries;
        (self.all, self.unknown) = (all, false);
        if !same {
            self.tell(&Update::All(self.all.clone()));
        }
    }

    fn holds(&self, guard: &Guard) -> bool {
        let entries = &self.all.entries;
        match guard {
            Guard::Absent(key) => !entries.contains_key(key),
            Guard::Present(key) => entries.contains_key(key),
            Guard::Unchanged(key, modified) => entries.get(key).is_some_and(|entry| entry.modified == *modified),
        }
    }

    fn tell(&mut self, update: &Update) {
        self.watchers.retain(|watcher| watcher.send(update.clone()).is_ok());
    }
}
