//! Upstreams as ApisixUpstreams describe them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Balancing, HealthCheck, Invalid, Keepalive, Kind, ObjectRef, Protocol, Timeouts, UpstreamTls};

/// One ApisixUpstream. It speaks for the Service of the same namespace and name, and may have nodes of its own for routes that
/// name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// The settings, or why none of them can be used.
    pub settings: Result<SettingsByPort, Invalid>,
}

impl ServiceSettings {
    /// The Secrets that it is made from.
    pub fn references(&self) -> impl Iterator<Item = ObjectRef> {
        let all = self.settings.iter().flat_map(|ports| std::iter::once(&ports.default).chain(ports.ports.values()));
        let secrets = all.filter_map(|settings| settings.tls.as_deref()).flat_map(UpstreamTls::secrets);
        secrets.map(|key| ObjectRef { kind: Kind::Secret, key: key.clone() })
    }
}

/// The settings of every port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsByPort {
    /// The settings of every port that `ports` does not have.
    pub default: UpstreamSettings,
    /// `spec.externalNodes`, to which `default` applies; in the object's order.
    pub nodes: Vec<ExternalNode>,
    /// `spec.portLevelSettings` by port. They replace `default`.
    pub ports: BTreeMap<u16, UpstreamSettings>,
}

/// One of `spec.externalNodes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalNode {
    /// Where the name stands.
    pub name: ExternalName,
    /// The port; `None` for the scheme's own.
    pub port: Option<u16>,
    /// Nodes of a lower priority get requests only when none of a higher one is healthy, or all of those were tried; default 0
    /// (APISIX).
    pub priority: i32,
    /// The share of all its addresses together; default 100 (APISIX), 0 gets no requests.
    pub weight: u32,
}

/// Where the name of an external node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalName {
    /// In the object itself: a domain name in lower case or an IP address.
    Domain(Arc<str>),
    /// In the Service of this name, whose type is ExternalName.
    Service(Arc<str>),
}

/// How requests are sent to the endpoints of a Service's port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Which endpoint gets a request.
    pub balancing: Balancing,
    /// How the health of the endpoints is found out; `None` where it is not, and all count as healthy.
    pub health: Option<Arc<HealthCheck>>,
    /// The `Host` that is sent.
    pub host: PassHost,
    /// How connections are kept.
    pub keepalive: Keepalive,
    /// What is spoken, inside TLS where that is.
    pub protocol: UpstreamProtocol,
    /// How many other endpoints are tried where one cannot be connected to; `None` for all of them (APISIX).
    pub retries: Option<usize>,
    /// How long after the first attempt another endpoint is still tried; `None` for ever.
    pub retry_timeout: Option<Duration>,
    /// Deadlines of routes that have none of their own.
    pub timeouts: Option<Timeouts>,
    /// How TLS is spoken; `None` for plain text.
    pub tls: Option<Box<UpstreamTls>>,
}

/// What endpoints are spoken to in: `scheme`, but for its TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1. Streams take it for plain bytes.
    Http1,
    /// HTTP/2, from the first byte.
    Http2,
    /// Nothing is said: HTTP/1.1, over TLS where the Service's `appProtocol` asks for that; plain bytes of streams.
    #[default]
    Implied,
    /// Whatever the client sends, for streams alone.
    Stream(Protocol),
}

/// `passHost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PassHost {
    /// The endpoint's address, with its port where that is not 80.
    Node,
    /// The client's.
    #[default]
    Pass,
    /// This one.
    Rewrite(Arc<str>),
}
