//! [h2spec](https://github.com/summerwind/h2spec): HTTP/2 as a client that breaks its rules sees it, over TLS and in the
//! clear.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use tokio::process::Command;

use crate::objects::{route_for_everything, tls};
use crate::stage::Stage;
use crate::upstream::{self, Recorder, text};

/// How many tests it has. All pass over TLS, and all but one in the clear (`HAProxy`: 144).
const TESTS: u32 = 145;

/// How long h2spec waits for each frame, in seconds: a busy machine is no fault.
const PATIENCE: &str = "10";

/// The number before `what` in `145 tests, 144 passed, 0 skipped, 1 failed`.
fn count(summary: &str, what: &str) -> Option<u32> {
    summary.split(", ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
}

/// An upstream that answers a request when all of it is there: an answer before that would end the stream whose rules h2spec is about
/// to break.
async fn patient() -> Recorder {
    upstream::serve(|request| async {
        let _ = request.into_body().collect().await;
        Response::new(text("hello"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn h2spec_over_tls() {
    // It connects to a name, so that it sends SNI.
    let upstream = patient().await;
    let stage = Stage::new([tls("h2spec", &["localhost"])]).await;
    stage.apply(route_for_everything(upstream.address));
    passes(&["--port", &stage.https.port().to_string(), "--tls", "--insecure"], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h2spec_in_the_clear() {
    let upstream = patient().await;
    let stage = Stage::new(route_for_everything(upstream.address)).await;
    // What does not begin like HTTP/2 is a request of HTTP/1 there, and is answered with 400.
    let other = ["2: Sends invalid connection preface"];
    passes(&["--port", &stage.http.port().to_string()], &other).await;
}

/// Passes every test but those `failing`. One that fails is asked for a second time: h2spec sends what is right and then what is not, and on a
/// busy machine an answer to the first may come between the two, which it takes for ours to the second.
async fn passes(arguments: &[&str], failing: &[&str]) {
    let expected: BTreeSet<_> = failing.iter().map(|test| (*test).to_owned()).collect();
    let (mut failed, mut text) = run(arguments).await;
    if failed != expected {
        let (again, second) = run(arguments).await;
        failed = failed.intersection(&again).cloned().collect();
        text = format!("{text}\n{second}");
    }
    assert_eq!(failed, expected, "{text}");
}

/// Runs h2spec: which tests fail, and what it prints.
async fn run(arguments: &[&str]) -> (BTreeSet<String>, String) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/.tools/bin/h2spec");
    let mut command = Command::new(&program);
    command.args(["--host", "localhost"]).args(arguments);
    command.args(["--timeout", PATIENCE]).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(600), command.output()).await.expect("h2spec does not end");
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; `e2e/run interop` builds it", program.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = text.lines().rev().find(|line| line.contains(" tests, ")).unwrap_or_else(|| panic!("{text}"));
    println!("h2spec: {summary}");
    assert_eq!(count(summary, "tests"), Some(TESTS), "{text}");
    let failed = text.lines().filter_map(|line| line.split_once('×')).map(|(_, test)| test.trim().to_owned()).collect();
    (failed, text)
}
