//! Starts and joins everything. The only module that knows all others.

mod control;
mod problems;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::admin::Admin;
use crate::args::RunOptions;
use crate::compile::{Context, Report, TlsContext};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::model::SourceId;
use crate::proxy::{Proxy, Settings};
use crate::readiness::Readiness;
use crate::snapshot::Current;
use crate::source::manifests::Manifests;
use crate::world::World;
use crate::{drain, log};

/// Changes that may wait for the control loop; a source that is ahead of it waits.
const CHANGES: usize = 1024;

/// Runs until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// When something is missing to start with: no source, an address in use, manifests that cannot be read.
pub fn run(options: RunOptions) -> anyhow::Result<()> {
    let log = log::start(options.log_format, &options.log_level)?;
    let outcome = serve(options, &log, |_| Ok(()));
    log.flush();
    outcome
}

/// The addresses that are served, for `demo`, which may ask for port 0.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) https: Vec<SocketAddr>,
}

/// As [`run`]; `started` is called when the first snapshot is served.
pub(crate) fn serve(
    options: RunOptions,
    log: &Log,
    started: impl FnOnce(&Addresses) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let follows_kubernetes = options.follows_kubernetes();
    anyhow::ensure!(
        follows_kubernetes || !options.manifests.is_empty(),
        "nothing to serve: give --manifests DIRECTORY, --kubernetes, or both"
    );
    // Control and traffic have runtimes of their own, so that neither can stall the other.
    let control = tokio::runtime::Builder::new_current_thread().enable_all().thread_name("control").build()?;
    let traffic = traffic_runtime(options.workers)?;
    let current = Arc::new(Current::default());
    let metrics = Arc::new(Metrics::new(current.clone()));
    let proxy = {
        let _guard = traffic.enter();
        let settings = Settings {
            allow_plaintext_client_auth: options.allow_plaintext_client_auth,
            http: options.http_listen.clone(),
            https: options.https_listen.clone(),
            ..Settings::default()
        };
        Proxy::bind(settings, current.clone(), log.clone(), metrics.clone()).context("cannot listen for traffic")?
    };
    let mut http = proxy.local_addrs();
    let https = http.split_off(options.http_listen.len());
    let addresses = Addresses { http, https };
    let readiness = Readiness::default();
    control.block_on(async {
        let mut sources = Vec::new();
        let manifests = match options.manifests.as_slice() {
            [] => None,
            roots => {
                sources.push(SourceId::Manifests);
                Some(open_manifests(roots)?)
            }
        };
        if follows_kubernetes {
            sources.push(SourceId::Kubernetes);
        }
        let admin = Admin::bind(options.admin_listen, current.clone(), metrics, readiness.clone()).await?;
        tokio::spawn(admin.run());

        let (change_sender, changes) = mpsc::channel(CHANGES);
        let (reports, report) = watch::channel(Arc::new(Report::default()));
        let (referenced_sender, _referenced) = watch::channel(None);
        let (published, mut first) = watch::channel(false);
        tokio::spawn(problems::log(report.clone(), manifests.clone()));
        // KUBE
        if let Some(manifests) = manifests {
            tokio::spawn(follow_manifests(manifests, change_sender.clone()));
        }
        drop(change_sender);
        let context = Context {
            class: options.ingress_class.clone().into(),
            controller: options.controller_name.clone().into(),
            tls: TlsContext::new()?,
        };
        let outputs = control::Outputs { current, published, referenced: referenced_sender, reports };
        tokio::spawn(control::run(World::awaiting(&sources), context, changes, outputs));

        let mut stop = std::pin::pin!(stop_signal()?);
        // Not a single connection is accepted before the configuration is complete: a missing policy would let clients in.
        tokio::select! {
            _ = first.wait_for(|published| *published) => {}
            () = &mut stop => return anyhow::Ok(()),
        }
        readiness.published();
        let (drain, draining) = drain::channel();
        traffic.spawn(proxy.run(draining));
        started(&addresses)?;
        tracing::info!(http = ?addresses.http, https = ?addresses.https, "serving");
        stop.await;
        tracing::info!("stopping: requests under way have {:?} to finish", options.drain_timeout);
        readiness.draining();
        // VACATE
        let finished = drain.drain(options.drain_timeout).await;
        tracing::info!(finished, "stopped");
        Ok(())
    })?;
    traffic.shutdown_background();
    Ok(())
}

fn traffic_runtime(workers: Option<usize>) -> anyhow::Result<Runtime> {
    let workers =
        workers.filter(|workers| *workers > 0).unwrap_or_else(|| thread::available_parallelism().map_or(1, Into::into));
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .thread_name("traffic")
        .build()?)
}

fn open_manifests(roots: &[std::path::PathBuf]) -> anyhow::Result<Manifests> {
    Manifests::open(roots.to_vec()).map_err(|diagnostics| {
        let lines: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the manifests cannot be served:\n{}", lines.join("\n"))
    })
}

async fn follow_manifests(manifests: Manifests, changes: mpsc::Sender<crate::world::Change>) {
    if let Err(error) = manifests.run(changes).await {
        tracing::error!("the manifests cannot be watched, changes of files are not seen: {error}");
        std::future::pending::<()>().await; // the channel stays open: what was read is served
    }
}

/// Waits for SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
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
