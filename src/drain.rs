//! Stopping in order: stop accepting, let what is under way finish, then close.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// Starts the drain and waits for its end. One per process.
#[derive(Debug)]
pub struct Drain {
    finished: mpsc::Receiver<()>,
    start: watch::Sender<bool>,
}

/// Told to everything that must finish before the process ends. The drain waits until every clone is dropped.
#[derive(Clone, Debug)]
pub struct Draining {
    _alive: mpsc::Sender<()>,
    started: watch::Receiver<bool>,
}

/// A drain and the signal for those who take part in it.
pub fn channel() -> (Drain, Draining) {
    let (start, started) = watch::channel(false);
    let (alive, finished) = mpsc::channel(1);
    (Drain { finished, start }, Draining { _alive: alive, started })
}

impl Drain {
    /// Tells everyone to finish, and waits until they have, or for `limit`. Returns whether all finished in time.
    ///
    /// The caller must have dropped its own [`Draining`] before.
    pub async fn drain(mut self, limit: Duration) -> bool {
        self.start.send_replace(true);
        tokio::time::timeout(limit, self.finished.recv()).await.is_ok()
    }
}

impl Draining {
    /// Waits until the drain starts. Cancel safe.
    pub async fn started(&mut self) {
        // An error means that the Drain itself is gone: the process is ending.
        let _ = self.started.wait_for(|started| *started).await;
    }

    /// Whether the drain has started.
    pub fn has_started(&self) -> bool {
        *self.started.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_ends_when_the_last_participant_is_gone() {
        let (drain, draining) = channel();
        let mut participant = draining.clone();
        drop(draining);
        let task = tokio::spawn(async move {
            participant.started().await;
            assert!(participant.has_started());
        });
        assert!(drain.drain(Duration::from_secs(10)).await);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_gives_up_at_its_limit() {
        let (drain, draining) = channel();
        assert!(!drain.drain(Duration::from_secs(30)).await);
        drop(draining);
    }
}
