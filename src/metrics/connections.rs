//! Connections: open ones, those that were cut off, and those to upstreams.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Labels, of};

/// `portcullis_connections{listener}`, open ones.
#[derive(Debug)]
pub struct Connections {
    /// On the plaintext listeners.
    pub http: Gauge,
    /// On the TLS listeners, those in a handshake included.
    pub https: Gauge,
    /// On the listeners for plain TCP streams.
    pub stream_tcp: Gauge,
    /// On the listeners for TLS streams, those in a handshake included.
    pub stream_tls: Gauge,
    /// Clients of the listeners for UDP.
    pub stream_udp: Gauge,
}

impl Connections {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let family = Family::<Labels, Gauge>::default();
        registry.register("connections", "Open downstream connections", family.clone());
        let open = |listener| family.get_or_create(&vec![("listener", listener)]).clone();
        Self {
            http: open("http"),
            https: open("https"),
            stream_tcp: open("stream_tcp"),
            stream_tls: open("stream_tls"),
            stream_udp: open("stream_udp"),
        }
    }

    /// All of them.
    pub fn all(&self) -> i64 {
        let Self { http, https, stream_tcp, stream_tls, stream_udp } = self;
        [http, https, stream_tcp, stream_tls, stream_udp].into_iter().map(Gauge::get).sum()
    }
}

/// `portcullis_connections_ended_total{reason}`.
#[derive(Debug)]
pub struct EndedConnections {
    /// HTTP/2: more frames for nothing, or resets, than a client may send.
    pub flood: Counter,
    /// HTTP/2: one of h2's own limits, on resets, `CONTINUATION` and small `DATA` frames.
    pub http2_limit: Counter,
}

impl EndedConnections {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let family = Family::<Labels, Counter>::default();
        registry.register("connections_ended", "Connections ended because of what their clients sent", family.clone());
        let reason = |name| of(&family, &[("reason", name)]);
        Self { flood: reason("flood"), http2_limit: reason("http2_limit") }
    }
}

/// `portcullis_connections_refused_total{reason}`.
#[derive(Debug)]
pub struct RefusedConnections {
    /// The memory runs out.
    pub memory: Counter,
    /// It began without a header of the PROXY protocol where it must.
    pub proxy_header: Counter,
    /// Its source has as many as it may.
    pub source: Counter,
    /// It came to a listener with PROXY protocol from an address that is not trusted.
    pub untrusted_proxy: Counter,
}

impl RefusedConnections {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let family = Family::<Labels, Counter>::default();
        registry.register("connections_refused", "Connections closed without being served", family.clone());
        let reason = |name| of(&family, &[("reason", name)]);
        Self {
            memory: reason("memory"),
            proxy_header: reason("proxy_header"),
            source: reason("source"),
            untrusted_proxy: reason("untrusted_proxy"),
        }
    }
}

/// `portcullis_upstream_…_total`.
#[derive(Debug)]
pub struct UpstreamConnections {
    /// Attempts to connect that failed.
    pub connect_failures: Counter,
    /// Connections established.
    pub connects: Counter,
    /// Requests sent again because an idle connection turned out to be closed.
    pub retries: Counter,
    /// Requests sent on a connection that was used before.
    pub reuses: Counter,
}

impl UpstreamConnections {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let upstream = Self {
            connect_failures: Counter::default(),
            connects: Counter::default(),
            retries: Counter::default(),
            reuses: Counter::default(),
        };
        let Self { connect_failures, connects, retries, reuses } = &upstream;
        registry.register("upstream_connect_failures", "Failed attempts to connect", connect_failures.clone());
        registry.register("upstream_connects", "Connections established", connects.clone());
        registry.register("upstream_retries", "Requests sent again after a closed idle connection", retries.clone());
        registry.register("upstream_reuses", "Requests sent on a connection used before", reuses.clone());
        upstream
    }
}
