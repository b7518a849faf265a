//! Which files are being written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use tokio::time::Instant;

use super::watch::Event;

/// A file that nobody closes is read so long after the last write.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// Files that were written to and not closed since, with the time of the last write.
#[derive(Debug, Default)]
pub(super) struct Writers(BTreeMap<PathBuf, Instant>);

impl Writers {
    /// Takes note of an event; says whether it is a change.
    pub(super) fn note(&mut self, event: Event) -> bool {
        let Ok(event) = event else {
            return true; // the queue of the kernel ran over, for example: everything is read
        };
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                self.0.retain(|path, _| !event.paths.contains(path));
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
                if let [from, to] = event.paths.as_slice()
                    && let Some(at) = self.0.remove(from)
                {
                    self.0.insert(to.clone(), at);
                }
            }
            EventKind::Modify(ModifyKind::Data(_)) => {
                self.0.extend(event.paths.into_iter().map(|path| (path, Instant::now())));
            }
            EventKind::Access(_) => return false, // reading is no change; our own reading least of all
            _ => {}
        }
        true
    }

    /// The files that are being written now.
    pub(super) fn open(&mut self) -> Vec<PathBuf> {
        let now = Instant::now();
        self.0.retain(|_, at| *at + FORGOTTEN > now);
        self.0.keys().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the next of them is read although it is not closed.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().min().map(|at| *at + FORGOTTEN)
    }
}
