//! Metrics for Prometheus. Every handle that traffic touches is a plain atomic resolved at the start: no lock, no hashing of
//! labels on the request path.

mod connections;
mod health;
mod hosts;
mod streams;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use connections::{Connections, EndedConnections, RefusedConnections, UpstreamConnections};
pub use streams::Streams;

use crate::snapshot::{Current, Reason, Snapshot};

/// Classes of status, in the order of the counters.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

type Labels = Vec<(&'static str, &'static str)>;

/// What the process counts.
pub struct Metrics {
    /// Requests that were served, and would have been refused by a policy that is not in the mode `Observe`.
    pub client_auth_observed: Reasons,
    /// Requests refused by a host's client authentication; misdirected ones are counted by `misdirected`.
    pub client_auth_refused: Reasons,
    /// Connections closed because their client is not let in any more.
    pub client_connections_closed: Reasons,
    /// Downstream connections.
    pub connections: Connections,
    /// Connections that were ended because of what their clients sent.
    pub connections_ended: EndedConnections,
    /// From the request's head to the end of the response's body.
    pub duration: Arc<Durations>,
    /// The generation of the snapshot that every open connection has been held to.
    pub enforced_generation: Gauge,
    /// TLS handshakes.
    pub handshakes: Handshakes,
    /// Requests answered with 421.
    pub misdirected: Counter,
    /// Connections that were closed without being served.
    pub refused_connections: RefusedConnections,
    /// Requests, by protocol.
    pub requests: Requests,
    /// Requests answered with 503 because the memory runs out.
    pub shed: Counter,
    /// 1 where changes that others make in the store are heard of, which is always so with a store of our own; else 0.
    pub store_connected: Gauge,
    /// Streams of TCP, TLS and UDP.
    pub streams: Streams,
    /// Connections to upstreams.
    pub upstream: UpstreamConnections,
    registry: Registry,
}

fn store_connected(registry: &mut Registry) -> Gauge {
    let connected = Gauge::default();
    connected.set(1);
    registry.register("store_connected", "Whether changes in etcd are heard of", connected.clone());
    connected
}

/// A counter for every [`Reason`].
#[derive(Debug)]
pub struct Reasons([Counter; Reason::ALL.len()]);

impl Reasons {
    fn new(registry: &mut Registry, name: &str, help: &str) -> Self {
        let family = Family::<Labels, Counter>::default();
        registry.register(name, help, family.clone());
        Self(Reason::ALL.map(|reason| of(&family, &[("reason", reason.as_str())])))
    }

    /// Counts one.
    pub fn count(&self, reason: Reason) {
        self.0[reason.index()].inc();
    }
}

/// `portcullis_handshakes_total{result}`.
#[derive(Debug)]
pub struct Handshakes {
    /// Broken off, or refused by TLS itself: versions, ciphers, a wrong proof of possession.
    pub failed: Counter,
    /// Completed, with a new session.
    pub full: Counter,
    /// Refused: the client named no host.
    pub no_sni: Counter,
    /// Refused: the client's certificate does not satisfy the policy, which wants that to fail the handshake.
    pub refused: Counter,
    /// Completed, with a session from before.
    pub resumed: Counter,
    /// Not completed in time.
    pub timeout: Counter,
    /// Refused: nothing is configured for the host that the client named.
    pub unknown_sni: Counter,
    /// Refused: the host's certificate is unusable.
    pub unusable: Counter,
}

/// `portcullis_requests_total{class, protocol}`.
#[derive(Debug)]
pub struct Requests {
    /// HTTP/1.0 and HTTP/1.1, by class of status from 1xx to 5xx.
    pub http1: [Counter; 5],
    /// HTTP/2, by class of status.
    pub http2: [Counter; 5],
}

impl Metrics {
    /// Metrics of a process that serves what `current` holds.
    pub fn new(current: Arc<Current>) -> Self {
        let mut all = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        all.register("portcullis_build", "The version that runs", build);
        let registry = all.sub_registry_with_prefix("portcullis");
        registry.register_collector(Box::new(Served(current)));

        let requests = Family::<Labels, Counter>::default();
        registry.register("requests", "Requests answered, by class of status and protocol", requests.clone());
        let by_class = |protocol| CLASSES.map(|class| of(&requests, &[("class", class), ("protocol", protocol)]));
        let requests = Requests { http1: by_class("http1"), http2: by_class("http2") };

        let duration = Arc::new(Durations::default());
        registry.register_with_unit(
            "request_duration",
            "From the request's head to the end of the response's body",
            Unit::Seconds,
            Shared(duration.clone()),
        );

        let family = Family::<Labels, Counter>::default();
        registry.register("handshakes", "TLS handshakes by result", family.clone());
        let result = |name| of(&family, &[("result", name)]);
        let handshakes = Handshakes {
            failed: result("failed"),
            full: result("full"),
            no_sni: result("no_sni"),
            refused: result("refused"),
            resumed: result("resumed"),
            timeout: result("timeout"),
            unknown_sni: result("unknown_sni"),
            unusable: result("unusable"),
        };

        let client_auth_observed = Reasons::new(
            registry,
            "client_auth_observed",
            "Requests served that would be refused if the policy were enforced",
        );
        let client_auth_refused =
            Reasons::new(registry, "client_auth_refused", "Requests refused by a host's client authentication");
        let client_connections_closed = Reasons::new(
            registry,
            "client_connections_closed",
            "Open connections closed because their client is not let in any more",
        );

        let enforced_generation = Gauge::default();
        registry.register(
            "enforced_generation",
            "The generation of the configuration that every open connection has been held to",
            enforced_generation.clone(),
        );

        let misdirected = Counter::default();
        registry.register(
            "misdirected",
            "Requests answered with 421: the connection does not satisfy what the host asks for",
            misdirected.clone(),
        );

        let shed = Counter::default();
        registry.register("requests_shed", "Requests answered with 503 because the memory runs out", shed.clone());

        let connections = Connections::new(registry);
        let connections_ended = EndedConnections::new(registry);
        let refused_connections = RefusedConnections::new(registry);
        let streams = Streams::new(registry);
        let upstream = UpstreamConnections::new(registry);

        Self {
            client_auth_observed,
            client_auth_refused,
            client_connections_closed,
            connections,
            connections_ended,
            duration,
            enforced_generation,
            handshakes,
            misdirected,
            refused_connections,
            requests,
            shed,
            store_connected: store_connected(registry),
            streams,
            upstream,
            registry: all,
        }
    }

    /// The metrics in OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a String fails only where a metric is ill-formed: a test encodes them all.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn of(family: &Family<Labels, Counter>, labels: &[(&'static str, &'static str)]) -> Counter {
    family.get_or_create(&labels.to_vec()).clone()
}

impl Requests {
    /// Counts a request that was answered with `status`.
    pub fn count(&self, http2: bool, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        let counters = if http2 { &self.http2 } else { &self.http1 };
        counters[class].inc();
    }
}

/// Upper bounds of the buckets in microseconds: from a request that a local upstream answers at once to a minute.
const BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
    60_000_000,
];

/// A histogram of durations. prometheus-client's own takes a lock for every observation.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Durations {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Shared<T>(Arc<T>);

impl EncodeMetric for Shared<Durations> {
    fn encode(&self, mut encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result {
        let counts: Vec<_> = self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let bounds = BOUNDS.iter().map(|micros| seconds(*micros)).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
        let sum = seconds(self.0.micros.load(Ordering::Relaxed));
        encoder.encode_histogram::<Labels>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

/// What is read from the snapshot when somebody asks: its generation, and the counters that its routes carry.
#[derive(Debug)]
struct Served(Arc<Current>);

impl Collector for Served {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.load();
        let generation = i64::try_from(snapshot.generation).unwrap_or(i64::MAX);
        let help = "Counts the configurations that were published";
        ConstGauge::new(generation).encode(encoder.encode_descriptor(
            "snapshot_generation",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let help = "Requests by route and class of status";
        let mut family = encoder.encode_descriptor("route_requests", help, None, MetricType::Counter)?;
        for (route, counts) in by_route(&snapshot) {
            for (class, count) in CLASSES.iter().zip(counts) {
                let labels = [("route", route), ("class", *class)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        streams::encode(&snapshot, &mut encoder)?;
        health::encode(&snapshot, &mut encoder)?;
        hosts::encode(&snapshot, &mut encoder)
    }
}

/// The counters of each route once, however many hosts and paths lead to it.
fn by_route(snapshot: &Snapshot) -> BTreeMap<&str, [u64; 5]> {
    let routes = snapshot.routes.iter().flat_map(|(_, table)| table.iter().map(|(_, route)| route).collect::<Vec<_>>());
    routes.map(|route| (&*route.name, route.stats.counts())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_encoded_under_its_name() {
        let metrics = Metrics::new(Arc::new(Current::from_pointee(Snapshot { generation: 7, ..Snapshot::default() })));
        metrics.requests.count(true, http::StatusCode::BAD_REQUEST);
        metrics.duration.observe(Duration::from_millis(2));
        metrics.duration.observe(Duration::from_secs(3600));
        metrics.handshakes.resumed.inc();
        let text = metrics.encode();
        for line in [
            "portcullis_build_info{version=",
            "portcullis_snapshot_generation 7",
            "portcullis_requests_total{class=\"4xx\",protocol=\"http2\"} 1",
            "portcullis_requests_total{class=\"2xx\",protocol=\"http1\"} 0",
            "portcullis_request_duration_seconds_bucket{le=\"0.001\"} 0",
            "portcullis_request_duration_seconds_bucket{le=\"0.0025\"} 1",
            "portcullis_request_duration_seconds_bucket{le=\"60.0\"} 1",
            "portcullis_request_duration_seconds_bucket{le=\"+Inf\"} 2",
            "portcullis_request_duration_seconds_sum 3600.002",
            "portcullis_handshakes_total{result=\"resumed\"} 1",
            "portcullis_client_auth_refused_total{reason=\"not_present\"} 0",
            "portcullis_connections{listener=\"https\"} 0",
            "portcullis_upstream_reuses_total 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
