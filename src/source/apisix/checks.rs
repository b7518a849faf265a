//! `checks` of upstreams.

use serde::Deserialize;

use crate::api;
use crate::model::{HealthCheck, Invalid};
use crate::source::parse::upstream::health;

/// `checks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checks {
    active: Option<Active>,
    passive: Option<Passive>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Active {
    concurrency: Option<i64>,
    healthy: Option<ActiveHealthy>,
    host: Option<String>,
    http_path: Option<String>,
    https_verify_certificate: Option<bool>,
    port: Option<i64>,
    req_headers: Option<Vec<String>>,
    timeout: Option<f64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    unhealthy: Option<ActiveUnhealthy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActiveHealthy {
    http_statuses: Option<Vec<i64>>,
    interval: Option<f64>,
    successes: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActiveUnhealthy {
    http_failures: Option<i64>,
    http_statuses: Option<Vec<i64>>,
    interval: Option<f64>,
    tcp_failures: Option<i64>,
    timeouts: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Passive {
    healthy: Option<Healthy>,
    #[serde(rename = "type")]
    kind: Option<String>,
    unhealthy: Option<Unhealthy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Healthy {
    http_statuses: Option<Vec<i64>>,
    successes: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unhealthy {
    http_failures: Option<i64>,
    http_statuses: Option<Vec<i64>>,
    tcp_failures: Option<i64>,
    timeouts: Option<i64>,
}

/// Reads `checks` of the upstream at `within`: what the `healthCheck` of an ApisixUpstream says, in other words.
pub(super) fn read(checks: Checks, within: &str) -> Result<HealthCheck, Invalid> {
    let active = checks.active.map(|active| active.into_api(within)).transpose()?;
    let passive = checks.passive.map(Passive::into_api);
    let check = api::HealthCheck { active, passive };
    health::read(check, "spec.healthCheck").map_err(|invalid| invalid.of_resource(within))
}

impl Active {
    fn into_api(self, within: &str) -> Result<api::ActiveCheck, Invalid> {
        let healthy = self.healthy.unwrap_or_default();
        let unhealthy = self.unhealthy.unwrap_or_default();
        let timeout = self.timeout.map(|timeout| nanoseconds(timeout, &format!("{within}checks.active.timeout")));
        Ok(api::ActiveCheck {
            concurrency: self.concurrency,
            healthy: Some(api::ActiveHealthy {
                healthy: api::Healthy { http_codes: healthy.http_statuses, successes: healthy.successes },
                interval: healthy.interval.map(text),
            }),
            host: self.host,
            http_path: self.http_path,
            port: self.port,
            request_headers: self.req_headers,
            strict_tls: self.https_verify_certificate,
            timeout: timeout.transpose()?,
            kind: self.kind,
            unhealthy: Some(api::ActiveUnhealthy {
                interval: unhealthy.interval.map(text),
                unhealthy: Unhealthy {
                    http_failures: unhealthy.http_failures,
                    http_statuses: unhealthy.http_statuses,
                    tcp_failures: unhealthy.tcp_failures,
                    timeouts: unhealthy.timeouts,
                }
                .into_api(),
            }),
        })
    }
}

impl Passive {
    fn into_api(self) -> api::PassiveCheck {
        api::PassiveCheck {
            healthy: self
                .healthy
                .map(|healthy| api::Healthy { http_codes: healthy.http_statuses, successes: healthy.successes }),
            kind: self.kind,
            unhealthy: self.unhealthy.map(Unhealthy::into_api),
        }
    }
}

impl Unhealthy {
    fn into_api(self) -> api::Unhealthy {
        let Self { http_failures, http_statuses, tcp_failures, timeouts } = self;
        api::Unhealthy { http_codes: http_statuses, http_failures, tcp_failures, timeout: timeouts, timeouts: None }
    }
}

/// Seconds as Go writes them.
fn text(seconds: f64) -> String {
    format!("{seconds}s")
}

fn nanoseconds(seconds: f64, field: &str) -> Result<i64, Invalid> {
    let duration = super::timeouts::seconds(seconds, field)?;
    i64::try_from(duration.as_nanos()).map_err(|_| Invalid::spec(field, format!("{seconds} seconds are too many")))
}
