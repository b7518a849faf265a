//! [slowhttptest](https://github.com/shekyan/slowhttptest): clients that are slow on purpose keep nobody else out.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::stage::Stage;

/// Runs an attack of 400 connections for ten seconds and asserts that its own probes were answered to the end.
async fn attack(mode: &[&str]) {
    let stage = Stage::new([]).await;
    let mut command = Command::new("slowhttptest");
    command.args(mode).args(["-c", "400", "-r", "200", "-i", "1", "-l", "10", "-p", "5"]);
    command.args(["-u", &format!("http://127.0.0.1:{}/", stage.http.port())]);
    command.stdin(Stdio::null()).env("TERM", "dumb").kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await.expect("it does not end");
    let output = output.unwrap_or_else(|error| panic!("slowhttptest: {error}; `e2e/run interop` installs it"));
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.rfind("service available:").map_or("", |at| &text[at..]);
    assert!(last.lines().next().is_some_and(|line| line.contains("YES")), "{mode:?}\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers() {
    attack(&["-H", "-x", "24"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies() {
    attack(&["-B", "-s", "8192", "-x", "10"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_reads() {
    attack(&["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-k", "3"]).await;
}
