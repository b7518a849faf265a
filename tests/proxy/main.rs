//! The data plane over real sockets on loopback, with snapshots made by hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alert;
mod balancing;
mod client;
mod drain;
mod forwarding;
mod identity;
mod limits;
mod lines;
mod live;
mod mtls;
mod pki;
mod policy;
mod routing;
mod scene;
mod seen;
mod stream;
mod streaming;
mod upstream;
mod websocket;
