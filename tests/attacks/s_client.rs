//! OpenSSL's own client, for what a TLS library does not let one do.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs `openssl s_client` against `address` with further arguments, and `input` as what it sends. Returns everything that it
/// printed.
pub(crate) async fn s_client(address: SocketAddr, arguments: &[&str], input: &str) -> String {
    let mut process = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl is needed: Debian's package openssl");
    let mut stdin = process.stdin.take().unwrap();
    let _ = stdin.write_all(input.as_bytes()).await; // the connection may have ended
    let output = tokio::time::timeout(Duration::from_secs(10), process.wait_with_output());
    let output = output.await.expect("the connection stays open").unwrap();
    drop(stdin); // open until now: s_client closes the connection at the end of its input
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A request that ends the connection.
pub(crate) fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}
