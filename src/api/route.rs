//! The spec of an ApisixRoute: one shape that holds the fields of v2beta1, v2beta2, v2beta3 and v2.
//!
//! The API server stores v2 and converts by relabelling, which prunes what the target version's schema lacks. With one
//! schema for all versions nothing is ever pruned: a `backend` or `resolveGranualrity` written as v2beta1 reads the same
//! in v2.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::schema;
use super::status::Status;

/// How requests reach backends.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "apisix.apache.org",
    version = "v2",
    kind = "ApisixRoute",
    root = "ApisixRouteDefinition",
    doc = "An ApisixRoute: how requests reach Services.",
    plural = "apisixroutes",
    shortname = "ar",
    namespaced,
    status = "Status"
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.http) || has(self.stream) || has(self.tcp)", "message": "one of http and stream is required"}
]))]
pub struct ApisixRouteSpec {
    /// Rules for HTTP requests. Names are unique.
    #[schemars(
        length(min = 1, max = 1024),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub http: Option<Vec<HttpRule>>,
    /// The IngressClass of the controller that serves this object; the default class where it is left out.
    #[schemars(length(max = 253))]
    pub ingress_class_name: Option<String>,
    /// Rules for TCP, TLS and UDP, on ports that the proxy was told to open. Names are unique, those of `http` included.
    #[schemars(
        length(max = 1024),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub stream: Option<Vec<StreamRule>>,
    /// The v2beta1 form of `stream`, for TCP.
    #[schemars(
        length(max = 1024),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub tcp: Option<Vec<StreamRule>>,
}

/// A rule for HTTP requests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.backend) && has(self.backends))", "message": "backend and backends exclude each other"},
    {"rule": "has(self.backend) || has(self.backends) || has(self.upstreams)", "message": "backends is required"}
]))]
pub struct HttpRule {
    /// Authentication of users. Not served: an object that enables it is refused.
    pub authentication: Option<Authentication>,
    /// The v2beta1 form of `backends` with one element.
    pub backend: Option<Backend>,
    /// Where requests go, by weight.
    #[schemars(length(min = 1, max = 256))]
    pub backends: Option<Vec<Backend>>,
    /// Which requests the rule is for.
    #[serde(rename = "match")]
    #[schemars(required)]
    pub matches: Option<HttpMatch>,
    /// The rule's name.
    #[schemars(required, length(min = 1, max = 253))]
    pub name: Option<String>,
    /// An ApisixPluginConfig. Not served: an object that sets it is refused.
    #[schemars(length(max = 253))]
    pub plugin_config_name: Option<String>,
    /// The namespace of `plugin_config_name`.
    #[schemars(length(max = 63))]
    pub plugin_config_namespace: Option<String>,
    /// Plugins. Not served: an object that enables one is refused.
    #[schemars(length(max = 256))]
    pub plugins: Option<Vec<Plugin>>,
    /// Higher wins among rules for the same host and path; 0 where it is left out.
    pub priority: Option<i64>,
    /// Deadlines toward the backends; 60s each where left out.
    pub timeout: Option<Timeout>,
    /// ApisixUpstreams with `externalNodes`, by weight, beside or instead of `backends`.
    #[schemars(length(max = 256))]
    pub upstreams: Option<Vec<UpstreamRef>>,
    /// Whether WebSocket connections are passed on.
    pub websocket: Option<bool>,
}

/// Which requests a rule is for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// Conditions on headers, cookies and so on; all of them must be satisfied.
    #[schemars(length(max = 256))]
    pub exprs: Option<Vec<Expression>>,
    /// A Lua function. Not served: an object that sets it is refused.
    #[serde(rename = "filter_func")]
    #[schemars(length(max = 65536))]
    pub filter_func: Option<String>,
    /// Hosts: `a.example` or `*.example`; every host where it is left out.
    #[schemars(length(min = 1, max = 1024), inner(length(max = 255), regex(pattern = r"^\*?[0-9a-zA-Z._-]+$")))]
    pub hosts: Option<Vec<String>>,
    /// Methods; every method where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")] // `schema_with` hides that the type is optional
    #[schemars(schema_with = "schema::methods")]
    pub methods: Option<Vec<String>>,
    /// Paths: `/a` for that path, `/a*` for every path that starts so.
    #[schemars(required, length(min = 1, max = 1024), inner(length(max = 4096), regex(pattern = "^/")))]
    pub paths: Option<Vec<String>>,
    /// Client addresses and networks (`192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`); every address where it is left out.
    #[schemars(length(min = 1, max = 1024), inner(length(max = 64)))]
    pub remote_addrs: Option<Vec<String>>,
}

/// A condition on a request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Expression {
    /// The comparison.
    #[schemars(
        required,
        extend("enum" = [
            "Equal", "NotEqual", "GreaterThan", "GreaterThanEqual", "LessThan", "LessThanEqual", "In", "NotIn",
            "RegexMatch", "RegexMatchCaseInsensitive", "RegexNotMatch", "RegexNotMatchCaseInsensitive"
        ])
    )]
    pub op: Option<String>,
    /// What `In` and `NotIn` compare with.
    #[schemars(length(min = 1, max = 1024), inner(length(max = 4096)))]
    pub set: Option<Vec<String>>,
    /// What is compared.
    #[schemars(required)]
    pub subject: Option<ExpressionSubject>,
    /// What every other comparison compares with.
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
}

/// What a condition looks at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct ExpressionSubject {
    /// The name of the header, argument, cookie or variable; none for the path.
    #[schemars(length(max = 256))]
    pub name: Option<String>,
    /// Where it is. `Body` looks into forms and JSON of at most 64 KiB.
    #[schemars(required, extend("enum" = ["Header", "Query", "Path", "Cookie", "Variable", "Body"]))]
    pub scope: Option<String>,
}

/// Deadlines toward the backends, as durations such as `60s`, `1m30s` or `500ms`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Timeout {
    /// To establish a connection.
    #[schemars(length(max = 64), regex(pattern = schema::DURATION))]
    pub connect: Option<String>,
    /// Between two reads.
    #[schemars(length(max = 64), regex(pattern = schema::DURATION))]
    pub read: Option<String>,
    /// Between two writes.
    #[schemars(length(max = 64), regex(pattern = schema::DURATION))]
    pub send: Option<String>,
}

/// A backend: a Service of the route's namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// `endpoint` (the default) for the Service's ready endpoints, `service` for its cluster IP.
    #[schemars(extend("enum" = ["endpoint", "service"]))]
    pub resolve_granularity: Option<String>,
    /// `resolveGranularity` as v2beta1 spelled it.
    #[schemars(extend("enum" = ["endpoint", "service"]))]
    pub resolve_granualrity: Option<String>,
    /// The Service's name.
    #[schemars(required, length(min = 1, max = 253))]
    pub service_name: Option<String>,
    /// The Service's port: a number or a name.
    #[schemars(required, schema_with = "schema::port")]
    pub service_port: Option<IntOrString>,
    /// A subset of an ApisixUpstream. Not served: an object that sets it is refused.
    #[schemars(length(max = 253))]
    pub subset: Option<String>,
    /// Share of the requests among the rule's backends; 100 where it is left out.
    #[schemars(range(min = 0))]
    pub weight: Option<i64>,
}

/// A number or a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A text.
    String(String),
}

impl<'de> Deserialize<'de> for IntOrString {
    // Not derived: serde's message for an untagged enum does not say what was expected.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_i64().map(Self::Int),
            Value::String(text) => Some(Self::String(text)),
            _ => None,
        }
        .ok_or_else(|| D::Error::custom("expected a whole number or a text"))
    }
}

/// An ApisixUpstream of the route's namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct UpstreamRef {
    /// The ApisixUpstream's name.
    #[schemars(required, length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Share of the requests among the rule's backends and upstreams; 100 where it is left out.
    #[schemars(range(min = 0))]
    pub weight: Option<i64>,
}

/// A plugin.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plugin {
    /// The plugin's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")] // `schema_with` hides that the type is optional
    #[schemars(schema_with = "schema::any")]
    pub config: Option<Value>,
    /// Whether it is on; on where it is left out.
    #[schemars(extend("default" = true))]
    pub enable: Option<bool>,
    /// The plugin's name.
    #[schemars(required, length(min = 1, max = 253))]
    pub name: Option<String>,
    /// A Secret with more settings.
    #[schemars(length(max = 253))]
    pub secret_ref: Option<String>,
}

/// Authentication of users.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Authentication {
    /// Whether it is on.
    pub enable: Option<bool>,
    /// `basicAuth`, `keyAuth` and so on.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub kind: Option<String>,
}

/// A rule for a TCP or UDP stream.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct StreamRule {
    /// Where the stream goes.
    #[schemars(required)]
    pub backend: Option<StreamBackend>,
    /// Which streams the rule is for.
    #[serde(rename = "match")]
    #[schemars(required)]
    pub matches: Option<StreamMatch>,
    /// The rule's name.
    #[schemars(required, length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Plugins. Not served: an object that enables one is refused.
    #[schemars(length(max = 256))]
    pub plugins: Option<Vec<Plugin>>,
    /// `TCP` or `UDP`; entries of `tcp` have none. Whether a TCP port carries TLS is decided where it is opened.
    #[schemars(extend("enum" = ["TCP", "UDP"]))]
    pub protocol: Option<String>,
}

/// Which streams a rule is for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamMatch {
    /// The SNI, on ports that carry TLS: `a.example` or `*.example`; every host where it is left out.
    #[schemars(length(max = 255), regex(pattern = r"^\*?[0-9a-zA-Z._-]+$"))]
    pub host: Option<String>,
    /// The port that the proxy listens on. One that was not opened is reported, and not served.
    #[schemars(required, range(min = 1, max = 65535))]
    pub ingress_port: Option<i64>,
}

/// The backend of a stream.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamBackend {
    /// `endpoint` (the default) for the Service's ready endpoints, `service` for its cluster IP.
    #[schemars(extend("enum" = ["endpoint", "service"]))]
    pub resolve_granularity: Option<String>,
    /// `resolveGranularity` as v2beta1 spelled it.
    #[schemars(extend("enum" = ["endpoint", "service"]))]
    pub resolve_granualrity: Option<String>,
    /// The Service's name.
    #[schemars(required, length(min = 1, max = 253))]
    pub service_name: Option<String>,
    /// The Service's port of the rule's protocol: a number or a name.
    #[schemars(required, schema_with = "schema::port")]
    pub service_port: Option<IntOrString>,
    /// A subset of an ApisixUpstream. Not served: an object that sets it is refused.
    #[schemars(length(max = 253))]
    pub subset: Option<String>,
}
