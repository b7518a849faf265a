//! The watch of the roots. It is an aid: what it does not see is found by reading the folders again from time to time.

use std::fs;
use std::path::Path;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::list::{Id, id};

pub(super) type Event = notify::Result<notify::Event>;

pub(super) struct Watch {
    armed: Vec<Option<Id>>,
    has_failed: bool,
    sender: mpsc::UnboundedSender<Event>,
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Events go to `sender` once the watch is armed.
    pub(super) fn new(sender: mpsc::UnboundedSender<Event>) -> Self {
        Self { armed: Vec::new(), has_failed: false, sender, watcher: None }
    }

    /// Watches the roots, again where another folder stands in the place of one. Blocks.
    pub(super) fn arm<P: AsRef<Path>>(&mut self, roots: &[P]) {
        let ids: Vec<_> =
            roots.iter().map(|root| fs::metadata(watched(root.as_ref()).0).ok().map(|found| id(&found))).collect();
        if self.watcher.is_some() && ids == self.armed {
            return;
        }
        self.watcher = None;
        match self.watcher(roots) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.armed = ids;
                self.has_failed = false;
            }
            // Said once: it is tried again at every reading.
            Err(error) if !self.has_failed => {
                tracing::error!("the manifests cannot be watched, so changes are seen a little later: {error}");
                self.has_failed = true;
            }
            Err(_) => {}
        }
    }

    fn watcher<P: AsRef<Path>>(&self, roots: &[P]) -> notify::Result<RecommendedWatcher> {
        let sender = self.sender.clone();
        let mut watcher = notify::recommended_watcher(move |event: Event| {
            let _ = sender.send(event); // the receiver is gone when the program ends
        })?;
        for root in roots {
            let (path, mode) = watched(root.as_ref());
            watcher.watch(path, mode)?;
        }
        Ok(watcher)
    }
}

/// What is watched for `root`: for a single file its folder, because editors replace files.
fn watched(root: &Path) -> (&Path, RecursiveMode) {
    match root.parent() {
        _ if root.is_dir() => (root, RecursiveMode::Recursive),
        Some(parent) if !parent.as_os_str().is_empty() => (parent, RecursiveMode::NonRecursive),
        Some(_) => (Path::new("."), RecursiveMode::NonRecursive),
        None => (root, RecursiveMode::Recursive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_file_is_watched_through_its_folder_alone() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.yaml");
        assert_eq!(watched(&file), (root.path(), RecursiveMode::NonRecursive));
        assert_eq!(watched(root.path()), (root.path(), RecursiveMode::Recursive));
    }
}
