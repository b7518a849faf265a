//! Rules for TCP and UDP as route objects describe them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::{BackendRef, HostPattern, Network, UpstreamRef};

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, which is also what carries TLS; the default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// One entry of `spec.stream`, or of v2beta1's `spec.tcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRule {
    /// Where the stream goes.
    pub backend: StreamBackend,
    /// The clients that it is for: their addresses are in one of these networks. Empty for all, whom other rules have come before.
    pub clients: Box<[Network]>,
    /// The entry's path in the object, for example `spec.stream[0]`.
    pub field: Arc<str>,
    /// The SNI of TLS; [`HostPattern::Any`] where the object names none. Never a host for UDP.
    pub host: HostPattern,
    /// The rule's name, unique within its object, rules for HTTP included; empty where the object is one rule.
    pub name: Arc<str>,
    /// The port that the proxy listens on; `None` for every one that is opened for streams.
    pub port: Option<u16>,
    /// What the port is opened for; `None` for whatever that is.
    pub protocol: Option<Protocol>,
}

/// Where a stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamBackend {
    /// To a Service of the object's own namespace.
    Service(BackendRef),
    /// To the nodes of an ApisixUpstream of the object's own namespace.
    Upstream(UpstreamRef),
}

/// The ports that the process listens on for streams. A number is opened for TCP or for TLS, never for both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamPorts {
    /// Plain TCP.
    pub tcp: BTreeSet<u16>,
    /// TLS, which ends here.
    pub tls: BTreeSet<u16>,
    /// UDP.
    pub udp: BTreeSet<u16>,
}

impl StreamPorts {
    /// Whether any port is open.
    pub fn has_any(&self) -> bool {
        [&self.tcp, &self.tls, &self.udp].iter().any(|ports| !ports.is_empty())
    }
}
