//! The newcomer's first minute: `portcullis demo`, and the very commands it prints.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// A running demo, ended by SIGTERM when dropped.
struct Demo {
    lines: mpsc::Receiver<String>,
    process: Child,
}

impl Demo {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["demo", "--folder"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { lines, process }
    }

    /// The lines up to the first one that `last` holds for.
    fn until(&self, last: impl Fn(&str) -> bool) -> Vec<String> {
        let mut seen = Vec::new();
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("not seen in {seen:#?}"));
            seen.push(line);
            if last(seen.last().unwrap()) {
                return seen;
            }
        }
    }

    /// The `curl` commands of the instructions with the status that each promises.
    fn commands(&self) -> Vec<(String, String)> {
        let lines = self.until(|line| line.contains("End: Ctrl-C"));
        let mut commands = Vec::new();
        let mut promised = None;
        for line in lines.iter().map(|line| line.trim()) {
            if line.starts_with("# ") {
                promised = line.rsplit(' ').next().map(ToOwned::to_owned);
            } else if line.starts_with("curl ") {
                commands.push((line.to_owned(), promised.take().unwrap()));
            }
        }
        commands
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let ended = Command::new("kill").arg(self.process.id().to_string()).status();
        assert!(ended.is_ok_and(|status| status.success()));
        let status = self.process.wait().unwrap();
        if !thread::panicking() {
            assert!(status.success(), "SIGTERM ends the demo in order: {status}");
        }
    }
}

fn status(command: &str) -> String {
    let command = format!("{command} --silent --output /dev/null --write-out %{{http_code}} --max-time 10");
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_printed_command_answers_as_promised_and_a_saved_edit_is_live() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("demo");
    {
        let demo = Demo::start(&folder);
        let commands = demo.commands();
        assert_eq!(
            commands.iter().map(|(_, code)| code.as_str()).collect::<Vec<_>>(),
            ["200", "400", "400", "200", "421"]
        );
        for (command, promised) in &commands {
            assert_eq!(status(command), *promised, "{command}");
        }
        let refused = demo.until(|line| line.contains("unknown issuer"));
        assert!(refused.iter().any(|line| line.contains("client certificate was not present, client: 127.0.0.1")));

        let without = &commands[1].0;
        let tls = folder.join("manifests/tls.yaml");
        let original = fs::read_to_string(&tls).unwrap();
        let open: Vec<_> = original.lines().take_while(|line| !line.starts_with("  client:")).collect();
        fs::write(&tls, open.join("\n")).unwrap();
        eventually("the policy is gone", || status(without) == "200");

        fs::write(&tls, original.replace("depth: 1", "depth: deep")).unwrap();
        let told = demo.until(|line| line.contains("tls.yaml:"));
        assert!(told.last().unwrap().contains("spec.client.depth"), "names the field: {told:#?}");
        assert_eq!(status(without), "200", "a broken file keeps its last good version");
        fs::write(&tls, original).unwrap();
        eventually("the policy is back", || status(without) == "400");
    }
    let demo = Demo::start(&folder);
    let (right, promised) = &demo.commands()[3];
    assert_eq!(status(right), *promised, "a second start uses the folder as it is");
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "timed out: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
