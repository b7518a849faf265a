//! Kubernetes objects to the model: pure functions, shared by every source that speaks Kubernetes' kinds.

mod data;
pub(super) mod domain;
mod duration;
mod endpoint_slice;
mod ingress_class;
pub(super) mod json;
pub(super) mod route;
pub(super) mod service;
pub(super) mod tls;
pub(super) mod upstream;
mod weight;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::endpoint_slice::SERVICE_LABEL;
use crate::api;
use crate::model::{Invalid, Kind, Meta, ObjectKey};
use crate::world::{Object, Observed};

/// A kind of Kubernetes object that has a place in the model.
pub trait Observe: Resource<DynamicType = ()> + DeserializeOwned {
    /// The kind in the model.
    const KIND: Kind;

    /// What the object is in the model.
    type Model;

    /// Reads the object without looking at any other.
    ///
    /// # Errors
    /// Why the object cannot be used, with the field to blame.
    fn parse(self) -> Result<Self::Model, Invalid>;

    /// Names the kind.
    fn wrap(observed: Observed<Self::Model>) -> Object;
}

/// Reads an object of a kind that is known by its type.
pub fn observe<K: Observe>(object: K) -> (ObjectKey, Object) {
    let (key, meta) = (key(object.meta()), meta(object.meta()));
    (key, K::wrap(Observed { meta, value: object.parse() }))
}

/// Reads an object of a kind that is known by its name: a document of a manifest.
///
/// # Errors
/// When the object has no usable name: there is nothing then that a diagnostic could be attached to. Every other fault is
/// in the [`Object`].
pub fn from_json(kind: Kind, json: Value) -> Result<(ObjectKey, Object), Invalid> {
    match kind {
        Kind::ApisixRoute => read::<api::ApisixRoute>(json),
        Kind::ApisixTls => read::<api::ApisixTls>(json),
        Kind::ApisixUpstream => read::<api::ApisixUpstream>(json),
        Kind::ConfigMap => read::<api::ConfigMap>(json),
        Kind::EndpointSlice => read::<api::EndpointSlice>(json),
        Kind::IngressClass => read::<api::IngressClass>(json),
        Kind::Secret => read::<api::Secret>(json),
        Kind::Service => read::<api::Service>(json),
    }
}

/// The kind of a document, if it is one that [`from_json`] reads. Old versions of our kinds have the same shape.
pub fn kind(api_version: &str, kind: &str) -> Option<Kind> {
    match (api_version, kind) {
        (ours, "ApisixRoute") => version_of(ours, &["v2", "v2beta3", "v2beta2", "v2beta1"], Kind::ApisixRoute),
        (ours, "ApisixTls") => version_of(ours, &["v2", "v2beta3", "v1"], Kind::ApisixTls),
        (ours, "ApisixUpstream") => version_of(ours, &["v2", "v2beta3"], Kind::ApisixUpstream),
        ("discovery.k8s.io/v1", "EndpointSlice") => Some(Kind::EndpointSlice),
        ("networking.k8s.io/v1", "IngressClass") => Some(Kind::IngressClass),
        ("v1", "ConfigMap") => Some(Kind::ConfigMap),
        ("v1", "Secret") => Some(Kind::Secret),
        ("v1", "Service") => Some(Kind::Service),
        _ => None,
    }
}

fn version_of(api_version: &str, served: &[&str], kind: Kind) -> Option<Kind> {
    let (group, version) = api_version.split_once('/')?;
    (group == api::GROUP && served.contains(&version)).then_some(kind)
}

/// The key of an object.
pub fn key(metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// The metadata that takes part in decisions.
pub fn meta(metadata: &ObjectMeta) -> Meta {
    let created = metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    Meta { created, generation: metadata.generation.unwrap_or(0) }
}

fn read<K: Observe>(mut json: Value) -> Result<(ObjectKey, Object), Invalid> {
    if !json.is_object() {
        return Err(Invalid::spec("", "is no object"));
    }
    let name = json["metadata"]["name"].as_str().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Invalid::spec("metadata.name", "must be a text that is not empty"))?.to_owned();
    let namespace = match (K::KIND, &json["metadata"]["namespace"]) {
        (Kind::IngressClass, _) => String::new(),
        (_, Value::Null) => "default".to_owned(),
        (_, Value::String(namespace)) if !namespace.is_empty() && !namespace.contains('/') => namespace.clone(),
        _ => return Err(Invalid::spec("metadata.namespace", "must be a text that is not empty, without a slash")),
    };
    json["metadata"]["namespace"] = namespace.clone().into();
    let (key, object) = match json::read::<K>(json, "") {
        Ok(object) => observe(object),
        Err(mut invalid) => {
            if K::KIND == Kind::Secret {
                // serde quotes what it could not read.
                "cannot be read; `data` holds base64 text, `stringData` plain text".clone_into(&mut invalid.message);
            }
            (ObjectKey::new("", ""), K::wrap(Observed { meta: Meta::default(), value: Err(invalid) }))
        }
    };
    drop(key);
    Ok((ObjectKey::new(namespace, name), object))
}

/// The fault of `field`, whose `pattern` cannot be compiled.
fn no_regex(pattern: &str, error: &regex::Error, field: &str) -> Invalid {
    // The parser's errors show the pattern with a mark below the place, over several lines.
    let why = error.to_string();
    let why = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
    Invalid::spec(field, format!("`{pattern}` is no usable regular expression: {why}"))
}

#[cfg(test)]
mod tests;
