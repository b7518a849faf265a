//! The owner of the world: takes changes in, compiles, publishes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::compile::{Context, Report, compile};
use crate::model::{Kind, ObjectKey};
use crate::snapshot::Current;
use crate::world::{Change, World};

/// The shortest time between two snapshots. The first change after a pause is published at once; a burst is gathered.
const PACE: Duration = Duration::from_millis(10);

/// What the control loop tells the others.
#[derive(Debug)]
pub(super) struct Outputs {
    /// The published snapshot.
    pub(super) current: Arc<Current>,
    /// Whether a snapshot was published yet.
    pub(super) published: watch::Sender<bool>,
    /// The Secrets to fetch, once everything that may refer to one is listed.
    pub(super) referenced: watch::Sender<Option<BTreeSet<ObjectKey>>>,
    /// What became of the objects in the published snapshot.
    pub(super) reports: watch::Sender<Arc<Report>>,
}

/// Runs until every source is gone. The only place where state changes: whatever arrived meanwhile goes into one
/// compilation.
pub(super) async fn run(mut world: World, context: Context, mut changes: mpsc::Receiver<Change>, outputs: Outputs) {
    let mut next = Instant::now();
    while let Some(change) = changes.recv().await {
        let mut dirty = world.apply(change);
        sleep_until(next).await;
        while let Ok(change) = changes.try_recv() {
            dirty |= world.apply(change);
        }
        if !dirty {
            continue;
        }
        if world.is_complete_but_for(Kind::Secret) {
            let referenced = Some(world.referenced_secrets());
            outputs.referenced.send_if_modified(|old| {
                let changed = *old != referenced;
                if changed {
                    *old = referenced;
                }
                changed
            });
        }
        if !world.is_complete() {
            continue;
        }
        let started = Instant::now();
        let compiled = compile(&world, &context, &outputs.current.load());
        let generation = compiled.snapshot.generation;
        outputs.current.store(Arc::new(compiled.snapshot));
        // After the store: a condition that says Programmed is true when it is written.
        outputs.reports.send_replace(Arc::new(compiled.report));
        outputs.published.send_replace(true);
        tracing::debug!(generation, took = ?started.elapsed(), "published a snapshot");
        next = Instant::now() + PACE;
    }
}
