//! Starts and joins everything. The only module that knows all others.

mod control;
mod files;
mod leadership;
mod memory;
mod problems;
mod resources;
mod standalone;
mod traffic;

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls_pki_types::UnixTime;
use tokio::runtime::{self, Handle};
use tokio::sync::{mpsc, watch};

use self::leadership::Leadership;
use self::traffic::Traffic;
use crate::admin::{Admin, Pages};
use crate::args::RunOptions;
use crate::compile::{Context, Report, TlsContext};
use crate::config::{Config, Found, Warning};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::model::{Protocol, SourceId, StreamPorts};
use crate::proxy::{Proxy, Settings};
use crate::readiness::Readiness;
use crate::snapshot::Current;
use crate::source::{dns, kubernetes, manifests::Manifests};
use crate::world::World;
use crate::{config, drain, health, log};

/// The gate that opens with the first published snapshot.
const FIRST_SNAPSHOT: &str = "first snapshot";

/// The gate that closes when the process is told to stop, so that no new connections are sent to it.
const DRAINING: &str = "end of the process";

/// How long a connection to the API server may take: a node that is gone does not answer at all.
const CONNECT: Duration = Duration::from_secs(5);

/// Changes that may wait for the control loop; a source that is ahead of it waits.
const CHANGES: usize = 1024;

/// Runs until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// When something is missing to start with: no source, an address in use, manifests that cannot be read.
pub fn run(options: &RunOptions) -> anyhow::Result<()> {
    let mut options = options.clone();
    let found = config::find(options.config.as_deref())?;
    if let Some(found) = &found {
        options.adopt(&found.config);
    }
    let log = log::start(options.log_format, &options.log_level)?;
    let config = match found {
        Some(Found { config, path, warnings }) => {
            tracing::info!("read {}", path.display());
            for Warning { key, why } in warnings {
                tracing::warn!("{}: {key} has no meaning here: {why}", path.display());
            }
            Some(config)
        }
        None if options.manifests.is_empty() && !options.follows_kubernetes(false) => Some(Config::local()),
        None => None,
    };
    let outcome = serve(&options, config.as_ref(), &log, |_| {});
    log.flush();
    outcome
}

/// The addresses that are served: what was bound where port 0 was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) https: Vec<SocketAddr>,
}

/// As [`run`], with a config.yaml that was taken over already; `started` is called when the first snapshot is served.
pub(crate) fn serve(
    options: &RunOptions,
    config: Option<&Config>,
    log: &Log,
    started: impl FnOnce(&Addresses),
) -> anyhow::Result<()> {
    // Control and traffic have runtimes of their own, so that neither can stall the other.
    let control = runtime::Builder::new_current_thread().enable_all().build()?;
    let traffic = Traffic::start(options.workers)?;
    let current = Arc::new(Current::default());
    let metrics = Arc::new(Metrics::new(current.clone()));
    let proxy = {
        let _guard = traffic.handle().enter();
        Proxy::bind(settings(options, config), current.clone(), log.clone(), metrics.clone())
            .context("cannot listen for traffic")?
    };
    let outcome = control.block_on(async {
        let readiness = Readiness::awaiting(&[FIRST_SNAPSHOT]);
        let (reports, report) = watch::channel(Arc::new(Report::default()));
        let pages = Pages {
            current: current.clone(),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            reports: report,
            settings: proxy.settings().clone(),
        };
        tokio::spawn(Admin::bind(options.admin_listen, pages).await?.run());
        let streams = (proxy.stream_addresses(&machine()), proxy.stream_ports());
        let (published, leadership) =
            start_control((options, config), streams, current, reports, (&readiness, &metrics)).await?;
        let stop = stop_signal()?;
        let serving = Serving { leadership, options, proxy, published, readiness, traffic: traffic.handle() };
        serving.until(stop, started).await;
        Ok(())
    });
    traffic.stop();
    outcome
}

fn settings(options: &RunOptions, config: Option<&Config>) -> Settings {
    let timeouts = config.map(|config| config.timeouts).unwrap_or_default();
    let default = Settings::default();
    let RunOptions { http_listen, http_proxy_protocol_listen, https_listen, https_proxy_protocol_listen, .. } = options;
    let max_connections = files::connections(options.listeners());
    Settings {
        access_log_sample: options.access_log_sample,
        allow_plaintext_client_auth: options.allow_plaintext_client_auth,
        body_timeout: timeouts.client_body.unwrap_or(default.body_timeout),
        fallback_sni: options.fallback_sni.clone(),
        http: http_listen.clone(),
        http_proxy_protocol: http_proxy_protocol_listen.clone(),
        https: https_listen.clone(),
        https_proxy_protocol: https_proxy_protocol_listen.clone(),
        idle_timeout: timeouts.keepalive.unwrap_or(default.idle_timeout),
        max_body_size: options.max_body_size.filter(|bytes| *bytes > 0),
        max_connections,
        max_connections_per_source: options.max_connections_per_source.unwrap_or(max_connections / 2),
        memory_limit: memory::limit(options.memory_limit),
        send_timeout: timeouts.send.unwrap_or(default.send_timeout),
        stream_tcp: options.stream_tcp_listen.clone(),
        stream_tls: options.stream_tls_listen.clone(),
        stream_udp: options.stream_udp_listen.clone(),
        trust_grace: options.trust_grace,
        trusted_addresses: options.trusted_addresses.clone(),
        ..default
    }
}

/// The addresses of this machine, which is a Pod as a rule; they stay as long as it does.
fn machine() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().map(if_addrs::Interface::ip).collect(),
        Err(error) => {
            tracing::warn!(
                "the addresses of this machine are unknown, and so are streams that lead back to it: {error}"
            );
            Vec::new()
        }
    }
}

/// Starts the sources, the control loop and, in a cluster, the status writer. The receiver says when the first snapshot is
/// published.
async fn start_control(
    (options, config): (&RunOptions, Option<&Config>),
    (stream_addresses, stream_ports): (BTreeSet<(Protocol, SocketAddr)>, StreamPorts),
    current: Arc<Current>,
    reports: watch::Sender<Arc<Report>>,
    (readiness, metrics): (&Readiness, &Arc<Metrics>),
) -> anyhow::Result<(watch::Receiver<bool>, Option<Leadership>)> {
    let (change_sender, changes) = mpsc::channel(CHANGES);
    let report = reports.subscribe();
    let (referenced_sender, referenced) = watch::channel(None);
    let (published_sender, published) = watch::channel(false);
    let mut sources = Vec::new();
    let mut manifests = None;
    let mut leadership = None;
    if !options.manifests.is_empty() {
        sources.push(SourceId::Manifests);
        let opened = open_manifests(options.manifests.clone())?;
        tokio::spawn(opened.clone().run(change_sender.clone()));
        manifests = Some(opened);
    }
    if options.follows_kubernetes(config.is_some()) {
        sources.push(SourceId::Kubernetes);
        let mut config = kube::Config::infer().await.context("no Kubernetes API server is configured")?;
        config.connect_timeout = Some(CONNECT);
        let client = kube::Client::try_from(config)?;
        let source = kubernetes::Options { namespaces: options.watch_namespace.clone() };
        tokio::spawn(kubernetes::run(client.clone(), source, change_sender.clone(), referenced, readiness.clone()));
        leadership = Some(Leadership::start(client, options.watch_namespace.clone(), report.clone()));
    }
    if let Some(config) = config {
        sources.push(SourceId::Store);
        let streams = stream_ports.has_any();
        resources::start(config, &options.data, streams, change_sender.clone(), (readiness, metrics)).await?;
    }
    let (names_sender, names) = watch::channel(BTreeSet::new());
    tokio::spawn(dns::run_system(names, change_sender));
    tokio::spawn(health::run(current.clone()));
    tokio::spawn(problems::log(report, manifests));
    let context = Context {
        class: options.class.ingress_class.clone().into(),
        controller: options.class.controller_name.clone().into(),
        stream_addresses,
        stream_ports: Some(stream_ports),
        tls: TlsContext::new()?
            .offering(config.map(|config| config.tls_versions).unwrap_or_default())
            .trusting(|| rustls_native_certs::load_native_certs().certs),
    };
    let outputs = control::Outputs {
        current,
        names: names_sender,
        published: published_sender,
        referenced: referenced_sender,
        reports,
    };
    let clock = || i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    tokio::spawn(control::run(World::awaiting(&sources), context, changes, outputs, clock));
    Ok((published, leadership))
}

/// What runs from the first snapshot on.
struct Serving<'a> {
    leadership: Option<Leadership>,
    options: &'a RunOptions,
    proxy: Proxy,
    published: watch::Receiver<bool>,
    readiness: Readiness,
    traffic: &'a Handle,
}

impl Serving<'_> {
    /// Serves until `stop`, then drains.
    async fn until(mut self, stop: impl Future<Output = ()>, started: impl FnOnce(&Addresses)) {
        let mut stop = std::pin::pin!(stop);
        // Not one connection is accepted before the configuration is complete: a missing policy would let clients in.
        tokio::select! {
            _ = self.published.wait_for(|published| *published) => {}
            () = &mut stop => return,
        }
        let mut http = self.proxy.local_addrs();
        let mut https = http.split_off(self.options.http_listen.len());
        let mut announced = https.split_off(self.options.https_listen.len());
        let streams = announced
            .split_off(self.options.http_proxy_protocol_listen.len() + self.options.https_proxy_protocol_listen.len());
        let (drain, draining) = drain::channel();
        self.traffic.spawn(self.proxy.run(draining));
        self.readiness.open(FIRST_SNAPSHOT);
        tracing::info!(?http, ?https, proxy_protocol = ?announced, ?streams, "serving");
        started(&Addresses { http, https });
        stop.await;
        let limit = self.options.drain_timeout;
        tracing::info!("stopping: requests under way have {limit:?} to finish");
        self.readiness.close(DRAINING);
        let vacate = async {
            if let Some(leadership) = self.leadership {
                leadership.vacate().await;
            }
        };
        let (finished, ()) = tokio::join!(drain.drain(limit), vacate);
        tracing::info!(finished, "stopped");
    }
}

fn open_manifests(roots: Vec<PathBuf>) -> anyhow::Result<Manifests> {
    Manifests::open(roots).map_err(|diagnostics| {
        let lines: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the manifests cannot be served:\n{}", lines.join("\n"))
    })
}

/// Waits for SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
