//! What is fuzzed, built without the rest of the program: that takes two minutes instead of ten.

#[path = "../../src/model/mod.rs"]
pub mod model;
#[path = "../../src/proxy/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "../../src/trust/mod.rs"]
pub mod trust;

/// Which client the header of the PROXY protocol at the begin of `bytes` names, if it names one, and how many bytes it has. `None` where it is none.
pub fn proxy_header(bytes: &[u8]) -> Option<(Option<std::net::SocketAddr>, usize)> {
    let mut rest = bytes;
    let read = {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(proxy_protocol::read(&mut rest)).poll(&mut context)
    };
    // A slice is never waited for.
    let std::task::Poll::Ready(Ok(named)) = read else { return None };
    let client = match named {
        proxy_protocol::Named::Client(address) => Some(address),
        proxy_protocol::Named::Own | proxy_protocol::Named::Unknown => None,
    };
    Some((client, bytes.len() - rest.len()))
}
