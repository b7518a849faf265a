//! Manifests: directories of the same YAML that `kubectl apply` takes, watched.

mod document;
mod fields;
mod file;
mod folder;
mod list;
mod watch;
mod writers;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

pub use file::Diagnostic;
pub use folder::Folder;

use self::watch::{Event, Watch};
use self::writers::Writers;
use crate::model::{Invalid, Kind, ObjectRef, SourceId};
use crate::world::Change;

/// How long no file may have been written to before the folder is read: programs save several files, or one in steps.
const QUIET: Duration = Duration::from_millis(10);

/// The longest wait for such a pause.
const AT_MOST: Duration = Duration::from_millis(60);

/// How often the folders are read when no change is seen: the watch does not see what links lead to outside of them.
const POLL: Duration = Duration::from_secs(2);

/// The manifests of some directories.
#[derive(Clone, Debug)]
pub struct Manifests {
    folder: Arc<Mutex<Folder>>,
    roots: Vec<PathBuf>,
}

impl Manifests {
    /// Reads the directories for the first time.
    ///
    /// # Errors
    /// Everything that is wrong with the files: there is no last good version yet, and to leave a broken ApisixTls out
    /// could let clients in.
    pub fn open(roots: Vec<PathBuf>) -> Result<Self, Vec<Diagnostic>> {
        let mut folder = Folder::new(roots.clone());
        let wrong = folder.reload();
        if wrong.is_empty() { Ok(Self { folder: Arc::new(Mutex::new(folder)), roots }) } else { Err(wrong) }
    }

    /// Where the field that `why` names stands: file and line.
    pub fn locate(&self, object: &ObjectRef, why: &Invalid) -> Option<(PathBuf, u64)> {
        self.folder().locate(object, why).map(|(path, line)| (path.to_owned(), line))
    }

    /// Sends the objects, and again after every change of a file, until `changes` is closed.
    pub async fn run(self, changes: mpsc::Sender<Change>) {
        let (sender, mut events) = mpsc::unbounded_channel();
        let mut watch = Watch::new(sender.clone());
        let mut writers = Writers::default();
        // What was read at the start is served whether or not it can be watched.
        let mut sent = None;
        loop {
            let generation = self.folder().generation();
            if sent.replace(generation) != Some(generation) && changes.send(self.listing()).await.is_err() {
                return;
            }
            while let Ok(event) = events.try_recv() {
                writers.note(event);
            }
            // Files can be slow to read: the runtime has more to do than wait for them.
            let (manifests, open) = (self.clone(), writers.open());
            let reading = tokio::task::spawn_blocking(move || {
                watch.arm(&manifests.roots);
                manifests.reload(&open);
                watch
            });
            watch = reading.await.unwrap_or_else(|error| {
                tracing::error!("the manifests were not read: {error}");
                Watch::new(sender.clone())
            });
            if self.folder().generation() != generation {
                continue;
            }
            tokio::select! {
                () = settled(&mut events, &mut writers) => {}
                () = changes.closed() => return,
            }
        }
    }

    /// Reads a copy, so that nobody waits for the files meanwhile.
    fn reload(&self, open: &[PathBuf]) {
        let mut folder = self.folder().clone();
        for diagnostic in folder.reload_except(open) {
            tracing::error!("{diagnostic}; the last good version of the file's objects stays in use");
        }
        *self.folder() = folder;
    }

    /// Every object, as one change.
    pub fn listing(&self) -> Change {
        let folder = self.folder();
        let all = Kind::ALL.map(|kind| {
            let objects = folder.objects(kind);
            Change::Replace { source: SourceId::Manifests, kind, objects }
        });
        Change::Together(all.into())
    }

    fn folder(&self) -> MutexGuard<'_, Folder> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a change, or [`POLL`]; then until no file is being written any more, [`AT_MOST`] long.
async fn settled(events: &mut mpsc::UnboundedReceiver<Event>, writers: &mut Writers) {
    let poll = Instant::now() + POLL;
    let mut deadline: Option<Instant> = None;
    loop {
        let wait = match deadline {
            None => writers.next().map_or(poll, |next| next.min(poll)),
            Some(end) if writers.is_empty() => end.min(Instant::now() + QUIET),
            Some(end) => end,
        };
        match timeout_at(wait, events.recv()).await {
            Ok(Some(event)) => {
                if writers.note(event) {
                    deadline.get_or_insert_with(|| Instant::now() + AT_MOST);
                }
            }
            Ok(None) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
