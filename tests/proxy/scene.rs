//! A proxy with a snapshot made by hand.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use portcullis::compile::{Handshake, TlsContext, server_config};
use portcullis::drain::{self, Drain};
use portcullis::log::{Format, Log};
use portcullis::metrics::Metrics;
use portcullis::model::{HostPattern, Invalid, Methods, ObjectKey, PathPattern, Protocols, Timeouts};
use portcullis::proxy::{Proxy, Settings};
use portcullis::snapshot::{
    Backends, Current, Endpoint, HostRoutes, HostTls, Policy, Route, Snapshot, StreamKey, StreamRoute, Transport,
    Upstream, Watched, identity_headers,
};
use rcgen::ExtendedKeyUsagePurpose;

use crate::lines::{ERRORS, Lines};
use crate::pki::PKI;

/// Shared, as in a process: tickets of one snapshot open under the next.
static CONTEXT: LazyLock<TlsContext> = LazyLock::new(|| TlsContext::new().unwrap());

/// A snapshot under construction.
pub(crate) struct Config(Snapshot);

pub(crate) fn config() -> Config {
    Config(Snapshot { generation: 1, ..Snapshot::default() })
}

fn pattern(host: &str) -> HostPattern {
    if host == "any" { HostPattern::Any } else { HostPattern::parse(host).unwrap() }
}

pub(crate) fn endpoint(address: SocketAddr) -> Arc<Endpoint> {
    Arc::new(Endpoint::new(address, Transport::default()))
}

pub(crate) fn route(endpoints: &[Arc<Endpoint>]) -> Route {
    let upstream = Upstream::new("default/test:80".into(), endpoints.iter().cloned().map(Into::into));
    Route {
        backends: Backends::new([(upstream, 100)]),
        conditions: Arc::default(),
        methods: Methods::ANY,
        name: "default/test/rule".into(),
        stats: Arc::default(),
        strip: None,
        timeouts: Timeouts::default(),
        websocket: false,
    }
}

impl Config {
    /// TLS for `host`.
    pub(crate) fn tls(self, host: &str, policy: Policy) -> Self {
        self.tls_of(host, host, policy)
    }

    /// TLS for `host`, with a certificate for `name`.
    pub(crate) fn tls_of(mut self, name: &str, host: &str, policy: Policy) -> Self {
        let auth = match &policy {
            Policy::Require(auth) => Some(auth),
            Policy::Open | Policy::Refuse(_) => None,
        };
        let server = PKI.servers.issue(&[name], ExtendedKeyUsagePurpose::ServerAuth);
        let key = server.key.serialize_pem();
        let certificate = CONTEXT.certified_key(server.pem.as_bytes(), key.as_bytes()).unwrap();
        let handshake =
            Handshake { certificates: vec![certificate], client_auth: auth, protocols: Protocols::default() };
        let server = Ok(Arc::new(server_config(&CONTEXT, handshake).unwrap()));
        self.insert(host, policy, server);
        self
    }

    /// TLS for `host` whose certificate is unusable.
    pub(crate) fn broken_tls(mut self, host: &str, invalid: Invalid) -> Self {
        self.insert(host, Policy::Open, Err(Arc::new(invalid)));
        self
    }

    fn insert(&mut self, host: &str, policy: Policy, server: Result<Arc<rustls::ServerConfig>, Arc<Invalid>>) {
        let object = ObjectKey::new("default", host);
        let (inputs, problems) = Default::default();
        let tls = HostTls {
            certificates: vec![],
            inputs,
            object,
            policy,
            problems,
            protocols: None,
            server,
            validities: Arc::default(),
        };
        self.0.tls.insert(&pattern(host), Arc::new(tls));
    }

    /// A route for everything under `/`.
    pub(crate) fn route(self, host: &str, route: Route) -> Self {
        self.routes(host, vec![("/*", route)])
    }

    pub(crate) fn routes(mut self, host: &str, routes: Vec<(&str, Route)>) -> Self {
        let routes = routes.into_iter().map(|(path, route)| (PathPattern::parse(path).unwrap(), Arc::new(route)));
        self.0.routes.insert(&pattern(host), HostRoutes::new(routes));
        self
    }

    /// A rule for streams.
    pub(crate) fn stream(mut self, key: &StreamKey, upstream: Upstream) -> Self {
        let backends = Backends::new([(upstream, 1)]);
        let carrier = match key {
            StreamKey::Tcp(_) => "tcp",
            StreamKey::Tls(..) => "tls",
            StreamKey::Udp(_) => "udp",
        };
        let route = StreamRoute {
            backends,
            clients: Box::default(),
            name: format!("default/test/{carrier}").into(),
            stats: Arc::default(),
        };
        self.0.streams.insert(key, Arc::new(route));
        self
    }

    /// Looks after the health of endpoints.
    pub(crate) fn watching(mut self, watched: Watched) -> Self {
        self.0.carried.health.insert(watched.checks.id.clone(), watched);
        self
    }

    fn snapshot(mut self, previous: &Snapshot) -> Snapshot {
        self.0.identity_headers = identity_headers(&self.0.tls);
        self.0.carry_stats(previous);
        self.0
    }

    pub(crate) fn start(self) -> Scene {
        self.start_with(settings())
    }

    pub(crate) fn start_with(self, settings: Settings) -> Scene {
        self.start_logging(settings, Format::Text)
    }

    pub(crate) fn start_logging(self, settings: Settings, format: Format) -> Scene {
        LazyLock::force(&ERRORS);
        let access = Lines::default();
        let log = Log::new(format, access.clone());
        let current = Arc::new(Current::from_pointee(self.snapshot(&Snapshot::default())));
        let metrics = Arc::new(Metrics::new(current.clone()));
        let proxy = Proxy::bind(settings, current.clone(), log, metrics.clone()).unwrap();
        let addresses = proxy.local_addrs();
        let (drain, draining) = drain::channel();
        tokio::spawn(proxy.run(draining));
        Scene {
            access,
            current,
            drain,
            http: addresses[0],
            https: addresses[1],
            metrics,
            others: addresses[2..].into(),
        }
    }
}

/// Ports chosen by the kernel, and a drain that does not wait for idle connections.
pub(crate) fn settings() -> Settings {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let drain_idle = Duration::from_millis(200);
    Settings { drain_idle, http: vec![loopback], https: vec![loopback], ..Settings::default() }
}

/// A running proxy.
pub(crate) struct Scene {
    pub(crate) access: Lines,
    pub(crate) current: Arc<Current>,
    pub(crate) drain: Drain,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    /// The other listeners that the settings ask for, in the order of [`Proxy::local_addrs`].
    pub(crate) others: Vec<SocketAddr>,
}

impl Scene {
    /// Publishes another configuration.
    pub(crate) fn publish(&self, config: Config) {
        let mut snapshot = config.snapshot(&self.current.load());
        snapshot.generation = self.current.load().generation + 1;
        self.current.store(Arc::new(snapshot));
    }

    /// Waits until the open connections have been held to what was published last.
    pub(crate) async fn reviewed(&self) {
        let generation = self.current.load().generation;
        self.awaits("open connections are not held to the policy", || {
            self.metric("portcullis_enforced_generation") >= generation
        })
        .await;
    }

    /// Waits until `connections` have finished their handshakes: clients are done before the proxy is.
    pub(crate) async fn entered(&self, connections: usize) {
        let results = ["full", "resumed"].map(|result| format!("portcullis_handshakes_total{{result=\"{result}\"}}"));
        let entered = || results.iter().map(|result| self.metric(result)).sum::<u64>();
        self.awaits("connections are missing", || entered() >= connections as u64).await;
    }

    /// Waits until a metric that may not be there yet has `value`.
    pub(crate) async fn metric_becomes(&self, name: &str, value: u64) {
        let line = format!(" {value}");
        self.awaits(name, || self.metrics(name).contains(&line)).await;
    }

    /// Waits until `connections` have been closed because of `reason`: their clients may see it first.
    pub(crate) async fn closed(&self, reason: &str, connections: u64) {
        let name = format!("portcullis_client_connections_closed_total{{reason=\"{reason}\"}}");
        self.metric_becomes(&name, connections).await;
    }

    async fn awaits(&self, what: &str, is_there: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_there() {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The values of the metrics whose names begin with `name`, with what follows it.
    pub(crate) fn metrics(&self, name: &str) -> Vec<String> {
        let text = self.metrics.encode();
        text.lines().filter_map(|line| line.strip_prefix(name).map(str::to_owned)).collect()
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }
}
