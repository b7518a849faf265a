//! What endpoints have to take.

use crate::model::{Protocol, Timeouts, UpstreamProtocol, UpstreamSettings};

/// What a backend is to carry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Carries {
    /// Requests, of a route with deadlines of its own or none.
    Requests(Option<Timeouts>),
    /// Streams of the backend's protocol.
    Streams,
}

impl Carries {
    /// The deadlines of the route.
    pub(super) fn timeouts(self) -> Option<Timeouts> {
        match self {
            Self::Requests(timeouts) => timeouts,
            Self::Streams => None,
        }
    }

    /// Whether endpoints with `settings` take it, over `transport`. Where the scheme is left out it is that of streams too.
    pub(super) fn fits(self, settings: &UpstreamSettings, transport: Protocol) -> Result<(), &'static str> {
        match (self, settings.protocol) {
            (Self::Requests(_), UpstreamProtocol::Stream(_)) => {
                Err("has a scheme of streams, for a route of HTTP; write http, https, grpc or grpcs")
            }
            (Self::Requests(_), _) => Ok(()),
            (Self::Streams, UpstreamProtocol::Stream(protocol)) if protocol == transport => Ok(()),
            (Self::Streams, UpstreamProtocol::Http1 | UpstreamProtocol::Implied) if settings.tls.is_none() => Ok(()),
            (Self::Streams, _) => match transport {
                Protocol::Tcp => Err("has another scheme than TCP streams have; write tcp or tls, or leave it out"),
                Protocol::Udp => Err("has another scheme than UDP has; write udp, or leave it out"),
            },
        }
    }
}
