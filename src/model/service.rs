//! Services, their endpoints, and ingress classes.

use std::net::IpAddr;
use std::sync::Arc;

use super::Protocol;

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where the Service itself is reached.
    pub address: ServiceAddress,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
}

/// Where a Service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAddress {
    /// `spec.clusterIP`.
    Cluster(IpAddr),
    /// `type: ExternalName`: a DNS name.
    External(Arc<str>),
    /// `clusterIP: None`, or a Service of a manifest that has no address of its own.
    Headless,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The port's name; empty where it has none.
    pub name: Arc<str>,
    /// The port's number.
    pub port: u16,
    /// The port's protocol: DNS has `53/TCP` and `53/UDP` under two names of one number.
    pub protocol: Protocol,
    /// Whether `appProtocol` says that HTTP is spoken over TLS there: `https`, or a WebSocket's `wss`.
    pub secure: bool,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The ready addresses, sorted, without duplicates: an endpoint whose `ready` is not false (apisix ingress rule).
    pub addresses: Arc<[IpAddr]>,
    /// The ports.
    pub ports: Vec<SlicePort>,
    /// The Service in the same namespace: the label `kubernetes.io/service-name`.
    pub service: Arc<str>,
}

/// A port of an EndpointSlice; it belongs to the Service's port of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The Service port's name; empty where it has none.
    pub name: Arc<str>,
    /// The number on the endpoint.
    pub port: u16,
    /// The port's protocol.
    pub protocol: Protocol,
}

/// An IngressClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClass {
    /// `spec.controller`.
    pub controller: Arc<str>,
}
