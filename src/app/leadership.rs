//! The one replica that writes status: competing for it, and giving it up in time.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::compile::Report;
use crate::status::{lease, writer};

/// How long giving up the lease may take; after that it expires by itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// A candidate for the lease, with the writer that follows it.
#[derive(Debug)]
pub(super) struct Leadership {
    competing: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Leadership {
    /// Competes for the lease in the pod's namespace and writes `reports` while it is held. Pod and namespace are named by
    /// `POD_NAME` and `POD_NAMESPACE`, which the chart sets.
    pub(super) fn start(client: Client, namespaces: Vec<String>, reports: watch::Receiver<Arc<Report>>) -> Self {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        // Outside of a pod the process number keeps two processes of one machine apart.
        let holder = variable("POD_NAME").unwrap_or_else(|| format!("portcullis-{}", std::process::id()));
        let namespace = variable("POD_NAMESPACE").unwrap_or_else(|| "default".to_owned());
        let (stop, stopped) = oneshot::channel::<()>();
        let (leader, leading) = watch::channel(false);
        let options = writer::Options { instance: Some(holder.clone()), namespaces };
        tokio::spawn(writer::run(client.clone(), options, reports, leading));
        let stopped = async {
            let _ = stopped.await; // an error means the same: the process ends
        };
        let competing = tokio::spawn(lease::run(client, lease::Options { holder, namespace }, leader, stopped));
        Self { competing, stop }
    }

    /// Gives the lease up, so that another replica takes over at once.
    pub(super) async fn vacate(self) {
        let _ = self.stop.send(()); // an error means that the task has ended already
        let _ = tokio::time::timeout(PATIENCE, self.competing).await;
    }
}
