//! The data plane over real sockets on loopback, with snapshots made by hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alert;
mod announced;
mod balancing;
mod client;
mod dns;
mod drain;
mod faults;
mod forwarding;
mod grpc;
mod health;
mod identity;
mod limits;
mod lines;
mod live;
mod mtls;
#[path = "../attacks/objects.rs"]
mod objects;
mod pki;
mod policy;
mod routing;
mod scene;
mod seen;
#[path = "../attacks/stage.rs"]
#[expect(dead_code, reason = "shared with the attacks, which use more of it")]
mod stage;
mod store;
mod stream;
mod stream_upstream;
mod streaming;
mod system_roots;
mod tls_upstream;
mod upstream;
mod upstream_tls;
mod websocket;
