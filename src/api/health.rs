//! `healthCheck` of an ApisixUpstream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// How the health of endpoints is found out. An unhealthy one gets no requests while another is healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct HealthCheck {
    /// By asking them.
    #[schemars(required)]
    pub active: Option<ActiveCheck>,
    /// By what becomes of requests, beside.
    pub passive: Option<PassiveCheck>,
}

/// A question that is put to every endpoint again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveCheck {
    /// How many endpoints are asked at the same time; 10 where it is left out.
    #[schemars(range(min = 0, max = 10000))]
    pub concurrency: Option<i64>,
    /// What a healthy endpoint answers, and how often it is asked.
    pub healthy: Option<ActiveHealthy>,
    /// The `Host` that is sent; the endpoint's address where it is left out.
    #[schemars(length(max = 255))]
    pub host: Option<String>,
    /// The path that is asked for; `/` where it is left out.
    #[schemars(length(max = 2048))]
    pub http_path: Option<String>,
    /// The port, where it is not the endpoint's own.
    #[schemars(range(min = 0, max = 65535))]
    pub port: Option<i64>,
    /// Further fields of the request, such as `Accept: text/plain`.
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub request_headers: Option<Vec<String>>,
    /// Whether the certificate of the endpoint is verified, where `type` is `https`; it is where this is left out.
    #[serde(rename = "strictTLS")]
    pub strict_tls: Option<bool>,
    /// How long an answer may take, in nanoseconds; one second where it is left out.
    #[schemars(range(min = 0))]
    pub timeout: Option<i64>,
    /// `http` (the default), `https` or `tcp`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["http", "https", "tcp"]))]
    pub kind: Option<String>,
    /// What an unhealthy endpoint answers, and how often it is asked.
    pub unhealthy: Option<ActiveUnhealthy>,
}

/// What becomes of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct PassiveCheck {
    /// What a healthy endpoint answers.
    pub healthy: Option<Healthy>,
    /// Says nothing: requests tell what they tell.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["http", "https", "tcp"]))]
    pub kind: Option<String>,
    /// What an unhealthy endpoint answers.
    pub unhealthy: Option<Unhealthy>,
}

/// What a healthy endpoint answers, and how often it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct ActiveHealthy {
    /// What it answers.
    #[serde(flatten)]
    pub healthy: Healthy,
    /// How long after an answer it is asked again; one second where it is left out, and not less.
    #[schemars(length(max = 64), regex(pattern = schema::DURATION))]
    pub interval: Option<String>,
}

/// What an unhealthy endpoint answers, and how often it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct ActiveUnhealthy {
    /// How long after an answer it is asked again; one second where it is left out, and not less.
    #[schemars(length(max = 64), regex(pattern = schema::DURATION))]
    pub interval: Option<String>,
    /// What it answers.
    #[serde(flatten)]
    pub unhealthy: Unhealthy,
}

/// What a healthy endpoint answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Healthy {
    /// Statuses that are successes.
    #[schemars(length(min = 1, max = 400), inner(range(min = 200, max = 599)))]
    pub http_codes: Option<Vec<i64>>,
    /// Successes in a row that make an unhealthy endpoint healthy.
    #[schemars(range(min = 0, max = 254))]
    pub successes: Option<i64>,
}

/// What an unhealthy endpoint answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unhealthy {
    /// Statuses that are failures.
    #[schemars(length(min = 1, max = 400), inner(range(min = 200, max = 599)))]
    pub http_codes: Option<Vec<i64>>,
    /// Such statuses in a row that make a healthy endpoint unhealthy.
    #[schemars(range(min = 0, max = 254))]
    pub http_failures: Option<i64>,
    /// Failed connections in a row that do.
    #[schemars(range(min = 0, max = 254))]
    pub tcp_failures: Option<i64>,
    /// Answers in a row that do not come in time and do; a number in spite of its name.
    #[schemars(range(min = 0, max = 254))]
    pub timeout: Option<i64>,
    /// As `timeout`, in older versions.
    #[schemars(range(min = 0, max = 254))]
    pub timeouts: Option<i64>,
}
