//! A deadline that moves forward often and passes rarely.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

/// A deadline without the price of a timer per change.
///
/// Arming a timer of the runtime takes a lock twice. So moving the deadline back in time is only noted, and the timer
/// wakes up at the deadline that was armed first, finds that it has moved, and is armed again: one arming per timeout
/// that passes, not one per request or per frame.
#[derive(Debug)]
pub struct Alarm {
    due: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// An alarm that is due at `due`. It costs nothing until it is polled.
    pub fn new(due: Instant) -> Self {
        Self { due, sleep: None }
    }

    /// Moves the deadline.
    pub fn set(&mut self, due: Instant) {
        self.due = due;
    }

    /// Ready once the deadline has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.due;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moved_deadline_counts_in_both_directions() {
        let start = Instant::now();
        let mut alarm = Alarm::new(start + Duration::from_secs(10));
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await.is_pending());
        alarm.set(start + Duration::from_secs(25));
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 25);
        alarm.set(start + Duration::from_secs(100));
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await.is_pending());
        alarm.set(start + Duration::from_secs(30));
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
