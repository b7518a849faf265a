//! All resources, as the store told of them last, and which objects each of them stands for. A change costs what it touches: the
//! resource itself, and the routes of a service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::resource::{Id, Resource};
use super::route::Route;
use super::service::{Service, service};
use super::stream_route::StreamRoute;
use super::{plugins, ssl, upstream};
use crate::keyring::Keyring;
use crate::model::{self, Invalid, Meta, ObjectKey, Reason, ServiceSettings, SourceId};
use crate::resource::{Key, Kind};
use crate::store::{Entry, Update};
use crate::world::{Change, Object};

const SOURCE: SourceId = SourceId::Store;

/// What the store told.
pub(super) struct Resources {
    entries: BTreeMap<Key, Entry>,
    keyring: Arc<Keyring>,
    made: BTreeMap<Key, Made>,
    prefix: Arc<str>,
    /// The routes by the ids of their services.
    routes_of: BTreeMap<Arc<str>, BTreeSet<Key>>,
    services: BTreeMap<Arc<str>, Result<Service, Invalid>>,
}

/// The objects that a resource stands for.
type Objects = Vec<(ObjectKey, Object)>;

/// What a resource was made into.
#[derive(Debug, Default)]
struct Made {
    objects: BTreeSet<(model::Kind, ObjectKey)>,
    /// The id of the service that it takes from.
    service: Option<Arc<str>>,
}

impl Resources {
    pub(super) fn new(prefix: Arc<str>, keyring: Arc<Keyring>) -> Self {
        let (entries, made, routes_of, services) = Default::default();
        Self { entries, keyring, made, prefix, routes_of, services }
    }

    /// Takes `update` in: what changes in the world.
    pub(super) fn take(&mut self, update: Update) -> Change {
        match update {
            Update::All(listing) => {
                *self = Self::new(self.prefix.clone(), self.keyring.clone());
                let keys = listing.entries.into_iter().filter_map(|(key, entry)| {
                    let key = Key::parse(&key)?;
                    self.put(&key, Some(entry));
                    Some(key)
                });
                let keys: Vec<_> = keys.collect();
                let objects: Vec<_> = keys.iter().flat_map(|key| self.make(key).0).collect();
                let all = model::Kind::ALL.map(|kind| {
                    let objects = objects.iter().filter(|(_, object)| object.kind() == kind).cloned().collect();
                    Change::Replace { source: SOURCE, kind, objects }
                });
                Change::Together(all.into())
            }
            Update::Events(events) => {
                let mut touched = BTreeSet::new();
                for event in events {
                    let Some(key) = Key::parse(&event.key) else { continue };
                    self.put(&key, event.entry);
                    touched.insert(key);
                }
                let services = touched.iter().filter(|key| key.kind == Kind::Service);
                let routes = services.filter_map(|key| self.routes_of.get(&key.id)).flatten().cloned();
                let touched: BTreeSet<_> = routes.chain(touched.iter().cloned()).collect();
                Change::Together(touched.iter().flat_map(|key| self.changes(key)).collect())
            }
        }
    }

    /// Notes the text of a resource; `None` where it is gone.
    fn put(&mut self, key: &Key, entry: Option<Entry>) {
        if key.kind == Kind::Service {
            match &entry {
                None => self.services.remove(&key.id),
                Some(entry) => {
                    let read = json(entry).and_then(|value| service(key, value));
                    self.services.insert(key.id.clone(), read)
                }
            };
        }
        match entry {
            None => self.entries.remove(key),
            Some(entry) => self.entries.insert(key.clone(), entry),
        };
    }

    /// What changes in the world because the resource `key` was written, or what it takes from was.
    fn changes(&mut self, key: &Key) -> Vec<Change> {
        let (objects, gone) = self.make(key);
        let gone = gone.into_iter().map(|(kind, key)| Change::Remove { source: SOURCE, kind, key });
        let objects = objects.into_iter().map(|(key, object)| Change::Upsert { source: SOURCE, key, object });
        gone.chain(objects).collect()
    }

    /// The objects that the resource `key` stands for now, and those that it does not stand for any more.
    fn make(&mut self, key: &Key) -> (Objects, BTreeSet<(model::Kind, ObjectKey)>) {
        let (objects, service) = self.entries.get(key).map(|entry| self.translate(key, entry)).unwrap_or_default();
        let now = objects.iter().map(|(key, object)| (object.kind(), key.clone())).collect();
        let made = Made { objects: now, service: service.clone() };
        let before = self.made.remove(key).unwrap_or_default();
        let gone = before.objects.difference(&made.objects).cloned().collect();
        if let Some(service) = before.service
            && let Some(routes) = self.routes_of.get_mut(&service)
        {
            routes.remove(key);
            if routes.is_empty() {
                self.routes_of.remove(&service);
            }
        }
        if let Some(service) = service {
            self.routes_of.entry(service).or_default().insert(key.clone());
        }
        if self.entries.contains_key(key) {
            self.made.insert(key.clone(), made);
        }
        (objects, gone)
    }

    /// The objects that the resource stands for, and the id of the service that it takes from.
    fn translate(&self, key: &Key, entry: &Entry) -> (Objects, Option<Arc<str>>) {
        let value = json(entry);
        // One whose age nobody knows takes no host over; one that cannot be read keeps those that it had.
        let created = value.as_ref().map_or(0, |value| value["create_time"].as_i64().unwrap_or(i64::MAX));
        let generation = i64::try_from(entry.modified).unwrap_or(i64::MAX);
        let meta = Meta { created, generation };
        let resource = Resource { key, keyring: &self.keyring, meta, prefix: &self.prefix };
        let objects = match (key.kind, value) {
            (Kind::Route, value) => return self.route(&resource, value),
            (Kind::StreamRoute, value) => return self.stream_route(&resource, value),
            (Kind::Ssl, Ok(value)) => ssl::objects(&resource, value),
            (Kind::Ssl, Err(why)) => vec![ssl::unreadable(&resource, &entry.value, why)],
            (Kind::Upstream, Ok(value)) => upstream::objects(&resource, value, ""),
            (Kind::Upstream, Err(why)) => vec![bad_upstream(&resource, why)],
            (Kind::Service, value) => match (self.services.get(&key.id), value) {
                (Some(Err(why)), _) => vec![bad_upstream(&resource, why.clone())],
                (_, Ok(mut value)) if !value["upstream"].is_null() => {
                    upstream::objects(&resource, value["upstream"].take(), "upstream.")
                }
                _ => Vec::new(),
            },
            (Kind::GlobalRule, value) => match value.and_then(|value| global_rule(&value)) {
                Ok(()) => Vec::new(),
                Err(why) => vec![route_object(&resource, Err(why))],
            },
            // They say nothing unless a plugin uses them, and none is served.
            (
                Kind::PluginConfig
                | Kind::Consumer
                | Kind::Credential
                | Kind::ConsumerGroup
                | Kind::PluginMetadata
                | Kind::Proto
                | Kind::Secret,
                _,
            ) => Vec::new(),
        };
        (objects, None)
    }

    fn route(&self, resource: &Resource<'_>, value: Result<Value, Invalid>) -> (Objects, Option<Arc<str>>) {
        let mut route = match value.and_then(Route::read) {
            Ok(route) if route.is_off() => return (Vec::new(), None),
            Ok(route) => route,
            Err(why) => return (vec![route_object(resource, Err(why))], None),
        };
        let (service, id) = self.service_of(route.service_id.as_ref());
        let merged = service.and_then(|service| route.merged(resource, service));
        (with_upstream(resource, merged, route.upstream.take()), id)
    }

    fn stream_route(&self, resource: &Resource<'_>, value: Result<Value, Invalid>) -> (Objects, Option<Arc<str>>) {
        let mut route = match value.and_then(StreamRoute::read) {
            Ok(route) => route,
            Err(why) => return (vec![route_object(resource, Err(why))], None),
        };
        let (service, id) = self.service_of(route.service_id.as_ref());
        let merged = service.and_then(|service| route.merged(resource, service));
        (with_upstream(resource, merged, route.upstream.take()), id)
    }

    /// The service that is referred to, and its id.
    fn service_of(&self, id: Option<&Id>) -> (Result<Option<&Service>, Invalid>, Option<Arc<str>>) {
        let id: Option<Arc<str>> = id.map(|id| id.to_string().into());
        (id.as_ref().map(|id| self.service(id)).transpose(), id)
    }

    fn service(&self, id: &Arc<str>) -> Result<&Service, Invalid> {
        let unusable = |why: String| {
            let key = Key::new(Kind::Service, id.clone());
            Invalid::new(Reason::RefNotFound, "service_id", format!("{}/{key} {why}", self.prefix))
        };
        match self.services.get(id) {
            Some(Ok(service)) => Ok(service),
            Some(Err(why)) => Err(unusable(format!("is refused: {why}"))),
            None => Err(unusable("does not exist".to_owned())),
        }
    }
}

fn json(entry: &Entry) -> Result<Value, Invalid> {
    let value: Value =
        serde_json::from_str(&entry.value).map_err(|error| Invalid::spec("value", format!("is no JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(Invalid::spec("value", "must be an object")) }
}

fn route_object(resource: &Resource<'_>, route: Result<model::Route, Invalid>) -> (ObjectKey, Object) {
    (resource.name(), Object::ApisixRoute(resource.observed(route)))
}

/// A route, and the upstream that stands in it.
fn with_upstream(resource: &Resource<'_>, route: Result<model::Route, Invalid>, inside: Option<Value>) -> Objects {
    let upstream = inside.map(|inside| upstream::objects(resource, inside, "upstream."));
    std::iter::once(route_object(resource, route)).chain(upstream.into_iter().flatten()).collect()
}

/// An upstream, or a service with one, that cannot be used.
fn bad_upstream(resource: &Resource<'_>, why: Invalid) -> (ObjectKey, Object) {
    let settings = ServiceSettings { class: None, settings: Err(why) };
    (resource.name(), Object::ApisixUpstream(Box::new(resource.observed(Ok(settings)))))
}

/// Refuses a global rule that does something: every request would have to pass its plugins.
fn global_rule(value: &Value) -> Result<(), Invalid> {
    plugins::refuse(value["plugins"].as_object())
}

#[cfg(test)]
mod tests;
