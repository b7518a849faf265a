//! How fast an endpoint answers: a moving average of response times, weighted exponentially (EWMA), that forgets.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time in which what was measured loses its weight by the factor e: APISIX's `ewma`.
const DECAY: Duration = Duration::from_secs(10);

/// What times are counted from, so that one fits into 32 bits.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The average of an endpoint's response times in one word: microseconds, and when it was made in milliseconds from
/// [`START`], 32 bits each. Two answers at the same instant may count as one; no lock is worth that.
#[derive(Debug, Default)]
pub(super) struct Latency(AtomicU64);

impl Latency {
    /// Takes a response time into account, `now`.
    pub(super) fn observe(&self, took: Duration, now: Instant) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let (average, age) = self.load(now);
        let average = observed(average, age, took);
        self.0.store(u64::from(average) << 32 | u64::from(millis(now)), Ordering::Relaxed);
    }

    /// The average in microseconds, `now`; 0 where nothing was measured for long, so that an endpoint that was slow gets
    /// another chance.
    pub(super) fn micros(&self, now: Instant) -> u32 {
        let (average, age) = self.load(now);
        decayed(average, age)
    }

    fn load(&self, now: Instant) -> (u32, Duration) {
        let word = self.0.load(Ordering::Relaxed);
        let [average, at] = [word >> 32, word & u64::from(u32::MAX)].map(|half| u32::try_from(half).unwrap_or(0));
        let age = millis(now).wrapping_sub(at);
        // Another thread may have looked at the clock before, and be here after.
        let age = if age > u32::MAX / 2 { 0 } else { age };
        (average, Duration::from_millis(age.into()))
    }
}

/// Milliseconds from [`START`], as a clock that begins anew after 49 days: differences stay right.
#[expect(clippy::cast_possible_truncation, reason = "on purpose")]
fn millis(at: Instant) -> u32 {
    at.saturating_duration_since(*START).as_millis() as u32
}

fn share(age: Duration) -> f64 {
    (-age.as_secs_f64() / DECAY.as_secs_f64()).exp()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and `average`")]
fn decayed(average: u32, age: Duration) -> u32 {
    (f64::from(average) * share(age)) as u32
}

/// The average after a response that took `took`: what is slower than the average counts at once, what is faster by and by
/// (the peak EWMA of Finagle). An endpoint that begins to hang is left alone after one request.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between its two summands")]
fn observed(average: u32, age: Duration, took: u32) -> u32 {
    if took >= decayed(average, age) {
        return took;
    }
    let share = share(age);
    (f64::from(average) * share + f64::from(took) * (1.0 - share)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slower_counts_at_once_and_what_is_faster_by_and_by() {
        assert_eq!(observed(0, Duration::ZERO, 500), 500);
        assert_eq!(observed(500, Duration::from_secs(1), 9_000), 9_000);
        // e^-1 of 9000 and the rest of 500.
        assert_eq!(observed(9_000, DECAY, 500), 3_626);
        assert_eq!(observed(9_000, Duration::ZERO, 500), 9_000);
    }

    #[test]
    fn an_average_is_forgotten() {
        assert_eq!(decayed(10_000, DECAY), 3_678);
        assert_eq!(decayed(10_000, 20 * DECAY), 0);
        LazyLock::force(&START);
        let (latency, now) = (Latency::default(), Instant::now());
        assert_eq!(latency.micros(now), 0);
        latency.observe(Duration::from_millis(10), now);
        assert_eq!(latency.micros(now), 10_000);
        assert_eq!(latency.micros(now + DECAY), 3_678);
        latency.observe(Duration::from_millis(20), now + DECAY);
        assert_eq!(latency.micros(now), 20_000, "from the future is from now");
        latency.observe(Duration::from_secs(1 << 40), now);
        assert_eq!(latency.micros(now), u32::MAX);
    }
}
