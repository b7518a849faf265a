//! The only mutable state of the control plane: what the sources said last. Owned by one task; readers get the compiled
//! [`crate::snapshot::Snapshot`], never this.

mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

pub use self::names::Lookup;
use self::names::Names;

use crate::model::{
    Data, EndpointSlice, IngressClass, Invalid, Kind, Meta, ObjectKey, ObjectRef, Route, Service, ServiceSettings,
    SourceId, TlsHost,
};

/// An object as its source parsed it, with the metadata that takes part in decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed<T> {
    /// Age and generation.
    pub meta: Meta,
    /// The object, or why it cannot be used.
    pub value: Result<T, Invalid>,
}

/// One object of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// An ApisixRoute.
    ApisixRoute(Observed<Route>),
    /// An ApisixTls.
    ApisixTls(Observed<TlsHost>),
    /// An ApisixUpstream.
    ApisixUpstream(Box<Observed<ServiceSettings>>),
    /// A ConfigMap.
    ConfigMap(Observed<Data>),
    /// An EndpointSlice.
    EndpointSlice(Observed<EndpointSlice>),
    /// An IngressClass.
    IngressClass(Observed<IngressClass>),
    /// A Secret.
    Secret(Observed<Data>),
    /// A Service.
    Service(Observed<Service>),
}

impl Object {
    /// The object's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::ApisixRoute(_) => Kind::ApisixRoute,
            Self::ApisixTls(_) => Kind::ApisixTls,
            Self::ApisixUpstream(_) => Kind::ApisixUpstream,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::IngressClass(_) => Kind::IngressClass,
            Self::Secret(_) => Kind::Secret,
            Self::Service(_) => Kind::Service,
        }
    }
}

/// What a source tells the world.
#[derive(Debug)]
pub enum Change {
    /// DNS was asked about a name.
    Lookup {
        /// The name as it was wanted.
        name: Arc<str>,
        /// Its addresses, at least one, or why there are none.
        answer: Result<BTreeSet<IpAddr>, String>,
    },
    /// The object is gone.
    Remove {
        /// Which source says so.
        source: SourceId,
        /// The object's kind.
        kind: Kind,
        /// The object's key.
        key: ObjectKey,
    },
    /// These are all objects of the kind that the source has: a complete list. The first one makes the kind listed.
    Replace {
        /// Which source says so.
        source: SourceId,
        /// The kind that is listed.
        kind: Kind,
        /// Every object of the kind; objects of another kind are ignored.
        objects: Vec<(ObjectKey, Object)>,
    },
    /// These belong together: nothing is compiled between them.
    Together(Vec<Change>),
    /// The object is new or has changed.
    Upsert {
        /// Which source says so.
        source: SourceId,
        /// The object's key.
        key: ObjectKey,
        /// The object.
        object: Object,
    },
}

type Map<T> = BTreeMap<(ObjectKey, SourceId), Arc<Observed<T>>>;

/// One map per kind. Values are shared, so that `compile` can tell by pointer what did not change.
#[derive(Clone, Debug, Default)]
pub struct World {
    classes: Map<IngressClass>,
    config_maps: Map<Data>,
    names: Names,
    routes: Map<Route>,
    secrets: Map<Data>,
    services: Map<Service>,
    slices: Map<EndpointSlice>,
    tls: Map<TlsHost>,
    upstreams: Map<ServiceSettings>,
    pending: BTreeSet<(SourceId, Kind)>,
    /// Namespace and Service name to the keys of its slices: a Service's endpoints without a scan of all slices.
    slices_of: BTreeMap<ObjectKey, BTreeSet<(ObjectKey, SourceId)>>,
}

impl World {
    /// A world that is complete once each of `sources` has listed every kind.
    pub fn awaiting(sources: &[SourceId]) -> Self {
        let pending = sources.iter().flat_map(|source| Kind::ALL.map(|kind| (*source, kind))).collect();
        Self { pending, ..Self::default() }
    }

    /// Whether every awaited source has listed every kind once. Before that, nothing may be served: a missing ApisixTls
    /// would let clients in.
    pub fn is_complete(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether every kind that may refer to others is listed.
    pub fn knows_references(&self) -> bool {
        self.pending.iter().all(|(_, kind)| kind.is_referenced())
    }

    /// Takes a change in; says whether anything is different now (including that a kind was listed for the first time).
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Lookup { name, answer } => self.names.note(name, answer),
            Change::Remove { source, kind, key } => self.remove(kind, &(key, source)),
            Change::Replace { source, kind, objects } => {
                let listed = self.pending.remove(&(source, kind));
                let kept: BTreeSet<&ObjectKey> = objects.iter().map(|(key, _)| key).collect();
                let gone: Vec<_> = self.keys(kind, source).filter(|key| !kept.contains(key)).collect();
                let mut changed = listed;
                for key in gone {
                    changed |= self.remove(kind, &(key, source));
                }
                for (key, object) in objects {
                    changed |= object.kind() == kind && self.upsert((key, source), object);
                }
                changed
            }
            Change::Together(changes) => {
                changes.into_iter().fold(false, |changed, change| self.apply(change) | changed)
            }
            Change::Upsert { source, key, object } => self.upsert((key, source), object),
        }
    }

    fn keys(&self, kind: Kind, source: SourceId) -> impl Iterator<Item = ObjectKey> {
        fn of<T>(map: &Map<T>, source: SourceId) -> Vec<ObjectKey> {
            map.keys().filter(|(_, from)| *from == source).map(|(key, _)| key.clone()).collect()
        }
        match kind {
            Kind::ApisixRoute => of(&self.routes, source),
            Kind::ApisixTls => of(&self.tls, source),
            Kind::ApisixUpstream => of(&self.upstreams, source),
            Kind::ConfigMap => of(&self.config_maps, source),
            Kind::EndpointSlice => of(&self.slices, source),
            Kind::IngressClass => of(&self.classes, source),
            Kind::Secret => of(&self.secrets, source),
            Kind::Service => of(&self.services, source),
        }
        .into_iter()
    }

    fn upsert(&mut self, id: (ObjectKey, SourceId), object: Object) -> bool {
        fn put<T: PartialEq>(map: &mut Map<T>, id: (ObjectKey, SourceId), value: Observed<T>) -> bool {
            if map.get(&id).is_some_and(|old| **old == value) {
                return false;
            }
            map.insert(id, Arc::new(value));
            true
        }
        match object {
            Object::ApisixRoute(value) => put(&mut self.routes, id, value),
            Object::ApisixTls(value) => put(&mut self.tls, id, value),
            Object::ApisixUpstream(value) => put(&mut self.upstreams, id, *value),
            Object::ConfigMap(value) => put(&mut self.config_maps, id, value),
            Object::EndpointSlice(value) => {
                if self.slices.get(&id).is_some_and(|old| **old == value) {
                    return false;
                }
                self.unlink_slice(&id);
                if let Ok(slice) = &value.value {
                    let service = ObjectKey::new(id.0.namespace.clone(), slice.service.clone());
                    self.slices_of.entry(service).or_default().insert(id.clone());
                }
                put(&mut self.slices, id, value)
            }
            Object::IngressClass(value) => put(&mut self.classes, id, value),
            Object::Secret(value) => put(&mut self.secrets, id, value),
            Object::Service(value) => put(&mut self.services, id, value),
        }
    }

    fn remove(&mut self, kind: Kind, id: &(ObjectKey, SourceId)) -> bool {
        match kind {
            Kind::ApisixRoute => self.routes.remove(id).is_some(),
            Kind::ApisixTls => self.tls.remove(id).is_some(),
            Kind::ApisixUpstream => self.upstreams.remove(id).is_some(),
            Kind::ConfigMap => self.config_maps.remove(id).is_some(),
            Kind::EndpointSlice => {
                self.unlink_slice(id);
                self.slices.remove(id).is_some()
            }
            Kind::IngressClass => self.classes.remove(id).is_some(),
            Kind::Secret => self.secrets.remove(id).is_some(),
            Kind::Service => self.services.remove(id).is_some(),
        }
    }

    fn unlink_slice(&mut self, id: &(ObjectKey, SourceId)) {
        let Some(Ok(slice)) = self.slices.get(id).map(|old| &old.value) else { return };
        let service = ObjectKey::new(id.0.namespace.clone(), slice.service.clone());
        if let Some(keys) = self.slices_of.get_mut(&service) {
            keys.remove(id);
            if keys.is_empty() {
                self.slices_of.remove(&service);
            }
        }
    }

    /// Every ApisixRoute; where two sources have the same key, the smaller source's.
    pub fn routes(&self) -> impl Iterator<Item = (&ObjectKey, SourceId, &Arc<Observed<Route>>)> {
        distinct(&self.routes)
    }

    /// Every ApisixTls; where two sources have the same key, the smaller source's.
    pub fn tls(&self) -> impl Iterator<Item = (&ObjectKey, SourceId, &Arc<Observed<TlsHost>>)> {
        distinct(&self.tls)
    }

    /// Every ApisixUpstream; where two sources have the same key, the smaller source's.
    pub fn upstreams(&self) -> impl Iterator<Item = (&ObjectKey, SourceId, &Arc<Observed<ServiceSettings>>)> {
        distinct(&self.upstreams)
    }

    /// The ApisixUpstream of a Service, if there is one.
    pub fn upstream(&self, service: &ObjectKey) -> Option<&Arc<Observed<ServiceSettings>>> {
        first(&self.upstreams, service)
    }

    /// The IngressClass called `name`.
    pub fn class(&self, name: &str) -> Option<&Arc<Observed<IngressClass>>> {
        first(&self.classes, &ObjectKey::new("", name))
    }

    /// The data of a Secret or ConfigMap, if a source has delivered it. Objects of other kinds have none.
    pub fn data(&self, object: &ObjectRef) -> Option<&Arc<Observed<Data>>> {
        match object.kind {
            Kind::ConfigMap => first(&self.config_maps, &object.key),
            Kind::Secret => first(&self.secrets, &object.key),
            _ => None,
        }
    }

    /// The Service, if there is one.
    pub fn service(&self, key: &ObjectKey) -> Option<&Arc<Observed<Service>>> {
        first(&self.services, key)
    }

    /// The usable EndpointSlices of a Service.
    pub fn slices(&self, service: &ObjectKey) -> impl Iterator<Item = &EndpointSlice> {
        let keys = self.slices_of.get(service).into_iter().flatten();
        keys.filter_map(|id| self.slices.get(id)?.value.as_ref().ok())
    }

    /// What DNS said about a name; `None` before it was asked.
    pub fn lookup(&self, name: &str) -> Option<&Lookup> {
        self.names.get(name)
    }

    /// Forgets every name that is not `wanted`.
    pub fn keep_names(&mut self, wanted: &BTreeSet<Arc<str>>) {
        self.names.keep(wanted);
    }

    /// The Secrets and `ConfigMap`s that any ApisixTls or ApisixUpstream refers to: the only ones that are ever fetched. What resources of
    /// the store refer to comes with them.
    pub fn referenced(&self) -> BTreeSet<ObjectRef> {
        fn values<T>(map: &Map<T>) -> impl Iterator<Item = &T> {
            let foreign = map.iter().filter(|((_, source), _)| *source != SourceId::Store);
            foreign.filter_map(|(_, observed)| observed.value.as_ref().ok())
        }
        let hosts = values(&self.tls).flat_map(TlsHost::references);
        let upstreams = values(&self.upstreams);
        hosts.chain(upstreams.flat_map(ServiceSettings::references)).collect()
    }
}

fn first<'a, T>(map: &'a Map<T>, key: &ObjectKey) -> Option<&'a Arc<Observed<T>>> {
    let start = (key.clone(), SourceId::Kubernetes);
    map.range(start..).next().filter(|((found, _), _)| found == key).map(|(_, value)| value)
}

fn distinct<T>(map: &Map<T>) -> impl Iterator<Item = (&ObjectKey, SourceId, &Arc<Observed<T>>)> {
    let mut last: Option<&ObjectKey> = None;
    map.iter().filter_map(move |((key, source), value)| {
        let shadowed = last == Some(key);
        last = Some(key);
        (!shadowed).then_some((key, *source, value))
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::{Protocol, SlicePort};

    fn class(controller: &str, generation: i64) -> Object {
        Object::IngressClass(Observed {
            meta: Meta { created: 0, generation },
            value: Ok(IngressClass { controller: controller.into() }),
        })
    }

    fn slice(service: &str) -> Object {
        let address: IpAddr = [10, 0, 0, 1].into();
        Object::EndpointSlice(Observed {
            meta: Meta::default(),
            value: Ok(EndpointSlice {
                addresses: [address].into(),
                ports: vec![SlicePort { name: "".into(), port: 80, protocol: Protocol::Tcp }],
                service: service.into(),
            }),
        })
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("", name)
    }

    const KUBE: SourceId = SourceId::Kubernetes;

    #[test]
    fn an_equal_object_changes_nothing() {
        let mut world = World::default();
        let upsert = |generation| Change::Upsert { source: KUBE, key: key("a"), object: class("x", generation) };
        assert!(world.apply(upsert(1)));
        assert!(!world.apply(upsert(1)));
        assert!(world.apply(upsert(2)));
    }

    #[test]
    fn a_list_removes_what_it_does_not_hold_of_its_own_source_only() {
        let mut world = World::default();
        for source in [KUBE, SourceId::Manifests] {
            world.apply(Change::Upsert { source, key: key("a"), object: class("x", 1) });
        }
        assert!(world.apply(Change::Replace { source: KUBE, kind: Kind::IngressClass, objects: vec![] }));
        assert!(world.class("a").is_some(), "the other source still has it");
        assert!(world.apply(Change::Replace {
            source: SourceId::Manifests,
            kind: Kind::IngressClass,
            objects: vec![]
        }));
        assert!(world.class("a").is_none());
    }

    #[test]
    fn a_world_is_complete_when_every_kind_was_listed() {
        let mut world = World::awaiting(&[KUBE]);
        for kind in Kind::ALL {
            assert!(!world.is_complete());
            assert!(world.apply(Change::Replace { source: KUBE, kind, objects: vec![] }), "listing is a change");
        }
        assert!(world.is_complete());
    }

    #[test]
    fn a_slice_follows_its_service_label() {
        let mut world = World::default();
        let id = || ObjectKey::new("ns", "s1");
        let of = |world: &World, service: &str| world.slices(&ObjectKey::new("ns", service)).count();
        world.apply(Change::Upsert { source: KUBE, key: id(), object: slice("a") });
        assert_eq!((of(&world, "a"), of(&world, "b")), (1, 0));
        world.apply(Change::Upsert { source: KUBE, key: id(), object: slice("b") });
        assert_eq!((of(&world, "a"), of(&world, "b")), (0, 1));
        world.apply(Change::Remove { source: KUBE, kind: Kind::EndpointSlice, key: id() });
        assert_eq!(of(&world, "b"), 0);
    }
}
