//! Routes as their objects describe them, before any reference is resolved.

use std::sync::Arc;
use std::time::Duration;

use super::{Expression, HostPattern, Network, PathPattern, Protocol, StreamRule};

/// One ApisixRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// `spec.http`, in the object's order.
    pub rules: Vec<Rule>,
    /// `spec.stream`, then v2beta1's `spec.tcp`, in the object's order.
    pub streams: Vec<StreamRule>,
}

/// One entry of `spec.http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where the traffic goes; empty only where `upstreams` is not.
    pub backends: Vec<BackendRef>,
    /// What else a request must satisfy. Shared with the compiled route, for its patterns.
    pub conditions: Arc<Conditions>,
    /// Hosts; [`HostPattern::Any`] alone where the object names none.
    pub hosts: Vec<HostPattern>,
    /// The methods served.
    pub methods: Methods,
    /// The rule's name, unique within its object; empty where the object is one rule.
    pub name: Arc<str>,
    /// Paths; never empty.
    pub paths: Vec<PathPattern>,
    /// Higher wins among rules with the same host and path; default 0.
    pub priority: i64,
    /// What is taken off the beginning of the path toward the upstream: the paths begin with it. In [normal](super::normal_path) form,
    /// without a final slash.
    pub strip: Option<Arc<str>>,
    /// Deadlines toward the upstream; `None` leaves them to the ApisixUpstream of the Service.
    pub timeouts: Option<Timeouts>,
    /// Where else the traffic goes.
    pub upstreams: Vec<UpstreamRef>,
    /// Whether `Upgrade: websocket` is passed on; off by default as in APISIX.
    pub websocket: bool,
}

/// What a request must satisfy beside host, path and method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `match.exprs`: all must be satisfied.
    pub expressions: Box<[Expression]>,
    /// `match.remoteAddrs`: the client's address must be in one; none means every address.
    pub networks: Box<[Network]>,
}

/// A set of request methods; `ANY` serves all but CONNECT, which is never proxied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Methods(u16);

impl Methods {
    /// Every method, extension methods included.
    pub const ANY: Self = Self(u16::MAX);
    /// No method yet: the start of a set that [`Methods::with`] grows.
    pub const NONE: Self = Self(0);

    /// The names that ApisixRoute accepts, in bit order (APISIX adds PURGE to the methods of its ingress controller).
    pub const NAMES: [&'static str; 10] =
        ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PURGE", "PUT", "TRACE"];

    /// The set with `name` added; `None` for a name that is not in [`Methods::NAMES`].
    pub fn with(self, name: &str) -> Option<Self> {
        let bit = Self::NAMES.iter().position(|known| *known == name)?;
        Some(Self(self.0 | 1 << bit))
    }

    /// Whether `name` is in the set.
    pub fn contains(self, name: &str) -> bool {
        self == Self::ANY
            || Self::NAMES.iter().position(|known| *known == name).is_some_and(|bit| self.0 & 1 << bit != 0)
    }
}

/// A backend of a rule: a Service of the route's own namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRef {
    /// Where the addresses come from.
    pub granularity: Granularity,
    /// The Service's port.
    pub port: PortRef,
    /// Which of the Service's ports count.
    pub protocol: Protocol,
    /// The Service's name.
    pub service: Arc<str>,
    /// Share of the traffic; default 100 (APISIX), 0 is never picked.
    pub weight: u32,
}

/// An ApisixUpstream of the route's own namespace, for its `externalNodes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRef {
    /// The field that names it, for conditions: `spec.http[0].upstreams[0].name`.
    pub field: Arc<str>,
    /// The ApisixUpstream's name.
    pub name: Arc<str>,
    /// As for backends.
    pub weight: u32,
}

/// `resolveGranularity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granularity {
    /// The ready endpoints of the Service; the default.
    #[default]
    Endpoint,
    /// The Service's cluster IP.
    Service,
}

/// `servicePort`: a number or a port's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortRef {
    /// A port's name.
    Name(Arc<str>),
    /// A port number, 1 to 65535.
    Number(u16),
}

/// Deadlines toward the upstream. All default to 60 s, as in APISIX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// To establish the connection.
    pub connect: Duration,
    /// Between two reads from the upstream; the first one is the wait for the response head.
    pub read: Duration,
    /// Between two writes to the upstream.
    pub send: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { connect: minute, read: minute, send: minute }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_methods_holds_what_was_added() {
        let set = Methods::NONE.with("GET").unwrap().with("POST").unwrap();
        assert!(set.contains("GET") && set.contains("POST") && !set.contains("PUT") && !set.contains("FOO"));
        assert!(Methods::ANY.contains("FOO"));
        assert_eq!(Methods::NONE.with("get"), None);
    }
}
