//! What we owe the people who wrote the objects: conditions and events. Every replica compiles; the one that holds the
//! lease writes.

mod conditions;
mod events;
mod lease;
mod writer;

use std::future::Future;
use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;

use crate::compile::Report;

/// Names us as the owner of what is written, and in events.
const MANAGER: &str = "portcullis";

/// Who writes, and about what.
#[derive(Clone, Debug)]
pub struct Options {
    /// This replica: its pod's name. It must differ between replicas.
    pub instance: String,
    /// The namespace of the lease: the pod's own.
    pub lease_namespace: String,
    /// The namespaces whose objects are ours; all where it is empty.
    pub namespaces: Vec<String>,
}

/// Writes the newest report whenever this replica holds the lease, until `stop` completes; then gives the lease back, which
/// takes two seconds at most.
pub async fn run(
    client: Client,
    options: Options,
    reports: watch::Receiver<Arc<Report>>,
    stop: impl Future<Output = ()>,
) {
    let Options { instance, lease_namespace, namespaces } = options;
    let (sender, leader) = watch::channel(false);
    let claim = lease::Options { holder: instance.clone(), namespace: lease_namespace };
    let writer = writer::Options { instance: Some(instance), namespaces };
    tokio::join!(lease::run(client.clone(), claim, sender, stop), writer::run(client, writer, reports, leader));
}
