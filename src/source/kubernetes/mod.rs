//! The API server as a source: one watch per kind, Secrets and `ConfigMap`s apart.
//!
//! Whatever the API server does, the last state stays: what fails is shown in [`Readiness`], logged once when it starts and
//! once when it ends, and tried again.

mod data;
mod follow;
mod health;
mod watch;

use std::collections::BTreeSet;
use std::fmt::Debug;

use kube::core::NamespaceResourceScope;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch as latest};

use self::follow::follow;
use self::watch::{Watch, watch};
use super::parse::SERVICE_LABEL;
use crate::api;
use crate::model::{Kind, ObjectRef};
use crate::readiness::Readiness;
use crate::world::Change;

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The namespaces to watch; all where it is empty.
    pub namespaces: Vec<String>,
}

/// Follows the API server until nobody receives `changes` any more.
///
/// `referenced` says which Secrets and `ConfigMap`s are wanted: `None` until the other kinds are listed.
pub async fn run(
    client: Client,
    options: Options,
    changes: mpsc::Sender<Change>,
    referenced: latest::Receiver<Option<BTreeSet<ObjectRef>>>,
    readiness: Readiness,
) {
    let (all, client, options, readiness) = (watcher::Config::default(), &client, &options, &readiness);
    let changes = &changes;
    let routes = watches(client, options, Kind::ApisixRoute, &all);
    let tls = watches(client, options, Kind::ApisixTls, &all);
    let upstreams = watches(client, options, Kind::ApisixUpstream, &all);
    let services = watches(client, options, Kind::Service, &all);
    // A slice without a Service belongs to nobody who could be routed to.
    let slices = watches(client, options, Kind::EndpointSlice, &all.clone().labels(SERVICE_LABEL));
    let classes = vec![(Kind::IngressClass.to_string(), watch(Api::all(client.clone()), all))];
    tokio::join!(
        follow::<api::ApisixRoute, _>(routes, changes, readiness),
        follow::<api::ApisixTls, _>(tls, changes, readiness),
        follow::<api::ApisixUpstream, _>(upstreams, changes, readiness),
        follow::<api::Service, _>(services, changes, readiness),
        follow::<api::EndpointSlice, _>(slices, changes, readiness),
        follow::<api::IngressClass, _>(classes, changes, readiness),
        data::run::<api::ConfigMap>(client, options, changes, referenced.clone(), readiness),
        data::run::<api::Secret>(client, options, changes, referenced, readiness),
    );
}

/// One named watch for all namespaces, or one for each.
fn watches<K>(client: &Client, options: &Options, kind: Kind, config: &watcher::Config) -> Vec<(String, Watch<K>)>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let one = |namespace: Option<&str>| match namespace {
        None => (kind.to_string(), watch(Api::all(client.clone()), config.clone())),
        Some(namespace) => {
            (format!("{kind} in {namespace}"), watch(Api::namespaced(client.clone(), namespace), config.clone()))
        }
    };
    scopes(options).into_iter().map(one).collect()
}

/// The namespaces to watch, each once; `None` for all.
fn scopes(options: &Options) -> BTreeSet<Option<&str>> {
    if options.namespaces.is_empty() {
        return [None].into();
    }
    options.namespaces.iter().map(|namespace| Some(namespace.as_str())).collect()
}
