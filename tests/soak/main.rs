//! The real program under traffic while what it serves changes every second, and while half of its clients are revoked at once.
//!
//! Not part of plain `cargo test`, because it takes its time:
//!
//! ```text
//! PORTCULLIS_SOAK_SECONDS=600 cargo test --release --test soak -- --nocapture
//! ```
//!
//! | variable | default | what |
//! | --- | --- | --- |
//! | `PORTCULLIS_SOAK_FLIP_SECONDS` | 10 | how long routes, weights, endpoints and certificates flip |
//! | `PORTCULLIS_SOAK_SECONDS` | 20 | how long authorities, lists and certificates are rotated |
//! | `PORTCULLIS_SOAK_CONNECTIONS` | 2000 | how many connections are open when half of them are revoked |
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../proxy/client.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod client;
#[path = "../attacks/forger.rs"]
#[expect(dead_code, reason = "shared with the attacks, which use more of it")]
mod forger;
#[path = "../attacks/objects.rs"]
#[expect(dead_code, reason = "shared with the attacks, which use more of it")]
mod objects;
#[path = "../proxy/pki.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod pki;
#[path = "../proxy/upstream.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod upstream;

mod backend;
mod flips;
mod ledger;
mod memory;
mod program;
mod revocation;
mod rotation;
mod traffic;

/// Each test wants the machine to itself.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The number that an environment variable holds.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}
