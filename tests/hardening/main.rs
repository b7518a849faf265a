//! Requests that servers read differently, byte by byte, and what a recording upstream receives of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../proxy/client.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod client;
#[path = "../attacks/frames.rs"]
#[expect(dead_code, reason = "shared with the attacks, which use more of it")]
mod frames;
#[path = "../proxy/lines.rs"]
mod lines;
#[path = "../proxy/pki.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod pki;
#[path = "../proxy/scene.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod scene;
#[path = "../proxy/upstream.rs"]
#[expect(dead_code, reason = "shared with the tests of the proxy, which use more of it")]
mod upstream;

mod access_log;
mod bodies;
mod conditions;
mod desync;
mod floods;
mod framing;
mod http1;
mod http2;
mod memory;
mod proxy_protocol;
mod range;
mod recorder;
mod sources;
mod trusted;
