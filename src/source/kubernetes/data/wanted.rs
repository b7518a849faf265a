//! Which objects of one kind are wanted, and what has to be fetched when. State only; requests and clocks are elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Invalid, Kind, Meta, ObjectKey, ObjectRef, Reason, SourceId};
use crate::world::{Change, Object, Observed};

const SOURCE: SourceId = SourceId::Kubernetes;

/// Requests at the same time.
const CONCURRENCY: usize = 16;

/// The waits between retries; the last one repeats.
const WAITS: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];

/// How soon a refusal is questioned again: a role may have been granted.
const FORBIDDEN: Duration = Duration::from_secs(30);

/// Refusals after which the others no longer wait for this object.
const ATTEMPTS: usize = 5;

/// How a fetch ended.
#[derive(Debug)]
pub(super) enum Fetched {
    /// The API server does not let us read it, in its words.
    Forbidden(String),
    /// Here it is, with its version.
    Found(String, Object),
    /// There is no such object.
    Missing,
    /// The API server answered with another error.
    Refused(String),
    /// There was no answer: the API server is away.
    Unanswered(String),
}

/// The wanted objects of one kind.
#[derive(Debug)]
pub(super) struct Wanted {
    kind: Kind,
    /// Whether it is known which objects are wanted.
    known: bool,
    objects: BTreeMap<ObjectKey, Entry>,
    /// The namespace of each watch, `None` for all.
    scopes: Vec<Option<String>>,
    /// The wanted objects that each watch's unfinished list holds.
    seen: Vec<BTreeSet<ObjectKey>>,
    ticket: u64,
    /// Whether the first list was delivered.
    told: bool,
}

#[derive(Debug, Default)]
struct Entry {
    /// Failed fetches in a row.
    attempts: usize,
    /// Whether it must be fetched.
    due: bool,
    /// The fetch under way. Another one's result is outdated.
    fetching: Option<u64>,
    /// The value, until the first list is delivered.
    object: Option<Object>,
    /// Whether it is known what there is.
    settled: bool,
    /// The version of the value that was delivered.
    version: Option<String>,
    /// Whether a retry waits for its time.
    waiting: bool,
}

impl Wanted {
    pub(super) fn new(kind: Kind, scopes: Vec<Option<String>>) -> Self {
        let seen = vec![BTreeSet::new(); scopes.len()];
        Self { kind, known: false, objects: BTreeMap::new(), scopes, seen, ticket: 0, told: false }
    }

    /// These are wanted from now on, as far as they are of this kind, and no others.
    pub(super) fn want(&mut self, all: &BTreeSet<ObjectRef>) -> Vec<Change> {
        self.known = true;
        let kind = self.kind;
        let keys: BTreeSet<_> = all.iter().filter(|object| object.kind == kind).map(|object| &object.key).collect();
        let gone: Vec<_> = self.objects.keys().filter(|key| !keys.contains(*key)).cloned().collect();
        for key in &gone {
            self.objects.remove(key);
        }
        for key in keys {
            self.objects.entry(key.clone()).or_insert_with(|| Entry { due: true, ..Entry::default() });
        }
        let told = self.told;
        gone.into_iter().filter(|_| told).map(|key| remove(kind, key)).collect()
    }

    /// A watch shows an object in this version, or without one that it is gone.
    pub(super) fn notice(&mut self, key: &ObjectKey, version: Option<&str>) {
        if let Some(entry) = self.objects.get_mut(key) {
            // While a fetch is under way nobody knows which version it will bring.
            if entry.fetching.is_some() || entry.version.as_deref() != version {
                entry.due = true;
            }
        }
    }

    /// A watch begins a list.
    pub(super) fn begin(&mut self, watch: usize) {
        self.seen[watch].clear();
    }

    /// A watch's list holds this object.
    pub(super) fn list(&mut self, watch: usize, key: &ObjectKey, version: Option<&str>) {
        if self.objects.contains_key(key) {
            self.seen[watch].insert(key.clone());
            self.notice(key, version);
        }
    }

    /// A watch's list is complete: what it lacks may be gone.
    pub(super) fn listed(&mut self, watch: usize) {
        let seen = std::mem::take(&mut self.seen[watch]);
        let scope = self.scopes[watch].as_deref();
        for (key, entry) in &mut self.objects {
            if scope.is_none_or(|namespace| namespace == &*key.namespace) && !seen.contains(key) {
                entry.due |= entry.version.is_some() || entry.fetching.is_some();
            }
        }
    }

    /// What no working watch covers must be looked at again.
    pub(super) fn poll(&mut self, failing: &[bool]) {
        let working = self.scopes.iter().zip(failing).filter(|(_, failing)| !**failing);
        let working: Vec<_> = working.map(|(scope, _)| scope.as_deref()).collect();
        for (key, entry) in &mut self.objects {
            let covered = working.iter().any(|scope| scope.is_none_or(|namespace| namespace == &*key.namespace));
            entry.due |= !covered;
        }
    }

    /// An object to fetch now, with the number of the fetch.
    pub(super) fn next(&mut self) -> Option<(ObjectKey, u64)> {
        let busy = self.objects.values().filter(|entry| entry.fetching.is_some()).count();
        if busy >= CONCURRENCY {
            return None;
        }
        let startable = |entry: &Entry| entry.due && entry.fetching.is_none() && !entry.waiting;
        let (key, entry) = self.objects.iter_mut().find(|(_, entry)| startable(entry))?;
        self.ticket += 1;
        entry.due = false;
        entry.fetching = Some(self.ticket);
        Some((key.clone(), self.ticket))
    }

    /// A fetch ended; says what is new, and after which time to call [`Wanted::waited`].
    pub(super) fn fetched(
        &mut self,
        key: &ObjectKey,
        ticket: u64,
        fetched: Fetched,
    ) -> (Vec<Change>, Option<Duration>) {
        let kind = self.kind;
        let Some(entry) = self.objects.get_mut(key).filter(|entry| entry.fetching == Some(ticket)) else {
            return (Vec::new(), None);
        };
        entry.fetching = None;
        let failed = !matches!(fetched, Fetched::Found(..) | Fetched::Missing);
        if failed {
            entry.attempts += 1;
        } else if entry.attempts > 0 {
            tracing::info!(object = %key, %kind, "it can be fetched again");
            entry.attempts = 0;
        }
        let retry = WAITS[entry.attempts.saturating_sub(1).min(WAITS.len() - 1)];
        let (object, wait) = match fetched {
            Fetched::Found(version, object) => {
                entry.version = Some(version);
                (Some(object), None)
            }
            Fetched::Missing => {
                entry.version = None;
                (None, None)
            }
            Fetched::Forbidden(why) => {
                entry.warn(kind, key, &why);
                entry.version = None;
                (Some(unusable(kind, Reason::Forbidden, format!("the API server does not show it: {why}"))), {
                    Some(FORBIDDEN)
                })
            }
            Fetched::Unanswered(why) => {
                entry.warn(kind, key, &why);
                entry.wait();
                return (Vec::new(), Some(retry));
            }
            Fetched::Refused(why) => {
                entry.warn(kind, key, &why);
                if entry.settled || entry.attempts < ATTEMPTS {
                    entry.wait();
                    return (Vec::new(), Some(retry));
                }
                let message = format!("it cannot be fetched: {why}");
                (Some(unusable(kind, Reason::RefNotFound, message)), Some(retry))
            }
        };
        entry.settled = true;
        if wait.is_some() {
            entry.wait();
        }
        if !self.told {
            entry.object = object;
            return (Vec::new(), wait);
        }
        let change = match object {
            Some(object) => Change::Upsert { source: SOURCE, key: key.clone(), object },
            None => remove(kind, key.clone()),
        };
        (vec![change], wait)
    }

    /// The time of a retry has come.
    pub(super) fn waited(&mut self, key: &ObjectKey) {
        if let Some(entry) = self.objects.get_mut(key) {
            entry.waiting = false;
        }
    }

    /// The first list, once everything that is wanted is known.
    pub(super) fn first(&mut self) -> Option<Change> {
        if self.told || !self.known || self.objects.values().any(|entry| !entry.settled) {
            return None;
        }
        self.told = true;
        let objects = self.objects.iter_mut();
        let objects = objects.filter_map(|(key, entry)| Some((key.clone(), entry.object.take()?))).collect();
        Some(Change::Replace { source: SOURCE, kind: self.kind, objects })
    }
}

impl Entry {
    /// It is to be fetched again, though not yet.
    fn wait(&mut self) {
        self.due = true;
        self.waiting = true;
    }

    fn warn(&self, kind: Kind, key: &ObjectKey, why: &str) {
        if self.attempts == 1 {
            tracing::warn!(object = %key, %kind, why, "it cannot be fetched");
        }
    }
}

fn remove(kind: Kind, key: ObjectKey) -> Change {
    Change::Remove { source: SOURCE, kind, key }
}

fn unusable(kind: Kind, reason: Reason, message: String) -> Object {
    let observed = Observed { meta: Meta::default(), value: Err(Invalid::new(reason, "data", message)) };
    if kind == Kind::ConfigMap { Object::ConfigMap(observed) } else { Object::Secret(observed) }
}
