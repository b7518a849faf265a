//! Readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// State.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// P.
    pub fn published(&self) {
        self.0.store(1, Ordering::Relaxed);
    }
    /// D.
    pub fn draining(&self) {
        self.0.store(2, Ordering::Relaxed);
    }
    /// R.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }
    /// T.
    pub fn describe(&self, _verbose: bool) -> String {
        "ok\n".to_owned()
    }
}
