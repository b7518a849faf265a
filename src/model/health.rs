//! Health checks: what APISIX calls `checks`, and its ApisixUpstream `healthCheck`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How the health of an upstream's endpoints is found out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// By asking them.
    pub active: ActiveCheck,
    /// By what becomes of requests.
    pub passive: Option<Criteria>,
}

/// A question that is put to every endpoint again and again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActiveCheck {
    /// How many endpoints of the upstream are asked at the same time; at least 1.
    pub concurrency: usize,
    /// What the answers mean.
    pub criteria: Criteria,
    /// Further fields of the request.
    pub headers: Vec<HeaderField>,
    /// How long after an answer a healthy endpoint is asked again.
    pub healthy_interval: Duration,
    /// The `Host` of the request, unless the upstream is always sent another one.
    pub host: Option<Arc<str>>,
    /// What is asked.
    pub kind: CheckKind,
    /// The request's path.
    pub path: Arc<str>,
    /// The port, where it is not the endpoint's own.
    pub port: Option<u16>,
    /// How long an answer may take, the connection included.
    pub timeout: Duration,
    /// How long after an answer an unhealthy endpoint is asked again.
    pub unhealthy_interval: Duration,
}

/// A field of a request: its name, in lower case, and its value.
pub type HeaderField = (Arc<str>, Arc<str>);

/// What is asked of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// The answer to a GET.
    Http,
    /// The answer to a GET over TLS; the certificate is verified, or any will do.
    Https {
        /// Whether it is (APISIX's `https_verify_certificate`).
        verify: bool,
    },
    /// A connection.
    Tcp,
}

/// What tells healthy endpoints from unhealthy ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Criteria {
    /// Statuses of a healthy endpoint.
    pub healthy: BTreeSet<u16>,
    /// When it changes.
    pub thresholds: Thresholds,
    /// Statuses of an unhealthy endpoint. Those in neither set say nothing.
    pub unhealthy: BTreeSet<u16>,
}

/// How many signs in a row change an endpoint's health; 0 where signs of that kind change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thresholds {
    /// Statuses of an unhealthy endpoint.
    pub http_failures: u32,
    /// What makes an unhealthy endpoint healthy.
    pub successes: u32,
    /// Connections that were not made, or broke off.
    pub tcp_failures: u32,
    /// Answers that did not come in time.
    pub timeouts: u32,
}

/// A sign of an endpoint's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A status of an unhealthy endpoint.
    HttpFailure,
    /// A status of a healthy endpoint.
    Success,
    /// A connection that was not made, or broke off.
    TcpFailure,
    /// An answer that did not come in time.
    Timeout,
}

impl Default for ActiveCheck {
    /// APISIX's defaults.
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            concurrency: 10,
            criteria: Criteria {
                healthy: [200, 302].into(),
                thresholds: Thresholds { http_failures: 5, successes: 2, tcp_failures: 2, timeouts: 3 },
                unhealthy: [429, 404, 500, 501, 502, 503, 504, 505].into(),
            },
            headers: Vec::new(),
            healthy_interval: second,
            host: None,
            kind: CheckKind::Http,
            path: "/".into(),
            port: None,
            timeout: second,
            unhealthy_interval: second,
        }
    }
}

impl Criteria {
    /// APISIX's defaults for passive checks.
    pub fn passive() -> Self {
        Self {
            healthy: (200..=208).chain([226]).chain(300..=308).collect(),
            thresholds: Thresholds { http_failures: 5, successes: 5, tcp_failures: 2, timeouts: 7 },
            unhealthy: [429, 500, 503].into(),
        }
    }

    /// What an answer with `status` is a sign of.
    pub fn judge(&self, status: u16) -> Option<Sign> {
        if self.healthy.contains(&status) {
            Some(Sign::Success)
        } else {
            self.unhealthy.contains(&status).then_some(Sign::HttpFailure)
        }
    }
}

impl Thresholds {
    /// How many signs like `sign` in a row change an endpoint's health.
    pub fn of(&self, sign: Sign) -> u32 {
        match sign {
            Sign::HttpFailure => self.http_failures,
            Sign::Success => self.successes,
            Sign::TcpFailure => self.tcp_failures,
            Sign::Timeout => self.timeouts,
        }
    }
}
