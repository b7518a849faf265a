//! Upstreams as ApisixUpstreams describe them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Balancing, HealthCheck, Invalid, Keepalive, Timeouts};

/// One ApisixUpstream. It speaks for the Service of the same namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// The settings, or why none of them can be used.
    pub settings: Result<SettingsByPort, Invalid>,
}

/// The settings of every port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsByPort {
    /// The settings of every port that `ports` does not have.
    pub default: UpstreamSettings,
    /// `spec.portLevelSettings` by port. They replace `default` as a whole.
    pub ports: BTreeMap<u16, UpstreamSettings>,
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
    /// How many other endpoints are tried where one cannot be connected to; `None` for all of them (APISIX).
    pub retries: Option<usize>,
    /// How long after the first attempt another endpoint is still tried; `None` for ever.
    pub retry_timeout: Option<Duration>,
    /// Deadlines of routes that have none of their own.
    pub timeouts: Option<Timeouts>,
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
