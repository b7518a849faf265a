//! Our nouns, free of Kubernetes, TLS and HTTP libraries: what a source parses objects into and what `compile` joins.
//!
//! Every type is plain data with `Eq`, because equality is what keeps resyncs and status echoes from causing work.

mod balancing;
mod client_auth;
mod data;
mod expression;
mod health;
mod host;
mod id;
mod invalid;
mod network;
mod normal_path;
mod path;
mod problem;
mod resource_field;
mod route;
mod service;
mod stream;
mod tls;
mod upstream;
mod upstream_tls;
mod validity;

pub use balancing::{Balancing, HashKey, HashPart, Keepalive};
pub use client_auth::{
    ClientAuthRef, ClientSettings, DataRef, Failure, FailureAnswer, FailureBody, Forward, IdentityField, IdentityRule,
    Mode, RevocationRef, RevocationSettings, TextMatch,
};
pub use data::Data;
pub use expression::{BodyArgument, Comparison, Expression, Group, Number, Pattern, Step, Subject, Test, Variable};
pub use health::{ActiveCheck, CheckKind, Criteria, HeaderField, HealthCheck, Sign, Thresholds};
pub use host::{HostName, HostPattern};
pub use id::{Kind, Meta, ObjectKey, ObjectRef, SourceId};
pub use invalid::{Invalid, Reason};
pub use network::Network;
pub use normal_path::{is_plain_path, normal_path};
pub use path::PathPattern;
pub use problem::{Effect, Problem};
pub use route::{BackendRef, Conditions, Granularity, Methods, PortRef, Route, Rule, Timeouts, UpstreamRef};
pub use service::{EndpointSlice, IngressClass, Service, ServiceAddress, ServicePort, SlicePort};
pub use stream::{Protocol, StreamBackend, StreamPorts, StreamRule};
pub use tls::{Alpn, DEFAULT_DEPTH, Protocols, TlsHost, TlsVersions};
pub use upstream::{
    ExternalName, ExternalNode, PassHost, ServiceSettings, SettingsByPort, UpstreamProtocol, UpstreamSettings,
};
pub use upstream_tls::{UpstreamTls, VerifyServer};
pub use validity::{Validated, Validity, timestamp};
