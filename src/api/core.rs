//! The kinds of Kubernetes itself, with only the fields that are read.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;

use super::metadata::slim;

/// A Service.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = core::Service)]
pub struct Service {
    /// Slim metadata.
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    /// What the Service is.
    pub spec: Option<ServiceSpec>,
}

/// The spec of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// The address inside the cluster, `None` for a headless Service.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// The DNS name of an `ExternalName` Service.
    pub external_name: Option<String>,
    /// The ports.
    pub ports: Option<Vec<ServicePort>>,
    /// `ClusterIP` and so on.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ServicePort {
    /// What is spoken at the port.
    #[serde(rename = "appProtocol")]
    pub app_protocol: Option<String>,
    /// The port's name.
    pub name: Option<String>,
    /// The port's number.
    pub port: Option<i64>,
    /// `TCP` where it is left out.
    pub protocol: Option<String>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = discovery::EndpointSlice)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: Option<String>,
    /// The endpoints.
    pub endpoints: Option<Vec<Endpoint>>,
    /// Slim metadata.
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    /// The ports of every endpoint.
    pub ports: Option<Vec<EndpointPort>>,
}

/// An endpoint of an EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Endpoint {
    /// Addresses of one and the same endpoint.
    pub addresses: Option<Vec<String>>,
    /// Whether it is ready.
    pub conditions: Option<EndpointConditions>,
}

/// The state of an endpoint.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct EndpointConditions {
    /// Unknown counts as ready.
    pub ready: Option<bool>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct EndpointPort {
    /// The Service port's name.
    pub name: Option<String>,
    /// The number on the endpoint.
    pub port: Option<i64>,
    /// `TCP` where it is left out.
    pub protocol: Option<String>,
}

/// An IngressClass.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = networking::IngressClass)]
pub struct IngressClass {
    /// Slim metadata.
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    /// Which controller the class belongs to.
    pub spec: Option<IngressClassSpec>,
}

/// The spec of an IngressClass.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct IngressClassSpec {
    /// The controller's name.
    pub controller: Option<String>,
}

/// A ConfigMap.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = core::ConfigMap)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMap {
    /// Values in base64.
    pub binary_data: Option<BTreeMap<String, Option<ByteString>>>,
    /// Values as text.
    pub data: Option<BTreeMap<String, String>>,
    /// Slim metadata.
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
}

/// A Secret. `Debug` shows no value.
#[derive(Clone, Default, Deserialize, Resource)]
#[resource(inherit = core::Secret)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// Values in base64.
    pub data: Option<BTreeMap<String, Option<ByteString>>>,
    /// Slim metadata.
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    /// Values as text: in manifests only, the API server folds them into `data`.
    pub string_data: Option<BTreeMap<String, String>>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("name", &self.metadata.name).finish_non_exhaustive()
    }
}
