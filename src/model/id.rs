//! What an object is called and where it came from.

use std::fmt;
use std::sync::Arc;

/// The kinds of object that a source may deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `apisix.apache.org` ApisixRoute.
    ApisixRoute,
    /// `apisix.apache.org` ApisixTls.
    ApisixTls,
    /// `apisix.apache.org` ApisixUpstream.
    ApisixUpstream,
    /// `v1` ConfigMap.
    ConfigMap,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `networking.k8s.io/v1` IngressClass (cluster-scoped: its key has an empty namespace).
    IngressClass,
    /// `v1` Secret.
    Secret,
    /// `v1` Service.
    Service,
}

impl Kind {
    /// Every kind, in declaration order.
    pub const ALL: [Self; 8] = [
        Self::ApisixRoute,
        Self::ApisixTls,
        Self::ApisixUpstream,
        Self::ConfigMap,
        Self::EndpointSlice,
        Self::IngressClass,
        Self::Secret,
        Self::Service,
    ];

    /// Whether objects of this kind are fetched only where another object refers to them.
    pub const fn is_referenced(self) -> bool {
        matches!(self, Self::ConfigMap | Self::Secret)
    }

    /// The kind as Kubernetes spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApisixRoute => "ApisixRoute",
            Self::ApisixTls => "ApisixTls",
            Self::ApisixUpstream => "ApisixUpstream",
            Self::ConfigMap => "ConfigMap",
            Self::EndpointSlice => "EndpointSlice",
            Self::IngressClass => "IngressClass",
            Self::Secret => "Secret",
            Self::Service => "Service",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Namespace and name of an object; cheap to clone. The namespace of a cluster-scoped object is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace, or empty.
    pub namespace: Arc<str>,
    /// The name within the namespace.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// The key of `namespace`/`name`.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A kind and a key: which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The object's kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: ObjectKey,
}

impl fmt::Display for ObjectRef {
    /// `Secret apps/tls`. Resources of the Admin API by their key alone, which says what they are: `/apisix/routes/1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.namespace.starts_with('/') {
            return self.key.fmt(f);
        }
        write!(f, "{} {}", self.kind, self.key)
    }
}

/// Which source an object came from. Where two sources deliver an object of one kind and key, the smaller one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceId {
    /// The Kubernetes API server.
    Kubernetes,
    /// Directories of YAML files.
    Manifests,
    /// What was written with the Admin API: the embedded store, or etcd. Its keys never meet those of the others, because their namespace
    /// is the store's prefix ([`crate::resource::Key`]).
    Store,
}

/// The metadata that takes part in decisions. The resource version is left out on purpose: a status write changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// `metadata.creationTimestamp` as seconds since the epoch, 0 where there is none. The oldest object owns a host.
    pub created: i64,
    /// `metadata.generation`, 0 where there is none; conditions report it as `observedGeneration`.
    pub generation: i64,
}
