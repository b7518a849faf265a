//! Which Secrets are wanted, and what has to be fetched when. State only; requests and clocks are elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Invalid, Kind, Meta, ObjectKey, Reason, SourceId};
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

/// Refusals after which the others no longer wait for this Secret.
const ATTEMPTS: usize = 5;

/// How a fetch ended.
#[derive(Debug)]
pub(super) enum Fetched {
    /// The API server does not let us read it, in its words.
    Forbidden(String),
    /// Here it is, with its version.
    Found(String, Object),
    /// There is no such Secret.
    Missing,
    /// The API server answered with another error.
    Refused(String),
    /// There was no answer: the API server is away.
    Unanswered(String),
}

/// The wanted Secrets.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Whether it is known which Secrets are wanted.
    known: bool,
    /// The namespace of each watch, `None` for all.
    scopes: Vec<Option<String>>,
    secrets: BTreeMap<ObjectKey, Secret>,
    /// The wanted Secrets that each watch's unfinished list holds.
    seen: Vec<BTreeSet<ObjectKey>>,
    ticket: u64,
    /// Whether the first list was delivered.
    told: bool,
}

#[derive(Debug, Default)]
struct Secret {
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
    pub(super) fn new(scopes: Vec<Option<String>>) -> Self {
        let seen = vec![BTreeSet::new(); scopes.len()];
        Self { known: false, scopes, secrets: BTreeMap::new(), seen, ticket: 0, told: false }
    }

    /// These Secrets are wanted from now on, and no others.
    pub(super) fn want(&mut self, keys: &BTreeSet<ObjectKey>) -> Vec<Change> {
        self.known = true;
        let gone: Vec<_> = self.secrets.keys().filter(|key| !keys.contains(*key)).cloned().collect();
        for key in &gone {
            self.secrets.remove(key);
        }
        for key in keys {
            self.secrets.entry(key.clone()).or_insert_with(|| Secret { due: true, ..Secret::default() });
        }
        let told = self.told;
        gone.into_iter().filter(|_| told).map(remove).collect()
    }

    /// A watch shows a Secret in this version, or without one that it is gone.
    pub(super) fn notice(&mut self, key: &ObjectKey, version: Option<&str>) {
        if let Some(secret) = self.secrets.get_mut(key) {
            // While a fetch is under way nobody knows which version it will bring.
            if secret.fetching.is_some() || secret.version.as_deref() != version {
                secret.due = true;
            }
        }
    }

    /// A watch begins a list.
    pub(super) fn begin(&mut self, watch: usize) {
        self.seen[watch].clear();
    }

    /// A watch's list holds this Secret.
    pub(super) fn list(&mut self, watch: usize, key: &ObjectKey, version: Option<&str>) {
        if self.secrets.contains_key(key) {
            self.seen[watch].insert(key.clone());
            self.notice(key, version);
        }
    }

    /// A watch's list is complete: what it lacks may be gone.
    pub(super) fn listed(&mut self, watch: usize) {
        let seen = std::mem::take(&mut self.seen[watch]);
        let scope = self.scopes[watch].as_deref();
        for (key, secret) in &mut self.secrets {
            if scope.is_none_or(|namespace| namespace == &*key.namespace) && !seen.contains(key) {
                secret.due |= secret.version.is_some() || secret.fetching.is_some();
            }
        }
    }

    /// What no working watch covers must be looked at again.
    pub(super) fn poll(&mut self, failing: &[bool]) {
        let working = self.scopes.iter().zip(failing).filter(|(_, failing)| !**failing);
        let working: Vec<_> = working.map(|(scope, _)| scope.as_deref()).collect();
        for (key, secret) in &mut self.secrets {
            let covered = working.iter().any(|scope| scope.is_none_or(|namespace| namespace == &*key.namespace));
            secret.due |= !covered;
        }
    }

    /// A Secret to fetch now, with the number of the fetch.
    pub(super) fn next(&mut self) -> Option<(ObjectKey, u64)> {
        let busy = self.secrets.values().filter(|secret| secret.fetching.is_some()).count();
        if busy >= CONCURRENCY {
            return None;
        }
        let startable = |secret: &Secret| secret.due && secret.fetching.is_none() && !secret.waiting;
        let (key, secret) = self.secrets.iter_mut().find(|(_, secret)| startable(secret))?;
        self.ticket += 1;
        secret.due = false;
        secret.fetching = Some(self.ticket);
        Some((key.clone(), self.ticket))
    }

    /// A fetch ended; says what is new, and after which time to call [`Wanted::waited`].
    pub(super) fn fetched(
        &mut self,
        key: &ObjectKey,
        ticket: u64,
        fetched: Fetched,
    ) -> (Vec<Change>, Option<Duration>) {
        let Some(secret) = self.secrets.get_mut(key).filter(|secret| secret.fetching == Some(ticket)) else {
            return (Vec::new(), None);
        };
        secret.fetching = None;
        let failed = !matches!(fetched, Fetched::Found(..) | Fetched::Missing);
        if failed {
            secret.attempts += 1;
        } else if secret.attempts > 0 {
            tracing::info!(secret = %key, "the Secret can be fetched again");
            secret.attempts = 0;
        }
        let retry = WAITS[secret.attempts.saturating_sub(1).min(WAITS.len() - 1)];
        let (object, wait) = match fetched {
            Fetched::Found(version, object) => {
                secret.version = Some(version);
                (Some(object), None)
            }
            Fetched::Missing => {
                secret.version = None;
                (None, None)
            }
            Fetched::Forbidden(why) => {
                secret.warn(key, &why);
                secret.version = None;
                (Some(unusable(Reason::Forbidden, format!("the API server does not show it: {why}"))), {
                    Some(FORBIDDEN)
                })
            }
            Fetched::Unanswered(why) => {
                secret.warn(key, &why);
                secret.wait();
                return (Vec::new(), Some(retry));
            }
            Fetched::Refused(why) => {
                secret.warn(key, &why);
                if secret.settled || secret.attempts < ATTEMPTS {
                    secret.wait();
                    return (Vec::new(), Some(retry));
                }
                let message = format!("it cannot be fetched: {why}");
                (Some(unusable(Reason::RefNotFound, message)), Some(retry))
            }
        };
        secret.settled = true;
        if wait.is_some() {
            secret.wait();
        }
        if !self.told {
            secret.object = object;
            return (Vec::new(), wait);
        }
        let change = match object {
            Some(object) => Change::Upsert { source: SOURCE, key: key.clone(), object },
            None => remove(key.clone()),
        };
        (vec![change], wait)
    }

    /// The time of a retry has come.
    pub(super) fn waited(&mut self, key: &ObjectKey) {
        if let Some(secret) = self.secrets.get_mut(key) {
            secret.waiting = false;
        }
    }

    /// The first list, once everything that is wanted is known.
    pub(super) fn first(&mut self) -> Option<Change> {
        if self.told || !self.known || self.secrets.values().any(|secret| !secret.settled) {
            return None;
        }
        self.told = true;
        let objects = self.secrets.iter_mut();
        let objects = objects.filter_map(|(key, secret)| Some((key.clone(), secret.object.take()?))).collect();
        Some(Change::Replace { source: SOURCE, kind: Kind::Secret, objects })
    }
}

impl Secret {
    /// It is to be fetched again, though not yet.
    fn wait(&mut self) {
        self.due = true;
        self.waiting = true;
    }

    fn warn(&self, key: &ObjectKey, why: &str) {
        if self.attempts == 1 {
            tracing::warn!(secret = %key, why, "the Secret cannot be fetched");
        }
    }
}

fn remove(key: ObjectKey) -> Change {
    Change::Remove { source: SOURCE, kind: Kind::Secret, key }
}

fn unusable(reason: Reason, message: String) -> Object {
    Object::Secret(Observed { meta: Meta::default(), value: Err(Invalid::new(reason, "data", message)) })
}
