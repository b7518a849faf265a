//! Active health checks: every endpoint that the published snapshot watches is asked again and again, however many routes lead
//! to it. On the control runtime, so that checks and traffic do not hold each other up.

mod probe;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::snapshot::{Current, Snapshot, Target};

/// Checks what `current` watches, and goes on as that changes, until it is cancelled.
pub async fn run(current: Arc<Current>) {
    let mut published = current.published();
    let mut running = Running::default();
    loop {
        running.follow(&current.load_full());
        tokio::select! {
            changed = published.changed() => if changed.is_err() { return },
            Some(_) = running.tasks.join_next() => {} // one that was stopped
        }
    }
}

/// The checks of the targets of one snapshot.
#[derive(Default)]
struct Running {
    /// By where they are in memory: a target is the same one as long as it is watched, and is kept here while it is checked.
    checked: HashMap<usize, (Arc<Target>, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Begins to check what is new in `snapshot`, and stops with what is not in it any more.
    fn follow(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.checked);
        for target in snapshot.targets() {
            let place = Arc::as_ptr(target) as usize;
            let entry =
                before.remove(&place).unwrap_or_else(|| (target.clone(), self.tasks.spawn(check(target.clone()))));
            self.checked.insert(place, entry);
        }
        for (_, task) in before.into_values() {
            task.abort();
        }
    }
}

/// Checks a target for ever.
async fn check(target: Arc<Target>) {
    let active = &target.checks.id.check.active;
    loop {
        // Closed semaphores do not exist here, so there is a slot in the end.
        let slot = target.checks.slots.acquire().await;
        if let Some(sign) = probe::probe(&target).await {
            target.checked(sign);
        }
        drop(slot);
        let asked = Instant::now();
        loop {
            let interval = if target.is_healthy() { active.healthy_interval } else { active.unhealthy_interval };
            tokio::select! {
                () = sleep_until(asked + interval) => break,
                () = target.changed() => {} // another interval counts from now on
            }
        }
    }
}
