//! DNS: the addresses of the names that upstreams are reached by, followed for as long as they are wanted.

mod resolver;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::resolver::Found;
pub use self::resolver::Resolver;
use crate::world::Change;

/// The shortest time until a name is looked up again, whatever its TTL.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest time until a name is looked up again, whatever its TTL: what an administrator waits at most for a change.
const LONGEST: Duration = Duration::from_secs(300);

/// The longest time between two attempts at a name that does not resolve. They double from [`SHORTEST`] on; the TTL of negative
/// answers does not count, so that a name that is created is found soon.
const RETRY: Duration = Duration::from_secs(60);

/// Lookups at a time. Each takes up to two sockets for each name server, and as many seconds as the name servers are slow.
const LOOKUPS: usize = 256;

/// [`run`] with the system's resolver, which is made for the first name that is wanted.
pub async fn run_system(mut wanted: watch::Receiver<BTreeSet<Arc<str>>>, changes: mpsc::Sender<Change>) {
    if wanted.wait_for(|names| !names.is_empty()).await.is_err() {
        return;
    }
    match Resolver::system() {
        Ok(resolver) => run(resolver, wanted, changes).await,
        Err(error) => tracing::error!("names are not resolved: {error}"),
    }
}

/// Looks up every name in `wanted`, again whenever its TTL ends, until nobody says any more what is wanted.
pub async fn run(resolver: Resolver, mut wanted: watch::Receiver<BTreeSet<Arc<str>>>, changes: mpsc::Sender<Change>) {
    let resolver = Arc::new(resolver);
    let turns = Arc::new(Semaphore::new(LOOKUPS));
    let mut followed = HashMap::new();
    let mut tasks = JoinSet::new(); // ends them all when it is dropped
    loop {
        let names = wanted.borrow_and_update().clone();
        followed.retain(|name, task: &mut tokio::task::AbortHandle| {
            let keep = names.contains(name);
            if !keep {
                task.abort();
            }
            keep
        });
        for name in names {
            let start = || tasks.spawn(follow(name.clone(), resolver.clone(), turns.clone(), changes.clone()));
            followed.entry(name.clone()).or_insert_with(start);
        }
        while tasks.try_join_next().is_some() {}
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

/// Looks `name` up again and again.
async fn follow(name: Arc<str>, resolver: Arc<Resolver>, turns: Arc<Semaphore>, changes: mpsc::Sender<Change>) {
    let mut retry = SHORTEST;
    let mut known = false;
    loop {
        let found = {
            let _turn = turns.acquire().await;
            resolver.lookup(&name).await
        };
        let (answer, wait) = match found {
            // Half of an answer does not replace a whole one: the last addresses stay.
            Ok(Found { partial: Some(why), .. }) if known => (Err(why), back_off(&mut retry)),
            Ok(found) if found.partial.is_some() => (Ok(found.addresses), back_off(&mut retry)),
            Ok(found) => {
                (known, retry) = (true, SHORTEST);
                (Ok(found.addresses), found.ttl.clamp(SHORTEST, LONGEST))
            }
            Err(why) => (Err(why), back_off(&mut retry)),
        };
        if changes.send(Change::Lookup { name: name.clone(), answer }).await.is_err() {
            return;
        }
        sleep(wait).await;
    }
}

/// The time until the next attempt, which doubles.
fn back_off(retry: &mut Duration) -> Duration {
    std::mem::replace(retry, (*retry * 2).min(RETRY))
}

#[cfg(test)]
mod tests;
