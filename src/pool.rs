//! Idle things to use again: the last one returned goes out first, so that a pool shrinks when load falls.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Idle connections kept per endpoint; APISIX's `keepalive_pool.size`.
const MAX_IDLE: usize = 320;

/// How long an idle connection is kept: APISIX's `keepalive_pool.idle_timeout`. Less than most servers' own limit, so
/// that a connection is rarely found closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Idle values, newest first. One pool belongs to one endpoint: its lock is never shared between endpoints.
pub struct Pool<T> {
    idle: Mutex<Vec<(T, Instant)>>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { idle: Mutex::new(Vec::new()) }
    }
}

impl<T> Pool<T> {
    fn lock(&self) -> MutexGuard<'_, Vec<(T, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the newest idle value that is not too old, `now`.
    pub fn take(&self, now: Instant) -> Option<T> {
        let mut idle = self.lock();
        let (value, since) = idle.pop()?;
        if now.saturating_duration_since(since) <= IDLE_TIMEOUT {
            return Some(value);
        }
        let old = std::mem::take(&mut *idle); // those below are older still
        drop(idle); // closing sockets is not for under the lock
        drop(old);
        None
    }

    /// Takes the newest idle value that is not too old, `now`, and `fits`.
    pub fn take_if(&self, now: Instant, fits: impl Fn(&T) -> bool) -> Option<T> {
        let mut idle = self.lock();
        let place = idle.iter().rposition(|(value, _)| fits(value))?;
        let (value, since) = idle.remove(place);
        (now.saturating_duration_since(since) <= IDLE_TIMEOUT).then_some(value)
    }

    /// Gives a value back; over the limit the oldest one is dropped.
    pub fn put(&self, value: T) {
        let mut idle = self.lock();
        if idle.len() >= MAX_IDLE {
            idle.remove(0);
        }
        idle.push((value, Instant::now()));
    }

    /// Drops what has been idle too long or is not `usable` any more.
    pub fn sweep(&self, mut usable: impl FnMut(&mut T) -> bool) {
        self.lock().retain_mut(|(value, since)| since.elapsed() <= IDLE_TIMEOUT && usable(value));
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_is_taken() {
        let pool = Pool::default();
        for value in 1..=3 {
            pool.put(value);
        }
        assert_eq!(pool.take(Instant::now()), Some(3));
        pool.sweep(|value| *value != 2);
        assert_eq!(pool.take(Instant::now()), Some(1));
        assert_eq!(pool.take(Instant::now()), None);
    }

    #[test]
    fn a_full_pool_drops_its_oldest() {
        let pool = Pool::default();
        for value in 0..=MAX_IDLE {
            pool.put(value);
        }
        let taken: Vec<_> = std::iter::from_fn(|| pool.take(Instant::now())).collect();
        assert_eq!((taken.len(), taken.last()), (MAX_IDLE, Some(&1)));
    }
}
