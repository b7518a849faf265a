//! Shapes of Kubernetes objects: what is read from the API server and from manifest files, and the schemas of our own
//! CustomResourceDefinitions. No behaviour.

mod core;
mod crd;
mod health;
mod metadata;
mod route;
mod schema;
mod status;
mod tls;
mod upstream;

pub use self::core::{
    ConfigMap, Endpoint, EndpointConditions, EndpointPort, EndpointSlice, IngressClass, IngressClassSpec, Secret,
    Service, ServicePort, ServiceSpec,
};
pub use crd::{crds, crds_yaml, spec_schema};
pub use health::{ActiveCheck, ActiveHealthy, ActiveUnhealthy, HealthCheck, Healthy, PassiveCheck, Unhealthy};
pub use metadata::{ApisixRoute, ApisixTls, ApisixUpstream, GROUP, VERSION};
pub use route::{
    ApisixRouteSpec, Authentication, Backend, Expression, ExpressionSubject, HttpMatch, HttpRule, IntOrString, Plugin,
    StreamBackend, StreamMatch, StreamRule, Timeout, UpstreamRef,
};
pub use status::{Condition, Status};
pub use tls::{
    ApisixTlsSpec, Client, DataRef, Failure, Forward, ForwardedHeader, Identity, Protocols, Revocation, SecretRef,
    TextMatch,
};
pub use upstream::{ApisixUpstreamSpec, ExternalNode, LoadBalancer, PortSettings, TlsVerify, UpstreamSettings};
