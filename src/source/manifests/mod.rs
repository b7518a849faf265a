//! Manifests: directories of the same YAML that `kubectl apply` takes, watched.

mod document;
mod file;
mod folder;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

pub use file::Diagnostic;
pub use folder::Folder;

use crate::model::{Invalid, Kind, ObjectRef, SourceId};
use crate::world::Change;

/// How long no file may have been written to before the folder is read: programs save several files, or one in steps.
const QUIET: Duration = Duration::from_millis(10);

/// The longest wait for such a pause.
const AT_MOST: Duration = Duration::from_millis(60);

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
    ///
    /// # Errors
    /// When the directories cannot be watched.
    pub async fn run(self, changes: mpsc::Sender<Change>) -> notify::Result<()> {
        let (sender, mut events) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let _ = sender.send(event); // the receiver is gone when the program ends
        })?;
        for root in &self.roots {
            watcher.watch(watched(root), RecursiveMode::Recursive)?;
        }
        // Whatever was saved between the first reading and the watch is read now.
        loop {
            for diagnostic in self.folder().reload() {
                tracing::error!("{diagnostic}; the last good version of the file's objects stays in use");
            }
            let all = Kind::ALL.map(|kind| {
                let objects = self.folder().objects(kind);
                Change::Replace { source: SourceId::Manifests, kind, objects }
            });
            if changes.send(Change::Together(all.into())).await.is_err() {
                return Ok(());
            }
            tokio::select! {
                () = settled(&mut events) => {}
                () = changes.closed() => return Ok(()),
            }
        }
    }

    fn folder(&self) -> MutexGuard<'_, Folder> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is watched for `root`: for a single file its folder, because editors replace files.
fn watched(root: &Path) -> &Path {
    match root.parent() {
        Some(parent) if !root.is_dir() && !parent.as_os_str().is_empty() => parent,
        Some(_) if !root.is_dir() => Path::new("."),
        _ => root,
    }
}

/// Waits for a change, then until no file is being written any more, [`AT_MOST`] long.
async fn settled(events: &mut mpsc::UnboundedReceiver<notify::Result<notify::Event>>) {
    let mut open: Vec<PathBuf> = Vec::new();
    let mut deadline: Option<Instant> = None;
    loop {
        let event = match deadline {
            None => events.recv().await,
            Some(end) => {
                let wait = if open.is_empty() { end.min(Instant::now() + QUIET) } else { end };
                match timeout_at(wait, events.recv()).await {
                    Ok(event) => event,
                    Err(_) => return,
                }
            }
        };
        let Some(event) = event else { return std::future::pending().await };
        let Ok(event) = event else {
            // The queue of the kernel ran over, for example: read everything.
            deadline.get_or_insert_with(|| Instant::now() + AT_MOST);
            continue;
        };
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => {
                open.retain(|path| !event.paths.contains(path));
            }
            EventKind::Modify(ModifyKind::Data(_)) => open.extend(event.paths),
            EventKind::Access(_) => continue, // reading is no change; our own reading least of all
            _ => {}
        }
        deadline.get_or_insert_with(|| Instant::now() + AT_MOST);
    }
}
