//! Interoperation with the TLS clients that people use: each connects to one host without a certificate, with one of a stranger,
//! and with a good one, twice each time, and says what it got and whether the second session was resumed.
//!
//! Beside them: h2spec, slowhttptest, schemathesis, libraries for WebSockets and gRPC as clients and upstreams, and nginx and go-httpbin as upstreams.
//!
//! And systems as public documents build them, each in a network of its own, with the documents' own commands, files and scripts; two
//! gateways on one etcd. These need root.
//!
//! Not part of plain `cargo test`, because it needs the clients: curl, Go, Python, Node, a JDK and `gnutls-cli`. `e2e/run` installs
//! them and runs `cargo test --test interop`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../proxy/client.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod client;
#[path = "../proxy/lines.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod lines;
#[path = "../attacks/objects.rs"]
#[expect(dead_code, reason = "shared with the attacks, which use more of it")]
mod objects;
#[path = "../proxy/pki.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod pki;
#[path = "../attacks/stage.rs"]
#[expect(dead_code, reason = "shared with the attacks, which use more of it")]
mod stage;
#[path = "../proxy/upstream.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod upstream;

mod admin_api;
mod bench;
mod etcd;
mod gateways;
mod grpc;
mod h2spec;
mod machine;
mod seed_000;
mod seed_001;
mod seed_003;
mod slowhttptest;
mod upstreams;
mod websocket;

use bench::{Bench, Resumes, V12, V13};

#[tokio::test]
async fn curl_with_openssl() {
    let bench = Bench::new().await;
    // curl switches tickets off in TLS 1.2.
    for (version, resumes) in [(V12, Resumes::No), (V13, Resumes::Yes)] {
        for http in ["--http1.1", "--http2"] {
            bench.tries("curl", "curl", version, resumes, |run| run.script("curl.sh").arg(http)).await;
        }
    }
}

#[tokio::test]
async fn go() {
    let bench = Bench::new().await;
    let program = bench.build_go("go.go").await;
    for version in [V12, V13] {
        for http in ["http/1.1", "h2"] {
            bench.tries("golang-go", "go", version, Resumes::Yes, |run| run.program(&program).arg(http)).await;
        }
    }
}

#[tokio::test]
async fn python() {
    let bench = Bench::new().await;
    for version in [V12, V13] {
        bench.tries("python3", "python3", version, Resumes::Yes, |run| run.interpreter("python3", "python.py")).await;
    }
}

#[tokio::test]
async fn node() {
    let bench = Bench::new().await;
    for version in [V12, V13] {
        bench.tries("nodejs", "node", version, Resumes::Yes, |run| run.interpreter("node", "node.js")).await;
    }
}

#[tokio::test]
async fn java() {
    let bench = Bench::new().await;
    for version in [V12, V13] {
        // HttpClient does not tell whether a session was resumed.
        let run = |run: bench::Run| run.program("java").arg(bench.hosts_file()).source("Java.java");
        bench.tries("default-jdk-headless", "java", version, Resumes::Unknown, run).await;
    }
}

#[tokio::test]
async fn gnutls() {
    let bench = Bench::new().await;
    for version in [V12, V13] {
        bench.tries("gnutls-bin", "gnutls-cli", version, Resumes::Yes, |run| run.script("gnutls.sh")).await;
    }
}
