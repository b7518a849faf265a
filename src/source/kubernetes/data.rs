//! Secrets and `ConfigMap`s: of all of them only names and versions are watched; only those that some object refers to are ever
//! fetched, so that no other private key enters the process.

mod wanted;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, SelectAll, Stream, StreamExt};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use tokio::sync::{mpsc, watch as latest};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::wanted::{Fetched, Wanted};
use super::health::{Health, explain_request};
use super::{Options, scopes, watches};
use crate::model::{Kind, ObjectKey, ObjectRef};
use crate::readiness::Readiness;
use crate::source::parse::{Observe, key, observe};
use crate::world::Change;

/// Helm's releases and tokens of service accounts: most Secrets of many clusters, and never a certificate.
const NOT_OURS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token";

/// How often objects are fetched that no working watch covers.
const POLL: Duration = Duration::from_secs(60);

/// After which a fetch has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Delivers the objects of the kind that `referenced` names until nobody receives `changes`.
pub(super) async fn run<K>(
    client: &Client,
    options: &Options,
    changes: &mpsc::Sender<Change>,
    referenced: latest::Receiver<Option<BTreeSet<ObjectRef>>>,
    readiness: &Readiness,
) where
    K: Observe + Resource<Scope = NamespaceResourceScope> + Clone + Debug + Send + 'static,
{
    let mut config = watcher::Config::default();
    if K::KIND == Kind::Secret {
        config = config.fields(NOT_OURS);
    }
    let namespaces = scopes(options).into_iter().map(|namespace| namespace.map(str::to_owned));
    let watches = watches::<PartialObjectMeta<K>>(client, options, K::KIND, &config);
    let watches = namespaces.zip(watches).map(|(scope, (name, watch))| (scope, name, watch)).collect();
    let get = |key: ObjectKey| {
        let client = client.clone();
        async move { get::<K>(client, &key).await }
    };
    deliver(K::KIND, watches, get, changes, referenced, readiness).await;
}

async fn get<K>(client: Client, key: &ObjectKey) -> Fetched
where
    K: Observe + Resource<Scope = NamespaceResourceScope> + Clone + Debug,
{
    let api = Api::<K>::namespaced(client, &key.namespace);
    match timeout(PATIENCE, api.get_opt(&key.name)).await {
        Ok(Ok(Some(object))) => {
            let version = object.meta().resource_version.clone().unwrap_or_default();
            Fetched::Found(version, observe(object).1)
        }
        Ok(Ok(None)) => Fetched::Missing,
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Fetched::Forbidden(status.message.clone()),
        Ok(Err(error @ kube::Error::Api(_))) => Fetched::Refused(explain_request(&error)),
        Ok(Err(error)) => Fetched::Unanswered(explain_request(&error)),
        Err(_) => Fetched::Unanswered(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// One watch: its namespace or `None` for all, its name, its events.
type Watched<S> = (Option<String>, String, S);

async fn deliver<K, S, G, F>(
    kind: Kind,
    watches: Vec<Watched<S>>,
    get: G,
    changes: &mpsc::Sender<Change>,
    mut referenced: latest::Receiver<Option<BTreeSet<ObjectRef>>>,
    readiness: &Readiness,
) where
    S: Stream<Item = Result<Event<PartialObjectMeta<K>>, watcher::Error>> + Unpin,
    G: Fn(ObjectKey) -> F,
    F: Future<Output = Fetched> + Send,
{
    let mut healths = Vec::new();
    let mut events = SelectAll::new();
    let mut scopes = Vec::new();
    for (index, (scope, name, watch)) in watches.into_iter().enumerate() {
        scopes.push(scope);
        healths.push(Health::new(name, readiness));
        events.push(watch.map(move |event| (index, event)));
    }
    let mut wanted = Wanted::new(kind, scopes);
    let mut fetches = FuturesUnordered::new();
    let mut waits = FuturesUnordered::<BoxFuture<'_, ObjectKey>>::new();
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    referenced.mark_changed();
    loop {
        let new = tokio::select! {
            latest = referenced.changed() => match latest {
                Ok(()) => referenced.borrow_and_update().as_ref().map_or_else(Vec::new, |all| wanted.want(all)),
                Err(_) => return,
            },
            Some((index, event)) = events.next() => {
                match event {
                    Ok(Event::Init) => wanted.begin(index),
                    Ok(Event::InitApply(object)) => {
                        wanted.list(index, &key(&object.metadata), object.metadata.resource_version.as_deref());
                    }
                    Ok(Event::InitDone) => {
                        healths[index].works();
                        wanted.listed(index);
                    }
                    Ok(Event::Apply(object)) => {
                        wanted.notice(&key(&object.metadata), object.metadata.resource_version.as_deref());
                    }
                    Ok(Event::Delete(object)) => wanted.notice(&key(&object.metadata), None),
                    Err(error) => {
                        healths[index].fails(&error);
                    }
                }
                Vec::new()
            }
            Some((key, ticket, result)) = fetches.next() => {
                let (new, wait) = wanted.fetched(&key, ticket, result);
                if let Some(wait) = wait {
                    waits.push(Box::pin(async move { sleep(wait).await; key }));
                }
                new
            }
            Some(key) = waits.next() => {
                wanted.waited(&key);
                Vec::new()
            }
            _ = poll.tick() => {
                let failing: Vec<_> = healths.iter().map(Health::is_failing).collect();
                wanted.poll(&failing);
                Vec::new()
            }
        };
        while let Some((key, ticket)) = wanted.next() {
            let fetch = get(key.clone());
            fetches.push(async move { (key, ticket, fetch.await) });
        }
        for change in new.into_iter().chain(wanted.first()) {
            if changes.send(change).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
