//! Writes the conditions of a report into the objects it is about.
//!
//! By server-side apply: it needs no read before the write, and owns our three conditions alone, so that those of others
//! stay where the list is a map by type (in our definitions). Where the list is atomic (in APISIX's own definitions) it
//! replaces the list, which is right as long as we are its only writer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::MANAGER;
use super::conditions::{conditions, says};
use super::events::Events;
use crate::api::{self, ApisixRoute, ApisixTls, ApisixUpstream};
use crate::compile::Report;
use crate::model::{Kind, ObjectKey, ObjectRef, SourceId};

/// One write per interval in the long run: 50 a second.
const INTERVAL: Duration = Duration::from_millis(20);

/// Writes that may come at once after a pause.
const BURST: u32 = 100;

/// The wait after a failure; it doubles up to [`LONGEST`].
const RETRY: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// After which a request has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the writer needs to know of its surroundings.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    /// This replica, as events name it.
    pub(super) instance: Option<String>,
    /// The namespaces whose objects are ours; all where it is empty.
    pub(super) namespaces: Vec<String>,
}

/// Writes the newest report whenever `leader` is true, until `reports` ends.
pub(super) async fn run(
    client: Client,
    options: Options,
    mut reports: watch::Receiver<Arc<Report>>,
    mut leader: watch::Receiver<bool>,
) {
    loop {
        if leader.wait_for(|leader| *leader).await.is_err() {
            return;
        }
        let writer = Writer::new(client.clone(), &options);
        tokio::select! {
            ended = writer.write(&mut reports) => if ended.is_err() { return },
            lost = leader.wait_for(|leader| !*leader) => if lost.is_err() { return },
        }
    }
}

struct Writer<'a> {
    client: Client,
    events: Events,
    /// What could not be written and waits for its next turn, so that one object does not hold up the others.
    failed: BTreeSet<ObjectRef>,
    options: &'a Options,
    pace: Pace,
    /// What is not written yet.
    pending: BTreeSet<ObjectRef>,
    /// The conditions that each object was last seen with.
    written: BTreeMap<ObjectRef, Vec<api::Condition>>,
}

impl<'a> Writer<'a> {
    fn new(client: Client, options: &'a Options) -> Self {
        Self {
            events: Events::new(client.clone(), options.instance.clone()),
            client,
            failed: BTreeSet::new(),
            options,
            pace: Pace::default(),
            pending: BTreeSet::new(),
            written: BTreeMap::new(),
        }
    }

    /// Writes until `reports` ends.
    async fn write(mut self, reports: &mut watch::Receiver<Arc<Report>>) -> Result<(), watch::error::RecvError> {
        self.read().await;
        let mut report = Arc::new(Report::default());
        let mut retry = RETRY;
        reports.mark_changed();
        loop {
            if self.pending.is_empty() {
                self.pending = std::mem::take(&mut self.failed);
            }
            // The newest report wins: an object is written as it is now, not as it was when it was queued.
            if self.pending.is_empty() || reports.has_changed()? {
                reports.changed().await?;
                let new = reports.borrow_and_update().clone();
                self.compare(&report, &new);
                report = new;
            }
            let Some(object) = self.pending.pop_first() else { continue };
            match self.write_one(&object, &report).await {
                Ok(()) => retry = RETRY,
                Err(error) => {
                    if retry == RETRY {
                        tracing::warn!(%object, %error, "status cannot be written; trying again");
                    }
                    self.failed.insert(object);
                    sleep(retry).await;
                    retry = (retry * 2).min(LONGEST);
                }
            }
        }
    }

    /// Queues what differs between two reports, and forgets what left.
    fn compare(&mut self, old: &Report, new: &Report) {
        for (object, report) in &new.objects {
            let before = old.objects.get(object);
            if report.source != SourceId::Kubernetes || before == Some(report) {
                continue;
            }
            if before.is_some_and(|before| before.meta.created != report.meta.created) {
                self.written.remove(object); // another object of the same name, without a status
            }
            self.pending.insert(object.clone());
        }
        self.pending.retain(|object| new.objects.contains_key(object));
        self.failed.retain(|object| new.objects.contains_key(object));
        // An object of a class that is ours no longer keeps its conditions until its new owner writes them.
        self.written.retain(|object, _| new.objects.contains_key(object));
    }

    async fn write_one(&mut self, object: &ObjectRef, report: &Report) -> Result<(), kube::Error> {
        let Some(about) = report.objects.get(object) else { return Ok(()) };
        let written = self.written.get(object).map(Vec::as_slice).unwrap_or_default();
        let wanted = conditions(about, written, &Time(Timestamp::now()));
        if says(written, &wanted) {
            return Ok(());
        }
        self.pace.wait().await;
        let patched = match object.kind {
            Kind::ApisixRoute => patch::<ApisixRoute>(&self.client, &object.key, &wanted).await,
            Kind::ApisixTls => patch::<ApisixTls>(&self.client, &object.key, &wanted).await,
            Kind::ApisixUpstream => patch::<ApisixUpstream>(&self.client, &object.key, &wanted).await,
            Kind::ConfigMap | Kind::EndpointSlice | Kind::IngressClass | Kind::Secret | Kind::Service => return Ok(()),
        };
        match patched {
            Ok(reference) => {
                // An event is worth less than the next object's status.
                let _ = timeout(PATIENCE, self.events.tell(about, written, &reference)).await;
            }
            // The object is gone, and soon from the report too.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            // The API server will never take it: to try again would only hold up the others.
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                tracing::warn!(%object, error = status.message, "status was refused");
            }
            Err(error) => return Err(error),
        }
        self.written.insert(object.clone(), wanted);
        Ok(())
    }

    /// Reads what the objects' statuses say, so that a new leader neither repeats nor re-dates anything.
    async fn read(&mut self) {
        let mut written = self.read_kind(Kind::ApisixRoute, |route: ApisixRoute| route.status).await;
        written.append(&mut self.read_kind(Kind::ApisixTls, |tls: ApisixTls| tls.status).await);
        written.append(&mut self.read_kind(Kind::ApisixUpstream, |upstream: ApisixUpstream| upstream.status).await);
        self.written = written;
    }

    async fn read_kind<K>(&self, kind: Kind, status: fn(K) -> api::Status) -> BTreeMap<ObjectRef, Vec<api::Condition>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let mut found = BTreeMap::new();
        let apis: Vec<Api<K>> = match self.options.namespaces.as_slice() {
            [] => vec![Api::all(self.client.clone())],
            some => some.iter().map(|namespace| Api::namespaced(self.client.clone(), namespace)).collect(),
        };
        for api in apis {
            let mut page = ListParams::default().limit(500);
            let mut retry = RETRY;
            loop {
                let list = match timeout(PATIENCE, api.list(&page)).await {
                    Ok(Ok(list)) => list,
                    // Without the definition there is nothing to write to.
                    Ok(Err(kube::Error::Api(status))) if status.code == 404 => break,
                    failed => {
                        tracing::debug!(?failed, %kind, "statuses cannot be read");
                        page.continue_token = None; // it may have expired
                        sleep(retry).await;
                        retry = (retry * 2).min(LONGEST);
                        continue;
                    }
                };
                for object in list.items {
                    let metadata = object.meta();
                    let namespace = metadata.namespace.as_deref().unwrap_or_default();
                    let key = ObjectKey::new(namespace, metadata.name.as_deref().unwrap_or_default());
                    let conditions = status(object).conditions;
                    if !conditions.is_empty() {
                        found.insert(ObjectRef { kind, key }, conditions);
                    }
                }
                page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
                if page.continue_token.is_none() {
                    break;
                }
            }
        }
        found
    }
}

async fn patch<K>(
    client: &Client,
    key: &ObjectKey,
    conditions: &[api::Condition],
) -> Result<ObjectReference, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = Api::<K>::namespaced(client.clone(), &key.namespace);
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": &*key.name, "namespace": &*key.namespace},
        "status": {"conditions": conditions},
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(body);
    match timeout(PATIENCE, api.patch_status(&key.name, &parameters, &patch)).await {
        Ok(patched) => patched.map(|object| object.object_ref(&())),
        Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
    }
}

/// Spaces writes out: [`BURST`] at once, then one per [`INTERVAL`].
#[derive(Debug, Default)]
struct Pace {
    /// When the next write would be due if writes had always been spaced out.
    due: Option<Instant>,
}

impl Pace {
    async fn wait(&mut self) {
        let now = Instant::now();
        let due = self.due.unwrap_or(now).max(now);
        sleep((due - now).saturating_sub(INTERVAL * BURST)).await;
        self.due = Some(due + INTERVAL);
    }
}

#[cfg(test)]
mod tests;
