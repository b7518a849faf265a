//! A store in a file of this gateway's own data folder: where no etcd is configured.

mod disk;

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc as channel, oneshot};

use self::disk::{Deadlines, Disk, Place};
use super::state::State;
use super::{Committed, Entry, Listing, Operation, Transaction, Unavailable, Update};

/// How often a database that failed is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// How often the clock is looked at while keys have a time to live: it may have been set.
const CLOCK: Duration = Duration::from_secs(60);

/// A store in a folder. Everything is held in memory too, so that reading asks no disk. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Embedded {
    state: Arc<Mutex<State>>,
    writer: Arc<WriterThread>,
}

/// A thread of its own writes: it waits for the disk, transactions are done in the order in which they were asked for, and one whose caller
/// has gone away is still done whole. It ends, and the database is closed, when the last clone of the store is gone.
#[derive(Debug)]
struct WriterThread {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// A transaction and who waits for it.
#[derive(Debug)]
struct Job {
    done: oneshot::Sender<Result<Committed, Unavailable>>,
    transaction: Transaction,
}

impl Embedded {
    /// Opens the store `store.redb` in `folder`, which is made where it does not exist. What has outlived its time is gone from it. Reads the
    /// whole file.
    ///
    /// # Errors
    /// When the file is damaged, used by another process, or cannot be read or made: a sentence that names it and what to do.
    pub fn open(folder: &Path) -> Result<Self, String> {
        Self::at(Place::new(folder))
    }

    fn at(place: Place) -> Result<Self, String> {
        let (disk, all, deadlines) = place.open()?;
        let state = Arc::new(Mutex::new(State::unknown()));
        let mut writer = Writer { deadlines, disk: Some(disk), place, state: state.clone() };
        writer.lock().replace(all);
        writer.expire();
        let (jobs, queue) = mpsc::channel();
        let run = move || writer.run(&queue);
        let thread = thread::Builder::new().name("store".to_owned()).spawn(run);
        let thread = thread.map_err(|error| format!("cannot start a thread for the store: {error}"))?;
        Ok(Self { state, writer: Arc::new(WriterThread { jobs: Some(jobs), thread: Some(thread) }) })
    }

    /// The text under `key`.
    pub fn get(&self, key: &str) -> Option<Entry> {
        lock(&self.state).get(key)
    }

    /// Everything whose key begins with `prefix`.
    pub fn list(&self, prefix: &str) -> Listing {
        lock(&self.state).list(prefix)
    }

    /// Does `transaction` if its guards hold. It is on the disk when this returns.
    ///
    /// # Errors
    /// When the disk fails; it may have been done then. The next transaction tries again.
    pub async fn commit(&self, transaction: Transaction) -> Result<Committed, Unavailable> {
        let stopped = || Unavailable("the store has stopped".to_owned());
        let (done, answer) = oneshot::channel();
        let jobs = self.writer.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Job { done, transaction }).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Everything, then every change that is on the disk.
    pub fn watch(&self) -> channel::UnboundedReceiver<Update> {
        lock(&self.state).watch()
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic was printed
        }
    }
}

/// Who writes the file, and so the only one who changes the state.
struct Writer {
    deadlines: Deadlines,
    /// `None` after a failure: what the file holds is not known until it is opened again.
    disk: Option<Disk>,
    place: Place,
    state: Arc<Mutex<State>>,
}

impl Writer {
    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        loop {
            let job = match self.pause() {
                Some(pause) => queue.recv_timeout(pause),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match job {
                Ok(Job { done, transaction }) => {
                    let _ = done.send(self.commit(&transaction)); // who asked may have gone away
                }
                Err(RecvTimeoutError::Timeout) if self.disk.is_none() => {
                    if let Err(error) = self.reopen() {
                        tracing::debug!(error, "the store still cannot be opened");
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.expire(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// How long there is nothing to do but for transactions.
    fn pause(&self) -> Option<Duration> {
        if self.disk.is_none() {
            return Some(REOPEN);
        }
        let next = self.deadlines.values().min()?;
        Some(Duration::from_millis(next.saturating_sub(now())).min(CLOCK))
    }

    /// Removes what has outlived its time.
    fn expire(&mut self) {
        let now = now();
        let over = self.deadlines.iter().filter(|(_, deadline)| **deadline <= now);
        let operations: Vec<_> = over.map(|(key, _)| Operation::Delete(key.clone())).collect();
        if operations.is_empty() {
            return;
        }
        if let Err(error) = self.commit(&Transaction { guards: Vec::new(), operations }) {
            tracing::warn!(%error, "what has outlived its time cannot be removed from the store");
        }
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Committed, Unavailable> {
        if self.disk.is_none() {
            self.reopen().map_err(Unavailable)?;
        }
        let (events, revision) = {
            let state = self.lock();
            let Some(events) = state.events(transaction) else { return Ok(Committed::Refused) };
            (events, state.all().revision + 1)
        };
        let deadlines = self.deadlines_after(transaction);
        if !events.is_empty() {
            let written = match &self.disk {
                Some(disk) => disk.write(&events, revision, &deadlines),
                None => Err("the store is closed".to_owned()),
            };
            if let Err(error) = written {
                self.disk = None;
                tracing::error!(error, "the store cannot be written; it is opened again");
                return Err(Unavailable(error));
            }
        }
        self.deadlines = deadlines;
        Ok(Committed::Done(self.lock().apply_next(events)))
    }

    /// When keys end once `transaction` is done.
    fn deadlines_after(&self, transaction: &Transaction) -> Deadlines {
        let now = now();
        let mut deadlines = self.deadlines.clone();
        for operation in &transaction.operations {
            match operation {
                Operation::Put { key, ttl: Some(ttl), .. } => {
                    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                    deadlines.insert(key.clone(), now.saturating_add(ttl));
                }
                Operation::Delete(key) | Operation::Put { key, ttl: None, .. } => {
                    deadlines.remove(key);
                }
            }
        }
        deadlines
    }

    /// Opens the database after a failure. What it holds is what is true.
    fn reopen(&mut self) -> Result<(), String> {
        let (disk, all, deadlines) = self.place.open()?;
        (self.disk, self.deadlines) = (Some(disk), deadlines);
        self.lock().replace(all);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
