//! The data plane: HTTP over TLS in, HTTP/1.1 out, and between the two the question whether the client may.
//!
//! ```text
//! listener ─► handshake ─► connection ─► request: host ─► authorize ─► route ─► forward ─► access log
//! ```
//! It reads [`Snapshot`](crate::snapshot::Snapshot)s and knows neither where they come from nor Kubernetes. A snapshot is
//! loaded once per handshake and once per request, never held across an await: a connection lives through any number.

mod access_log;
mod affinity;
mod authorize;
mod claims;
mod connect;
mod connection;
mod downstream;
mod error;
mod exchange;
mod forward;
mod forwarded;
mod frames;
mod grpc;
mod handshake;
mod headers;
mod host;
mod identity;
mod listener;
mod live;
mod memory;
mod multiplex;
mod on_wake;
mod path;
mod present;
mod proxy_protocol;
mod read_body;
mod record;
mod request;
mod response;
mod review;
mod settings;
mod socket;
mod sources;
mod standing;
mod streams;
mod trial;
mod tunnel;
mod upgrade;
mod verdict;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::task::JoinSet;

pub use settings::Settings;
pub use trial::{Outcome, Trial, TrialTls};

use crate::audit::Audit;
use crate::drain::Draining;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::snapshot::Current;
use listener::Listener;
use live::Live;
use sources::Sources;

/// How often idle upstream connections are looked through for closed and old ones.
const SWEEP: Duration = Duration::from_secs(10);

/// A proxy whose sockets are bound: the kernel queues connections from here on, and [`Proxy::run`] accepts them.
#[derive(Debug)]
pub struct Proxy {
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
}

/// What every connection needs.
#[derive(Debug)]
struct Shared {
    audit: Audit,
    current: Arc<Current>,
    /// Whether HTTP/1 responses announce that the connection closes. The same as [`Draining::has_started`], without a lock.
    draining: AtomicBool,
    live: Live,
    log: Log,
    metrics: Arc<Metrics>,
    settings: Settings,
    /// Whether requests and connections are refused because memory runs out.
    shedding: AtomicBool,
    sources: Sources,
}

impl Proxy {
    /// Binds the listeners of `settings`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When an address cannot be bound; the error names it.
    pub fn bind(settings: Settings, current: Arc<Current>, log: Log, metrics: Arc<Metrics>) -> io::Result<Self> {
        let http = settings.http.iter().map(|address| Listener::bind(*address, false));
        let https = settings.https.iter().map(|address| Listener::bind(*address, true));
        let announced = |(address, tls)| Listener::bind(address, tls).map(Listener::with_proxy_protocol);
        let http_announced = settings.http_proxy_protocol.iter().map(|address| (*address, false));
        let https_announced = settings.https_proxy_protocol.iter().map(|address| (*address, true));
        let listeners = http.chain(https).chain(http_announced.chain(https_announced).map(announced));
        let listeners = listeners.collect::<io::Result<_>>()?;
        Ok(Self { listeners, shared: Arc::new(Shared::new(current, log, metrics, settings)) })
    }

    /// The addresses that were bound: those of `settings.http`, `https`, `http_proxy_protocol` and
    /// `https_proxy_protocol`, in this order.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// What it was bound with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Serves until `draining` starts, and returns when nothing is accepted any more. Connections that are open then hold
    /// the drain until they have finished.
    pub async fn run(self, draining: Draining) {
        let mut tasks = JoinSet::new();
        // Not one of `tasks`: connections are watched as long as there are any, the drain included.
        tokio::spawn(review::run(Arc::downgrade(&self.shared), self.shared.current.published()));
        if self.shared.settings.memory_limit.is_some() {
            tokio::spawn(memory::watch(Arc::downgrade(&self.shared)));
        }
        for listener in self.listeners {
            tasks.spawn(listener.run(self.shared.clone(), draining.clone()));
        }
        drop(draining);
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = tasks.join_next() => if ended.is_none() { return },
                _ = sweep.tick() => self.shared.sweep(),
            }
        }
    }
}

impl Shared {
    fn new(current: Arc<Current>, log: Log, metrics: Arc<Metrics>, settings: Settings) -> Self {
        let (audit, draining, live, shedding, sources) = Default::default();
        Self { audit, current, draining, live, log, metrics, settings, shedding, sources }
    }

    /// Drops idle upstream connections that are old or that the upstream closed, and sums up the audit log.
    fn sweep(&self) {
        self.audit.sum_up(std::time::Instant::now());
        for endpoint in self.current.load().carried.endpoints.values() {
            endpoint.idle.sweep(|connection| connection.is_idle());
            if let Some(connections) = &endpoint.http2 {
                connections.sweep(endpoint.transport.keepalive.idle_timeout);
            }
        }
    }
}
