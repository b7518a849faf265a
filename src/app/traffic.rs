//! The threads that serve traffic.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

const NAME: &str = "traffic";

/// The runtime of the traffic: work stealing between several threads, or one thread that shares with nobody.
#[derive(Debug)]
pub(super) enum Traffic {
    /// A thread of its own drives the runtime until the sender is dropped. It takes no locks and wakes no other thread.
    One { handle: Handle, _running: oneshot::Sender<()> },
    /// Several workers.
    Several(Runtime),
}

impl Traffic {
    /// Starts `workers` threads; as many as there are CPUs where it is `None` or 0.
    ///
    /// # Errors
    /// When the operating system has no thread for it.
    pub(super) fn start(workers: Option<usize>) -> io::Result<Self> {
        let cpus = || thread::available_parallelism().map_or(1, Into::into);
        match workers.filter(|workers| *workers > 0).unwrap_or_else(cpus) {
            1 => one(),
            several => {
                let mut builder = Builder::new_multi_thread();
                builder.worker_threads(several).enable_all().thread_name(NAME).build().map(Self::Several)
            }
        }
    }

    pub(super) fn handle(&self) -> &Handle {
        match self {
            Self::One { handle, .. } => handle,
            Self::Several(runtime) => runtime.handle(),
        }
    }

    /// Stops without waiting: tasks that are left have had their time.
    pub(super) fn stop(self) {
        if let Self::Several(runtime) = self {
            runtime.shutdown_background();
        }
    }
}

fn one() -> io::Result<Traffic> {
    let runtime = Builder::new_current_thread().enable_all().thread_name(NAME).build()?;
    let handle = runtime.handle().clone();
    let (running, stopped) = oneshot::channel::<()>();
    thread::Builder::new().name(NAME.into()).spawn(move || {
        let _ = runtime.block_on(stopped); // an error: the sender is dropped
        runtime.shutdown_background();
    })?;
    Ok(Traffic::One { handle, _running: running })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tasks_run_whatever_the_number_of_threads() {
        for workers in [None, Some(0), Some(1), Some(2)] {
            let traffic = Traffic::start(workers).unwrap();
            let (sender, receiver) = std::sync::mpsc::channel();
            traffic.handle().spawn(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                sender.send(thread::current().name().map(str::to_owned))
            });
            let thread = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
            assert_eq!(thread.as_deref(), Some(NAME), "{workers:?}");
            traffic.stop();
        }
    }
}
