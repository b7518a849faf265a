//! Idle things to use again: the last one returned goes out first, so that a pool shrinks when load falls.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Idle values, newest first. One pool belongs to one endpoint: its lock is never shared between endpoints.
pub struct Pool<T> {
    idle: Mutex<Vec<(T, Instant)>>,
    idle_timeout: Duration,
    size: usize,
}

impl<T> Pool<T> {
    /// An empty pool that keeps at most `size` values, each for `idle_timeout`.
    pub fn new(size: usize, idle_timeout: Duration) -> Self {
        Self { idle: Mutex::new(Vec::new()), idle_timeout, size }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(T, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the newest idle value that is not too old, `now`.
    pub fn take(&self, now: Instant) -> Option<T> {
        let mut idle = self.lock();
        let (value, since) = idle.pop()?;
        if now.saturating_duration_since(since) <= self.idle_timeout {
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
        drop(idle); // as above
        (now.saturating_duration_since(since) <= self.idle_timeout).then_some(value)
    }

    /// Gives a value back; over the limit the oldest one is dropped.
    pub fn put(&self, value: T) {
        let mut idle = self.lock();
        idle.push((value, Instant::now()));
        let oldest = (idle.len() > self.size).then(|| idle.remove(0));
        drop(idle); // as above
        drop(oldest);
    }

    /// Drops what has been idle too long or is not `usable` any more.
    pub fn sweep(&self, mut usable: impl FnMut(&mut T) -> bool) {
        self.lock().retain_mut(|(value, since)| since.elapsed() <= self.idle_timeout && usable(value));
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

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_newest_value_is_taken() {
        let pool = Pool::new(10, MINUTE);
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
        let pool = Pool::new(3, MINUTE);
        for value in 0..=3 {
            pool.put(value);
        }
        let taken: Vec<_> = std::iter::from_fn(|| pool.take(Instant::now())).collect();
        assert_eq!(taken, [3, 2, 1]);
        let none = Pool::new(0, MINUTE);
        none.put(1);
        assert_eq!(none.take(Instant::now()), None);
    }

    #[test]
    fn what_was_idle_too_long_is_not_taken() {
        let pool = Pool::new(3, MINUTE);
        pool.put(1);
        pool.put(2);
        assert_eq!(pool.take(Instant::now() + 2 * MINUTE), None);
        assert_eq!(pool.take(Instant::now()), None, "the older one is gone with it");
    }
}
