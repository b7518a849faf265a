//! What was logged.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that can be waited for.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

/// Error lines of the whole process: tests tell theirs by the host.
pub(crate) static ERRORS: LazyLock<Lines> = LazyLock::new(|| {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::INFO);
    subscriber.with_writer(lines.clone()).try_init().unwrap();
    lines
});

impl Lines {
    pub(crate) fn all(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    /// The first line that contains all of `parts`; waits for it.
    pub(crate) async fn with(&self, parts: &[&str]) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let all = self.all();
            if let Some(line) = all.iter().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.clone();
            }
            assert!(Instant::now() < deadline, "no line with {parts:?} in\n{}", all.join("\n"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
