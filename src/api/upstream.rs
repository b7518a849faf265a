//! The spec of an ApisixUpstream: one shape that holds the fields of v2beta3 and v2.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::health::HealthCheck;
use super::route::Timeout;
use super::schema;
use super::status::Status;
use super::tls::SecretRef;

/// How requests are sent to the Service of the same namespace and name.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "apisix.apache.org",
    version = "v2",
    kind = "ApisixUpstream",
    root = "ApisixUpstreamDefinition",
    doc = "An ApisixUpstream: how requests are sent to the Service of the same namespace and name.",
    plural = "apisixupstreams",
    shortname = "au",
    namespaced,
    status = "Status"
)]
#[serde(rename_all = "camelCase")]
pub struct ApisixUpstreamSpec {
    /// Nodes by name, for the `upstreams` of routes.
    #[schemars(length(min = 1, max = 256))]
    pub external_nodes: Option<Vec<ExternalNode>>,
    /// The IngressClass of the controller that serves this object; the default class where it is left out.
    #[schemars(length(max = 253))]
    pub ingress_class_name: Option<String>,
    /// Settings of single ports: each replaces the object's for that port, which keeps `timeout`, `healthCheck`, `tlsSecret` and
    /// `discovery` of the object where the entry has none.
    #[schemars(length(max = 256))]
    pub port_level_settings: Option<Vec<PortSettings>>,
    /// Settings of every other port.
    #[serde(flatten)]
    pub settings: UpstreamSettings,
}

/// A node by name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct ExternalNode {
    /// `Domain` for a domain name, `Service` (the default) for the one that a Service of the type ExternalName has.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["Domain", "Service"]))]
    pub kind: Option<String>,
    /// The domain name, or the name of a Service of the namespace.
    #[schemars(required, length(min = 1, max = 254))]
    pub name: Option<String>,
    /// The port; the scheme's own where it is left out.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i64>,
    /// Share of the requests among the nodes; 100 where it is left out.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: Option<i64>,
}

/// The settings of one port of the Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct PortSettings {
    /// The Service's port.
    #[schemars(required, range(min = 1, max = 65535))]
    pub port: Option<i64>,
    /// Its settings.
    #[serde(flatten)]
    pub settings: UpstreamSettings,
}

/// How requests are sent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamSettings {
    /// Another service registry. Not served: an object that sets it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")] // `schema_with` hides that the type is optional; so below
    #[schemars(schema_with = "schema::any")]
    pub discovery: Option<Value>,
    /// How the health of the endpoints is found out; not at all where it is left out.
    pub health_check: Option<HealthCheck>,
    /// Which endpoint gets a request; `roundrobin` where it is left out.
    pub loadbalancer: Option<LoadBalancer>,
    /// The `Host` that is sent: the client's (`pass`, the default), the endpoint's (`node`), or `upstreamHost` (`rewrite`).
    #[schemars(extend("enum" = ["pass", "node", "rewrite"]))]
    pub pass_host: Option<String>,
    /// How many other endpoints are tried where one cannot be connected to; every endpoint where it is left out.
    #[schemars(range(min = 0))]
    pub retries: Option<i64>,
    /// The protocol: HTTP/1.1 in clear text (`http`, the default) or over TLS (`https`), HTTP/2 in clear text (`grpc`, `h2c`)
    /// or over TLS (`grpcs`, `h2`). For streams `tcp`, `tls` or `udp`. An object that sets another is refused.
    #[schemars(extend("enum" = ["http", "https", "grpc", "grpcs", "h2c", "h2", "tcp", "tls", "udp"]))]
    pub scheme: Option<String>,
    /// Groups of endpoints by label. Not served: an object that sets them is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub subsets: Option<Value>,
    /// Deadlines of routes that have none of their own; 60s each where left out.
    pub timeout: Option<Timeout>,
    /// The Secret with our certificate and key for endpoints that ask for one, under `cert` and `key` or `tls.crt` and
    /// `tls.key`. Only with a scheme of TLS.
    pub tls_secret: Option<SecretRef>,
    /// How the endpoints' certificates are verified; not at all where it is left out, as in APISIX. Only with a scheme of TLS.
    pub tls_verify: Option<TlsVerify>,
    /// The `Host` of `passHost: rewrite`.
    #[schemars(length(max = 255))]
    pub upstream_host: Option<String>,
}

/// Which endpoint gets a request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// What `chash` hashes: `vars` (the default), `header`, `cookie` or `vars_combinations`. `consumer` is refused.
    #[schemars(extend("enum" = ["vars", "header", "cookie", "consumer", "vars_combinations"]))]
    pub hash_on: Option<String>,
    /// The name of the variable, header or cookie; a text with variables in it for `vars_combinations`.
    #[schemars(length(max = 253))]
    pub key: Option<String>,
    /// `roundrobin`, `least_conn`, `chash` or `ewma`.
    #[serde(rename = "type")]
    #[schemars(required, extend("enum" = ["roundrobin", "chash", "ewma", "least_conn"]))]
    pub kind: Option<String>,
}

/// How the endpoints' certificates are verified: for the host of `passHost`, or the address where that is no name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.caSecret) != (has(self.systemRoots) && self.systemRoots)",
    "message": "either caSecret or systemRoots: true is required"
}]))]
pub struct TlsVerify {
    /// The Secret with the certificates of the authorities that sign the endpoints' certificates, under `cert`, `ca.crt` or
    /// `tls.crt`.
    pub ca_secret: Option<SecretRef>,
    /// Whether the authorities are those that the system trusts.
    pub system_roots: Option<bool>,
}
