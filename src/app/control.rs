//! The owner of the world: takes changes in, compiles, publishes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::compile::{Compiled, Context, Report, compile};
use crate::model::{ObjectRef, SourceId};
use crate::snapshot::Current;
use crate::world::{Change, World};

/// The shortest time between two snapshots. The first change after a pause is published at once; a burst is gathered.
const PACE: Duration = Duration::from_millis(10);

/// How long a change waits for the Secrets and `ConfigMap`s that it names for the first time: a fetch takes milliseconds. After that it is
/// published as it is, which refuses the hosts concerned.
const FETCH: Duration = Duration::from_secs(1);

/// How long a change waits for the addresses of the names that it uses for the first time. After that it is published without them.
const RESOLVE: Duration = Duration::from_secs(2);

/// How often the clock is looked at: it may be set, and a suspended machine's timers stand still.
const CHECK: Duration = Duration::from_secs(60);

/// What the control loop tells the others.
#[derive(Debug)]
pub(super) struct Outputs {
    /// The published snapshot.
    pub(super) current: Arc<Current>,
    /// The names to resolve.
    pub(super) names: watch::Sender<BTreeSet<Arc<str>>>,
    /// Whether a snapshot was published yet.
    pub(super) published: watch::Sender<bool>,
    /// The Secrets and `ConfigMap`s to fetch, once everything that may refer to one is listed.
    pub(super) referenced: watch::Sender<Option<BTreeSet<ObjectRef>>>,
    /// What became of the objects in the published snapshot.
    pub(super) reports: watch::Sender<Arc<Report>>,
}

/// Runs until every source is gone. The only place where state changes: whatever arrived meanwhile goes into one
/// compilation.
///
/// `clock` says what time it is, in seconds since the epoch.
pub(super) async fn run(
    world: World,
    context: Context,
    mut changes: mpsc::Receiver<Change>,
    outputs: Outputs,
    clock: impl Fn() -> i64,
) {
    let mut control = Control { answered: BTreeSet::new(), context, dirty: false, outputs, outdated: None, world };
    let mut next = Instant::now();
    let mut patience = None;
    loop {
        let wait = Instant::now() + control.outdated.map_or(CHECK, |at| seconds(at.saturating_sub(clock())).min(CHECK));
        match timeout_at(patience.unwrap_or(wait), changes.recv()).await {
            Ok(Some(change)) => control.take(change),
            Ok(None) => return,
            Err(_) if patience.take().is_some() => control.give_up(),
            Err(_) => control.dirty |= control.outdated.is_some_and(|at| clock() >= at),
        }
        sleep_until(next).await;
        while let Ok(change) = changes.try_recv() {
            control.take(change);
        }
        control.ask();
        if control.awaits_data() {
            patience.get_or_insert_with(|| Instant::now() + FETCH);
            continue;
        }
        if control.dirty && control.world.is_complete() {
            let started = Instant::now();
            let compiled = control.compile(clock());
            next = Instant::now() + PACE;
            if control.awaits_addresses() {
                patience.get_or_insert_with(|| Instant::now() + RESOLVE);
                continue;
            }
            control.publish(compiled);
            tracing::debug!(took = ?started.elapsed(), "published a snapshot");
        }
        patience = None;
    }
}

struct Control {
    /// The referenced Secrets and `ConfigMap`s that Kubernetes has been asked for and has answered about, be it that there is none.
    answered: BTreeSet<ObjectRef>,
    context: Context,
    /// Whether the world differs from the published snapshot.
    dirty: bool,
    outputs: Outputs,
    /// When the report is no longer right because time has passed, in seconds since the epoch.
    outdated: Option<i64>,
    world: World,
}

/// A duration of so many seconds; none where they are negative.
fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

impl Control {
    fn take(&mut self, change: Change) {
        match &change {
            Change::Remove { source: SourceId::Kubernetes, kind, key } => {
                self.answer(ObjectRef { kind: *kind, key: key.clone() });
            }
            Change::Upsert { source: SourceId::Kubernetes, key, object } => {
                self.answer(ObjectRef { kind: object.kind(), key: key.clone() });
            }
            Change::Replace { source: SourceId::Kubernetes, kind, .. } if kind.is_referenced() => {
                let referenced = self.outputs.referenced.borrow();
                self.answered.extend(referenced.iter().flatten().filter(|object| object.kind == *kind).cloned());
            }
            _ => {}
        }
        self.dirty |= self.world.apply(change);
    }

    /// Notes that Kubernetes has answered.
    fn answer(&mut self, object: ObjectRef) {
        if object.kind.is_referenced() {
            self.answered.insert(object);
        }
    }

    /// Says which Secrets and `ConfigMap`s are to be fetched.
    fn ask(&mut self) {
        if !self.dirty || !self.world.knows_references() {
            return;
        }
        let referenced = self.world.referenced();
        self.answered.retain(|object| referenced.contains(object));
        self.outputs.referenced.send_if_modified(|old| {
            let changed = old.as_ref() != Some(&referenced);
            *old = Some(referenced);
            changed
        });
    }

    /// Whether a Secret or ConfigMap was named a moment ago and is on its way. To compile without it would refuse the hosts of an object
    /// that is all right.
    fn awaits_data(&self) -> bool {
        let fetched = !self.outputs.referenced.is_closed(); // without a cluster nobody fetches
        let known = |object: &ObjectRef| self.answered.contains(object) || self.world.data(object).is_some();
        fetched && self.dirty && self.outputs.referenced.borrow().iter().flatten().any(|object| !known(object))
    }

    /// Whether a name was used for the first time a moment ago and is being looked up. To publish without its addresses would answer 503.
    fn awaits_addresses(&self) -> bool {
        let followed = !self.outputs.names.is_closed(); // without a resolver nobody looks up
        followed && self.outputs.names.borrow().iter().any(|name| self.world.lookup(name).is_none())
    }

    /// Waits no longer for what was waited for.
    fn give_up(&mut self) {
        self.answered = self.world.referenced();
        let names = self.outputs.names.borrow();
        let silent: Vec<_> = names.iter().filter(|name| self.world.lookup(name).is_none()).cloned().collect();
        drop(names);
        for name in silent {
            let answer = Err("cannot be looked up: no name server has answered yet".to_owned());
            self.dirty |= self.world.apply(Change::Lookup { name, answer });
        }
    }

    /// Compiles the world, and says which names are to be resolved.
    fn compile(&mut self, now: i64) -> Compiled {
        let compiled = compile(&self.world, &self.context, &self.outputs.current.load(), now);
        self.world.keep_names(&compiled.names);
        self.outputs.names.send_if_modified(|old| {
            let changed = *old != compiled.names;
            old.clone_from(&compiled.names);
            changed
        });
        compiled
    }

    fn publish(&mut self, compiled: Compiled) {
        self.outdated = compiled.next;
        self.outputs.current.store(Arc::new(compiled.snapshot));
        // After the store: a condition that says Programmed is true when it is written.
        self.outputs.reports.send_replace(Arc::new(compiled.report));
        self.outputs.published.send_replace(true);
        self.dirty = false;
    }
}

#[cfg(test)]
mod tests;
