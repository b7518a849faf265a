//! The data plane: HTTP over TLS in, HTTP/1.1 out, and between the two the question whether the client may. Streams of TCP,
//! TLS and UDP are carried as they are.
//!
//! ```text
//! listener ─► handshake ─► connection ─► request: host ─► authorize ─► route ─► forward ─► access log
//!                     └──► stream: route ─► connect ─► tunnel ─► access log
//! ```
//! It reads [`Snapshot`](crate::snapshot::Snapshot)s and knows neither where they come from nor Kubernetes. A snapshot is
//! loaded once per handshake and once per request, never held across an await: a connection lives through any number.

mod access_log;
mod affinity;
mod authorize;
mod begun;
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
mod stream;
mod streams;
mod trial;
mod tunnel;
mod upgrade;
mod verdict;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::task::JoinSet;

pub use settings::Settings;
pub use trial::{Outcome, StreamOutcome, StreamTrial, Trial, TrialTls};

use crate::audit::Audit;
use crate::drain::Draining;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::model::{Protocol, StreamPorts};
use crate::snapshot::Current;
use listener::{Listener, Service};
use live::Live;
use sources::Sources;
use stream::UdpListener;

/// How often idle upstream connections are looked through for closed and old ones.
const SWEEP: Duration = Duration::from_secs(10);

/// A proxy whose sockets are bound: the kernel queues connections from here on, and [`Proxy::run`] accepts them.
#[derive(Debug)]
pub struct Proxy {
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
    udp: Vec<UdpListener>,
}

/// What every connection needs.
#[derive(Debug)]
struct Shared {
    audit: Audit,
    current: Arc<Current>,
    /// Clients of UDP by source: apart, because anyone can send datagrams in the name of another.
    datagram_sources: Sources,
    /// Whether HTTP/1 responses announce that the connection closes. The same as [`Draining::has_started`], without a lock.
    draining: AtomicBool,
    live: Live,
    log: Log,
    metrics: Arc<Metrics>,
    settings: Settings,
    /// Whether requests and connections are refused because memory runs out.
    shedding: AtomicBool,
    /// Connections by source.
    sources: Sources,
}

impl Proxy {
    /// Binds the listeners of `settings`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When an address cannot be bound; the error names it.
    pub fn bind(settings: Settings, current: Arc<Current>, log: Log, metrics: Arc<Metrics>) -> io::Result<Self> {
        let bind = |addresses: &[SocketAddr], service| {
            addresses.iter().map(|address| Listener::bind(*address, service)).collect::<io::Result<Vec<_>>>()
        };
        let announced = |addresses: &[SocketAddr], service| {
            bind(addresses, service).map(|listeners| listeners.into_iter().map(Listener::with_proxy_protocol).collect())
        };
        let listeners = [
            bind(&settings.http, Service::Http)?,
            bind(&settings.https, Service::Https)?,
            announced(&settings.http_proxy_protocol, Service::Http)?,
            announced(&settings.https_proxy_protocol, Service::Https)?,
            bind(&settings.stream_tcp, Service::StreamTcp)?,
            bind(&settings.stream_tls, Service::StreamTls)?,
        ];
        let listeners = listeners.into_iter().flatten().collect();
        let udp = settings.stream_udp.iter().map(|at| UdpListener::bind(*at)).collect::<io::Result<_>>()?;
        let proxy = Self { listeners, shared: Arc::new(Shared::new(current, log, metrics, settings)), udp };
        let StreamPorts { tcp, tls, .. } = proxy.stream_ports();
        match tcp.intersection(&tls).next() {
            None => Ok(proxy),
            // A rule names a port alone: nobody could tell whether it is for TLS.
            Some(both) => {
                let message = format!("port {both} cannot be both for plain TCP streams and for TLS streams");
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
        }
    }

    /// The addresses that were bound: those of `settings.http`, `https`, `http_proxy_protocol`, `https_proxy_protocol`,
    /// `stream_tcp`, `stream_tls` and `stream_udp`, in this order.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::address).chain(self.udp.iter().map(UdpListener::address)).collect()
    }

    /// The ports that were bound for streams.
    pub fn stream_ports(&self) -> StreamPorts {
        let of = |service| self.listeners.iter().filter(|l| l.service == service).map(|l| l.address().port()).collect();
        let udp = self.udp.iter().map(|listener| listener.address().port()).collect();
        StreamPorts { tcp: of(Service::StreamTcp), tls: of(Service::StreamTls), udp }
    }

    /// The addresses that streams can be sent to: those that were bound, and for a listener on every address those of the
    /// `machine`.
    pub fn stream_addresses(&self, machine: &[IpAddr]) -> BTreeSet<(Protocol, SocketAddr)> {
        let tcp = self.listeners.iter().filter(|l| matches!(l.service, Service::StreamTcp | Service::StreamTls));
        let tcp = tcp.map(|listener| (Protocol::Tcp, listener.address()));
        let bound = tcp.chain(self.udp.iter().map(|listener| (Protocol::Udp, listener.address())));
        let reached = bound.flat_map(|(protocol, bound)| {
            let all = if bound.ip().is_unspecified() { machine } else { &[] };
            let all = all.iter().filter(move |ip| bound.is_ipv6() || ip.is_ipv4()); // `::` is for IPv4 too
            let all = all.map(move |ip| SocketAddr::new(*ip, bound.port()));
            all.chain([bound]).map(move |address| (protocol, address))
        });
        reached.collect()
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
        for listener in self.udp {
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
        let (audit, datagram_sources, draining, live, shedding, sources) = Default::default();
        Self { audit, current, datagram_sources, draining, live, log, metrics, settings, shedding, sources }
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
