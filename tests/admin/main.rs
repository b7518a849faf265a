//! The Admin API over real sockets on loopback, with stores in memory.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod auth;
mod configs;
#[path = "../proxy/pki.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod pki;
mod scene;
mod ssls;
mod tls;
mod verbs;
