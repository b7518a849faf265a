//! The owner of the world: takes changes in, compiles, publishes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::compile::{Context, Report, compile};
use crate::model::{ObjectRef, SourceId};
use crate::snapshot::Current;
use crate::world::{Change, World};

/// The shortest time between two snapshots. The first change after a pause is published at once; a burst is gathered.
const PACE: Duration = Duration::from_millis(10);

/// How long a change waits for the Secrets and `ConfigMap`s that it names for the first time: a fetch takes milliseconds. After that it is
/// published as it is, which refuses the hosts concerned.
const FETCH: Duration = Duration::from_secs(1);

/// How often the clock is looked at: it may be set, and a suspended machine's timers stand still.
const CHECK: Duration = Duration::from_secs(60);

/// What the control loop tells the others.
#[derive(Debug)]
pub(super) struct Outputs {
    /// The published snapshot.
    pub(super) current: Arc<Current>,
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
            Err(_) if patience.is_some() => control.answered = control.world.referenced(), // waited long enough
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
        patience = None;
        if control.dirty && control.world.is_complete() {
            control.publish(clock());
            next = Instant::now() + PACE;
        }
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

    fn publish(&mut self, now: i64) {
        let started = Instant::now();
        let compiled = compile(&self.world, &self.context, &self.outputs.current.load(), now);
        self.outdated = compiled.next;
        let generation = compiled.snapshot.generation;
        self.outputs.current.store(Arc::new(compiled.snapshot));
        // After the store: a condition that says Programmed is true when it is written.
        self.outputs.reports.send_replace(Arc::new(compiled.report));
        self.outputs.published.send_replace(true);
        self.dirty = false;
        tracing::debug!(generation, took = ?started.elapsed(), "published a snapshot");
    }
}

#[cfg(test)]
mod tests;
