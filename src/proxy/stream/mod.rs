//! Streams: bytes of TCP and TLS and datagrams of UDP, carried between a client and an endpoint as they are.

mod access_line;
mod session;
mod tcp;
mod udp;

pub(super) use tcp::{serve_tcp, serve_tls};
pub(super) use udp::UdpListener;
