//! Watch events to [`Change`]s, for one kind.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, Stream, StreamExt};
use kube::runtime::watcher::{self, Event};
use tokio::sync::mpsc;

use super::health::Health;
use crate::model::{Kind, ObjectKey, SourceId};
use crate::readiness::Readiness;
use crate::source::parse::{Observe, key, observe};
use crate::world::{Change, Object};

const SOURCE: SourceId = SourceId::Kubernetes;

/// Answers in a row that say that the kind is not served before that is believed: an API server that starts could say so
/// once, and an ApisixTls that is not seen would let clients in.
const ABSENT: usize = 2;

/// Follows the watches of one kind, each with its name, until nobody receives `changes`.
pub(super) async fn follow<K, S>(watches: Vec<(String, S)>, changes: &mpsc::Sender<Change>, readiness: &Readiness)
where
    K: Observe,
    S: Stream<Item = Result<Event<K>, watcher::Error>> + Unpin,
{
    let mut followed = Followed::new(K::KIND, watches.len());
    let mut healths = Vec::new();
    let mut events = stream::SelectAll::new();
    for (index, (name, watch)) in watches.into_iter().enumerate() {
        healths.push(Health::new(name, readiness));
        events.push(watch.map(move |event| (index, event)));
    }
    while let Some((index, event)) = events.next().await {
        let new = match event {
            Ok(Event::Init) => followed.begin(index),
            Ok(Event::InitApply(object)) => followed.list(index, observe(object)),
            Ok(Event::InitDone) => {
                healths[index].works();
                followed.listed(index)
            }
            Ok(Event::Apply(object)) => followed.apply(index, observe(object)),
            Ok(Event::Delete(object)) => followed.delete(index, key(object.meta())),
            Err(error) if healths[index].fails(&error) >= ABSENT => followed.absent(index),
            Err(_) => Vec::new(),
        };
        for change in new {
            if changes.send(change).await.is_err() {
                return;
            }
        }
    }
}

/// Makes one sequence of changes of one kind from several watches.
struct Followed {
    /// What is gathered until every watch was listed: the first change says that the kind is complete.
    first: Option<BTreeMap<ObjectKey, Object>>,
    kind: Kind,
    /// The keys that each watch holds, where there are several: what a later list lacks, is gone. A single watch replaces
    /// the whole kind and remembers nothing.
    known: Vec<BTreeSet<ObjectKey>>,
    /// Lists that are not complete yet, by watch.
    lists: Vec<Vec<(ObjectKey, Object)>>,
    /// The watches that were never listed.
    missing: BTreeSet<usize>,
}

impl Followed {
    fn new(kind: Kind, watches: usize) -> Self {
        Self {
            first: Some(BTreeMap::new()),
            kind,
            known: vec![BTreeSet::new(); watches],
            lists: (0..watches).map(|_| Vec::new()).collect(),
            missing: (0..watches).collect(),
        }
    }

    fn begin(&mut self, watch: usize) -> Vec<Change> {
        self.lists[watch].clear();
        Vec::new()
    }

    fn list(&mut self, watch: usize, object: (ObjectKey, Object)) -> Vec<Change> {
        self.lists[watch].push(object);
        Vec::new()
    }

    fn listed(&mut self, watch: usize) -> Vec<Change> {
        let list = std::mem::take(&mut self.lists[watch]);
        self.missing.remove(&watch);
        if self.lists.len() == 1 {
            self.first = None;
            return vec![self.replace(list)];
        }
        let keys: BTreeSet<_> = list.iter().map(|(key, _)| key.clone()).collect();
        let gone = self.known[watch].difference(&keys).cloned().map(|key| self.remove(key));
        let changes = gone.chain(list.into_iter().map(upsert)).collect();
        self.known[watch] = keys;
        self.pass(changes)
    }

    fn apply(&mut self, watch: usize, object: (ObjectKey, Object)) -> Vec<Change> {
        if self.lists.len() > 1 {
            self.known[watch].insert(object.0.clone());
        }
        self.pass(vec![upsert(object)])
    }

    fn delete(&mut self, watch: usize, key: ObjectKey) -> Vec<Change> {
        self.known[watch].remove(&key);
        let change = self.remove(key);
        self.pass(vec![change])
    }

    /// There is no such kind. One that was there keeps its objects until they are seen to be gone.
    fn absent(&mut self, watch: usize) -> Vec<Change> {
        self.lists[watch].clear();
        if self.missing.contains(&watch) { self.listed(watch) } else { Vec::new() }
    }

    /// Lets changes through, or gathers them into the first list.
    fn pass(&mut self, changes: Vec<Change>) -> Vec<Change> {
        let Some(mut first) = self.first.take() else { return changes };
        for change in changes {
            match change {
                Change::Upsert { key, object, .. } => {
                    first.insert(key, object);
                }
                Change::Remove { key, .. } => {
                    first.remove(&key);
                }
                Change::Lookup { .. } | Change::Replace { .. } | Change::Together(_) => {} // not sent by a watch
            }
        }
        if self.missing.is_empty() {
            return vec![self.replace(first.into_iter().collect())];
        }
        self.first = Some(first);
        Vec::new()
    }

    fn replace(&self, objects: Vec<(ObjectKey, Object)>) -> Change {
        Change::Replace { source: SOURCE, kind: self.kind, objects }
    }

    fn remove(&self, key: ObjectKey) -> Change {
        Change::Remove { source: SOURCE, kind: self.kind, key }
    }
}

fn upsert((key, object): (ObjectKey, Object)) -> Change {
    Change::Upsert { source: SOURCE, key, object }
}

#[cfg(test)]
mod tests;
