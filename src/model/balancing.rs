//! Which endpoint of an upstream gets a request, and how connections to it are kept.

use std::sync::Arc;
use std::time::Duration;

/// `loadbalancer`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balancing {
    /// Equal requests to the same endpoint (`chash`).
    Hash(HashKey),
    /// The endpoint with the fewest requests under way (`least_conn`).
    LeastConnections,
    /// The quicker of two, by response times and requests under way (`ewma`).
    PeakEwma,
    /// Each in turn.
    #[default]
    RoundRobin,
}

/// What is hashed of a request. Where the request has no such thing, its client's address is (APISIX).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address (`remote_addr`).
    Address,
    /// A parameter of the query, as it is written (`arg_NAME`).
    Argument(Arc<str>),
    /// Several of the others and text between them (`vars_combinations`). What a request does not have is empty; where it has
    /// none of them, the client's address is hashed.
    Combination(Arc<[HashPart]>),
    /// A cookie.
    Cookie(Arc<str>),
    /// A header; the name is in lower case.
    Header(Arc<str>),
    /// The host in normal form (`host`).
    Host,
    /// The path (`uri`).
    Path,
    /// Path and query (`request_uri`).
    Target,
}

/// A part of [`HashKey::Combination`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashPart {
    /// What the request has for this.
    Key(HashKey),
    /// This text.
    Text(Arc<str>),
}

/// How connections to an endpoint are kept: APISIX's `keepalive_pool`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Keepalive {
    /// How long a connection is kept without a request.
    pub idle_timeout: Duration,
    /// Requests on one connection.
    pub requests: u64,
    /// Idle connections per endpoint.
    pub size: usize,
}

impl Default for Keepalive {
    /// APISIX's defaults. 60 s is less than most servers' own limit, so that a connection is rarely found closed.
    fn default() -> Self {
        Self { idle_timeout: Duration::from_secs(60), requests: 1000, size: 320 }
    }
}
