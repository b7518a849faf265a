//! ApisixRoute and ApisixUpstream as a user writes them, and what becomes of requests: the cases of APISIX's own tests, with traffic.
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

mod backends;
mod changes;
mod conditions;
mod external;
mod play;
mod restart;
