//! A server's process with everything it forks: started on its CPU, read from /proc, ended by its id.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::SERVER_CPU;

/// A running server. It ends when this is dropped, and when this process ends in any other way.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Runs `command`, a program and its arguments, on the servers' CPU; both outputs go to `output`.
    pub(crate) fn start(command: &[OsString], output: &File) -> anyhow::Result<Self> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", SERVER_CPU])
            .args(command)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .spawn()
            .context("setpriv is missing: apt-get install util-linux")?;
        Ok(Self(child))
    }

    /// Whether it is still there.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Its id and those of all its descendants.
    pub(crate) fn family(&self) -> BTreeSet<u32> {
        let parents: Vec<(u32, u32)> = numbers("/proc").filter_map(|id| Some((id, parent(id)?))).collect();
        let mut family = BTreeSet::from([self.0.id()]);
        while let Some((child, _)) = parents.iter().find(|(id, parent)| family.contains(parent) && !family.contains(id))
        {
            family.insert(*child);
        }
        family
    }

    /// What the whole family has used of the CPU so far.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let mut usage = Usage::default();
        for process in self.family() {
            usage.ticks += ticks(process).with_context(|| format!("process {process} is gone"))?;
            for thread in numbers(&format!("/proc/{process}/task")) {
                if let Some(times) = schedule(process, thread) {
                    usage.threads.insert(thread, times);
                }
            }
        }
        Ok(usage)
    }

    /// The family's resident memory in KiB: `Rss` with shared pages counted in each process, `Pss` with them shared out.
    pub(crate) fn memory(&self, field: &str) -> anyhow::Result<u64> {
        self.family()
            .into_iter()
            .map(|process| {
                let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
                let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
                let kib =
                    line.and_then(|line| line.trim().strip_suffix(" kB")).context("smaps_rollup lacks a field")?;
                Ok(kib.parse::<u64>()?)
            })
            .sum()
    }

    /// Asks it to end and waits for that, until `patience` ends.
    pub(crate) fn stop(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        if self.runs() {
            signal("TERM", self.0.id());
        }
        while self.runs() {
            if Instant::now() > deadline {
                bail!("process {} did not end within {patience:?}", self.0.id());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.stop(Duration::from_secs(3)).is_err() {
            // Children first: nobody would know them once their parent is gone.
            for process in self.family().into_iter().rev() {
                signal("KILL", process);
            }
            let _ = self.0.wait();
        }
    }
}

/// CPU time of a family of processes.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all threads, those that have ended included, in ticks of [`TICK`].
    ticks: u64,
    /// By thread: how long it has run, and how long it has waited for its CPU; in nanoseconds (/proc/PID/schedstat).
    threads: BTreeMap<u32, (u64, u64)>,
}

/// What the kernel counts `utime` and `stime` in: `USER_HZ` is 100 on every Linux architecture that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

impl Usage {
    /// The CPU time since `earlier`, and the time that its threads waited for the CPU while others had it.
    ///
    /// To the nanosecond where no thread ended in between; to the tick otherwise.
    pub(crate) fn since(&self, earlier: &Self) -> (Duration, Duration) {
        if earlier.threads.is_empty() || earlier.threads.keys().any(|thread| !self.threads.contains_key(thread)) {
            let ticks = self.ticks.saturating_sub(earlier.ticks);
            return (TICK * u32::try_from(ticks).unwrap_or(u32::MAX), Duration::ZERO);
        }
        let sum = |pick: fn(&(u64, u64)) -> u64| {
            let total = |usage: &Self| usage.threads.values().map(pick).sum::<u64>();
            Duration::from_nanos(total(self).saturating_sub(total(earlier)))
        };
        (sum(|times| times.0), sum(|times| times.1))
    }
}

/// The entries of a folder of /proc that are ids.
fn numbers(folder: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fields of /proc/PID/stat after the name, which may itself contain blanks and brackets: `state` is the first.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn parent(process: u32) -> Option<u32> {
    stat(process)?.get(1)?.parse().ok()
}

/// `utime` and `stime`: fields 14 and 15 of proc(5), 11 and 12 after the name.
fn ticks(process: u32) -> Option<u64> {
    let fields = stat(process)?;
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

fn schedule(process: u32, thread: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")).ok()?;
    let mut fields = text.split_whitespace().map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// Sends a signal by the shell's own `kill`; a process that is gone is no error.
fn signal(name: &str, process: u32) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).stderr(Stdio::null()).status();
}
