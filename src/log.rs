//! One ordered stream of log lines on standard output: error lines, then the access line they belong to.
//!
//! Lines are queued in memory and written in batches by a thread of its own, so that a slow reader of the log never slows
//! a request. The queue is bounded: over [`MAX_QUEUED`] bytes, lines are dropped and their number is logged.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait to be written before lines are dropped: a second of 40,000 requests with 200-byte lines.
const MAX_QUEUED: usize = 8 << 20;

/// How long lines are gathered before a batch is written, unless [`FULL`] bytes are there earlier.
const BATCH: Duration = Duration::from_millis(10);

/// Bytes of a batch that is not waited for any longer: small enough to be in the cache still when it is written.
const FULL: usize = 64 << 10;

/// What is quieter than the rest unless a directive names it: kube's client tells every failed retry, where we tell the
/// first failure and the recovery.
const QUIET: &str = "kube_client=off,kube_runtime=error";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Text for people.
    #[default]
    Text,
}

/// Where log lines go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    /// How lines look.
    pub format: Format,
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    dropped: u64,
    /// How many wait until everything is written.
    flushing: usize,
    lines: Vec<u8>,
    /// Whether the writer waits for a first line, however long, and was not woken yet.
    resting: bool,
    /// Whether the writer is between taking lines and having written them.
    writing: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// A log that a thread writes to `out` until the process ends.
    pub fn new(format: Format, out: impl Write + Send + 'static) -> Self {
        let queue = Arc::new(Queue::default());
        let log = Self { format, queue: queue.clone() };
        // Without a thread there is no log, but traffic goes on.
        let _ = std::thread::Builder::new().name("log".into()).spawn(move || write_batches(&queue, out));
        log
    }

    /// Queues a whole line, its newline included.
    pub fn line(&self, line: &[u8]) {
        let mut state = self.queue.lock();
        if state.lines.len() + line.len() > MAX_QUEUED {
            state.dropped += 1;
            return;
        }
        let before = state.lines.len();
        state.lines.extend_from_slice(line);
        let wake = std::mem::take(&mut state.resting) || (before < FULL && state.lines.len() >= FULL);
        drop(state); // whom we wake wants the lock
        if wake {
            self.queue.wake.notify_one();
        }
    }

    /// Waits until what is queued is written, a second at most: before the process ends.
    pub fn flush(&self) {
        let mut state = self.queue.lock();
        state.flushing += 1;
        let busy = |state: &mut State| !state.lines.is_empty() || state.writing;
        let waited = self.queue.written.wait_timeout_while(state, Duration::from_secs(1), busy);
        waited.unwrap_or_else(PoisonError::into_inner).0.flushing -= 1;
    }
}

/// Writes a batch whenever one is full or old enough. While lines keep coming, it is woken once per batch.
fn write_batches(queue: &Queue, mut out: impl Write) {
    let mut lines = Vec::new(); // used in turns with the queue's, so that both stay in the cache
    let mut state = queue.lock();
    loop {
        let gathered = queue.wake.wait_timeout_while(state, BATCH, |state| state.lines.len() < FULL);
        state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        if state.lines.is_empty() {
            state.resting = true;
            let first = queue.wake.wait_while(state, |state| state.lines.is_empty());
            state = first.unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        std::mem::swap(&mut state.lines, &mut lines);
        let dropped = std::mem::take(&mut state.dropped);
        state.writing = true;
        drop(state);
        // A closed standard output must not end the process: the lines are lost, traffic goes on.
        let _ = out.write_all(&lines);
        if dropped > 0 {
            let _ = writeln!(out, "{dropped} log lines were dropped: the reader of standard output is too slow");
        }
        let _ = out.flush();
        lines.clear();
        lines.shrink_to(2 * FULL); // a burst that was once queued needs no room for ever
        state = queue.lock();
        state.writing = false;
        if state.flushing > 0 {
            queue.written.notify_all();
        }
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Starts logging for the process: tracing events at `filter` (a level, or directives such as `info,portcullis=debug`).
///
/// # Errors
/// When `filter` cannot be read, or logging was started before.
pub fn start(format: Format, filter: &str) -> anyhow::Result<Log> {
    let log = Log::new(format, io::stdout());
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone()).with_ansi(false);
    match format {
        Format::Json => builder.json().flatten_event(true).try_init(),
        Format::Text => builder.try_init(),
    }
    .map_err(|error| anyhow::anyhow!("logging was started twice: {error}"))?;
    Ok(log)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Out(mpsc::Sender<Vec<u8>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing before its receiver is gone.
    struct Blocked(mpsc::SyncSender<()>);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order_and_flushed_at_the_end() {
        const COUNT: usize = FULL / 2; // lines of several batches
        let (sender, receiver) = mpsc::channel();
        let log = Log::new(Format::Text, Out(sender));
        for index in 0..COUNT {
            log.line(format!("{index}\n").as_bytes());
        }
        log.flush();
        let written: Vec<u8> = receiver.try_iter().flatten().collect();
        let expected: Vec<_> = (0..COUNT).map(|index| index.to_string()).collect();
        assert_eq!(String::from_utf8(written).unwrap().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_blocked_reader_costs_bounded_memory() {
        let (sender, receiver) = mpsc::sync_channel::<()>(0);
        let log = Log::new(Format::Text, Blocked(sender));
        let line = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            log.line(&line);
        }
        assert!(log.queue.lock().lines.len() <= MAX_QUEUED);
        drop(receiver);
    }
}
