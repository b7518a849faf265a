//! The published configuration, and word of every publication.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::Snapshot;

/// The published configuration. The proxy loads it once per handshake and once per request, and looks at its open
/// connections whenever another one is stored.
#[derive(Debug)]
pub struct Current {
    published: watch::Sender<()>,
    snapshot: ArcSwap<Snapshot>,
}

impl Current {
    /// Starts with `snapshot`.
    pub fn from_pointee(snapshot: Snapshot) -> Self {
        Self { published: watch::Sender::new(()), snapshot: ArcSwap::from_pointee(snapshot) }
    }

    /// The published snapshot, for a moment: a guard must not be held across an await.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The published snapshot, for longer.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Publishes a snapshot.
    pub fn store(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.store(snapshot);
        self.published.send_replace(());
    }

    /// Told of every snapshot that is stored from now on; of several in a row perhaps once.
    pub fn published(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }
}

impl Default for Current {
    /// The empty configuration.
    fn default() -> Self {
        Self::from_pointee(Snapshot::default())
    }
}
