//! The data plane over real sockets on loopback, with snapshots made by hand.

mod client;
mod drain;
mod forwarding;
mod limits;
mod lines;
mod mtls;
mod pki;
mod scene;
mod streaming;
mod upstream;
mod websocket;
