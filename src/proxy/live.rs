//! The connections that are open, by the host that they are used for, so that a change of one host finds its own.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Shared;
use super::downstream::Downstream;
use super::standing::{FOREVER, Lost, Standing};
use crate::model::HostName;
use crate::snapshot::{HostTls, Policy, Snapshot};

/// Parts with a lock each. A connection takes its lock when it is made and when it has ended, for less than a microsecond.
const SHARDS: usize = 16;

/// Every open TLS connection. About 100 bytes per connection, and nothing per request.
#[derive(Debug, Default)]
pub(super) struct Live {
    hasher: RandomState,
    next: AtomicU64,
    shards: [Mutex<Shard>; SHARDS],
}

/// The connections of some hosts.
#[derive(Debug, Default)]
struct Shard {
    /// The members whose standing ends by itself, in the order in which it does.
    ends: BTreeMap<(u64, Id), Use>,
    members: HashMap<Use, HashMap<Id, Member>>,
}

type Id = u64;

/// A connection as its host knows it.
#[derive(Debug)]
struct Member {
    downstream: Weak<Downstream>,
    /// Whether its client was let in when it was judged last. One that was not has got its answer, or will.
    let_in: bool,
    /// What it was judged under; `None` where nothing was configured for the host.
    under: Option<Arc<HostTls>>,
    until: u64,
}

/// What a connection is used for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Use {
    pub(super) host: HostName,
    pub(super) role: Role,
}

/// How a connection came to its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// By its handshake: for as long as it is open.
    Handshake,
    /// By a request for another host than the handshake's: for as long as that request is under way.
    Request,
}

impl Use {
    /// What is configured for it.
    pub(super) fn configured<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Arc<HostTls>> {
        match self.role {
            Role::Handshake => snapshot.handshake(&self.host),
            Role::Request => snapshot.tls.most_specific(&self.host),
        }
    }
}

/// A connection's place among the open ones of a host. Given back when dropped.
#[derive(Debug)]
pub(super) struct Entry {
    id: Id,
    shared: Arc<Shared>,
    used: Use,
}

impl Entry {
    /// What the connection is used for.
    pub(super) fn used(&self) -> &Use {
        &self.used
    }

    /// The connection that this is the entry of, to be judged anew.
    pub(super) fn due(&self, downstream: Arc<Downstream>) -> Due {
        Due { downstream, id: self.id, used: self.used.clone() }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut shard = self.shared.live.shard(&self.used);
        let Some(members) = shard.members.get_mut(&self.used) else { return };
        let member = members.remove(&self.id);
        if members.is_empty() {
            shard.members.remove(&self.used);
        }
        if let Some(member) = member {
            shard.ends.remove(&(member.until, self.id));
        }
    }
}

/// A connection whose standing has to be found out again.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) downstream: Arc<Downstream>,
    id: Id,
    pub(super) used: Use,
}

impl Live {
    /// Enters a connection that was judged under `under`.
    pub(super) fn enter(
        shared: &Arc<Shared>,
        downstream: Weak<Downstream>,
        used: Use,
        under: Option<Arc<HostTls>>,
        standing: &Standing,
    ) -> Entry {
        let live = &shared.live;
        let id = live.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { id, shared: shared.clone(), used };
        let mut shard = live.shard(&entry.used);
        let member = Member { downstream, let_in: standing.is_ok(), under, until: end(standing) };
        shard.expect_end(member.until, id, &entry.used);
        shard.members.entry(entry.used.clone()).or_default().insert(id, member);
        drop(shard);
        entry
    }

    /// The connections that were judged under something else than what `snapshot` asks of their host.
    pub(super) fn outdated(&self, snapshot: &Snapshot) -> Vec<Due> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            for (used, members) in &mut shard.members {
                let now = used.configured(snapshot);
                for (id, member) in members {
                    if is_same(member.under.as_ref(), now) {
                        continue;
                    }
                    if asks_the_same(member.under.as_ref(), now) {
                        member.under = now.cloned();
                        continue;
                    }
                    // Kept until the lock is given back: the last owner of a connection takes the same lock.
                    due.extend(member.due(*id, used));
                }
            }
        }
        due
    }

    /// The connections whose standing has ended at `now`, in seconds since the epoch. Each is returned once.
    pub(super) fn ended(&self, now: u64) -> Vec<Due> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            let shard = &mut *shard;
            while let Some(end) = shard.ends.first_entry().filter(|end| end.key().0 < now) {
                let ((_, id), used) = end.remove_entry();
                let member = shard.members.get_mut(&used).and_then(|members| members.get_mut(&id));
                due.extend(member.and_then(|member| {
                    member.until = FOREVER;
                    member.due(id, &used)
                }));
            }
        }
        due
    }

    /// Notes what became of a connection that was due: judged under `under`, which `is_current` must still find to be what is
    /// asked. Whether it must be closed; `None` where it has to be judged again.
    pub(super) fn settle(
        &self,
        due: &Due,
        under: Option<&Arc<HostTls>>,
        standing: &Standing,
        is_current: impl FnOnce() -> bool,
    ) -> Option<Result<(), Lost>> {
        let mut shard = self.shard(&due.used);
        let shard = &mut *shard;
        if !is_current() {
            return None;
        }
        let member = shard.members.get_mut(&due.used).and_then(|members| members.get_mut(&due.id));
        let Some(member) = member else { return Some(Ok(())) }; // it has ended meanwhile
        let served = member.let_in || skips(member.under.as_ref()) != skips(under);
        shard.ends.remove(&(member.until, due.id));
        member.let_in = standing.is_ok();
        member.until = end(standing);
        member.under = under.cloned();
        let until = member.until;
        shard.expect_end(until, due.id, &due.used);
        Some(match standing {
            Err(lost) if served => Err(lost.clone()),
            _ => Ok(()),
        })
    }

    fn shard(&self, used: &Use) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(used);
        lock(&self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()])
    }
}

impl Shard {
    fn expect_end(&mut self, until: u64, id: Id, used: &Use) {
        if until != FOREVER {
            self.ends.insert((until, id), used.clone());
        }
    }
}

impl Member {
    fn due(&self, id: Id, used: &Use) -> Option<Due> {
        Some(Due { downstream: self.downstream.upgrade()?, id, used: used.clone() })
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(standing: &Standing) -> u64 {
    standing.as_ref().copied().unwrap_or(FOREVER)
}

fn is_same(one: Option<&Arc<HostTls>>, other: Option<&Arc<HostTls>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
}

fn asks_the_same(one: Option<&Arc<HostTls>>, other: Option<&Arc<HostTls>>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one.policy.same(&other.policy))
}

/// The paths that a client may use without being let in. A client that has used one is held to it when they change.
fn skips(host: Option<&Arc<HostTls>>) -> &[Arc<str>] {
    match host.map(|host| &host.policy) {
        Some(Policy::Require(auth)) => &auth.settings.skip,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Format, Log};
    use crate::metrics::Metrics;
    use crate::proxy::Settings;
    use crate::snapshot::Current;

    fn sizes(live: &Live) -> (usize, usize) {
        let shards = || live.shards.iter().map(lock);
        let members = shards().map(|shard| shard.members.values().map(HashMap::len).sum::<usize>()).sum();
        (members, shards().map(|shard| shard.ends.len()).sum())
    }

    #[test]
    fn an_entry_leaves_nothing_behind() {
        let current = Arc::new(Current::default());
        let metrics = Arc::new(Metrics::new(current.clone()));
        let log = Log::new(Format::Text, std::io::sink());
        let shared = Arc::new(Shared::new(current, log, metrics, Settings::default()));
        let enter = |role, standing: Standing| {
            let used = Use { host: HostName::parse("a.test").unwrap(), role };
            Live::enter(&shared, Weak::new(), used, None, &standing)
        };
        let entries = [
            enter(Role::Handshake, Ok(5)),
            enter(Role::Handshake, Ok(7)),
            enter(Role::Handshake, Ok(FOREVER)),
            enter(Role::Request, Err(Lost::Gone)),
        ];
        assert_eq!(sizes(&shared.live), (4, 2));
        shared.live.ended(5);
        assert_eq!(sizes(&shared.live), (4, 2), "a verdict holds to the end of its last second");
        shared.live.ended(6);
        assert_eq!(sizes(&shared.live), (4, 1));
        drop(entries);
        assert_eq!(sizes(&shared.live), (0, 0));
        assert!(shared.live.shards.iter().all(|shard| lock(shard).members.is_empty()));
    }
}
