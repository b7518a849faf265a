//! Objects as they are watched: metadata without `managedFields`, and the spec of user-written kinds as free JSON, so that
//! one field of a wrong type costs one object and not the whole watch.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::status::Status;

/// The API group of our kinds.
pub const GROUP: &str = "apisix.apache.org";

/// The version that is watched, stored and written; the older ones are served by the API server alone.
pub const VERSION: &str = "v2";

/// An ApisixRoute whose spec is not yet read.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = super::route::ApisixRouteDefinition)]
pub struct ApisixRoute {
    /// Slim metadata.
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    /// The spec; read it as [`super::ApisixRouteSpec`].
    #[serde(default)]
    pub spec: Value,
    /// What was last written about the object.
    #[serde(default, deserialize_with = "lenient")]
    pub status: Status,
}

/// An ApisixTls whose spec is not yet read.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = super::tls::ApisixTlsDefinition)]
pub struct ApisixTls {
    /// Slim metadata.
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    /// The spec; read it as [`super::ApisixTlsSpec`].
    #[serde(default)]
    pub spec: Value,
    /// What was last written about the object.
    #[serde(default, deserialize_with = "lenient")]
    pub status: Status,
}

/// An ApisixUpstream whose spec is not yet read.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = super::upstream::ApisixUpstreamDefinition)]
pub struct ApisixUpstream {
    /// Slim metadata.
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    /// The spec; read it as [`super::ApisixUpstreamSpec`].
    #[serde(default)]
    pub spec: Value,
    /// What was last written about the object.
    #[serde(default, deserialize_with = "lenient")]
    pub status: Status,
}

/// Reads the metadata that anything here looks at. `managedFields` is about half of typical metadata and would be parsed
/// into trees of JSON; serde skips what is not named here without allocating.
pub(super) fn slim<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Slim {
        creation_timestamp: Option<Time>,
        generation: Option<i64>,
        labels: Option<BTreeMap<String, String>>,
        name: Option<String>,
        namespace: Option<String>,
        resource_version: Option<String>,
        uid: Option<String>,
    }
    let slim = Slim::deserialize(deserializer)?;
    Ok(ObjectMeta {
        creation_timestamp: slim.creation_timestamp,
        generation: slim.generation,
        labels: slim.labels,
        name: slim.name,
        namespace: slim.namespace,
        resource_version: slim.resource_version,
        uid: slim.uid,
        ..ObjectMeta::default()
    })
}

/// Reads a status, or nothing: one that another controller wrote in another shape must not hide the object.
fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}
