//! From a backend to addresses: Service, port, EndpointSlices.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;

use super::attach::{self, Attached};
use super::{Context, ObjectReport, Report};
use crate::model::{
    BackendRef, Balancing, Effect, Granularity, Invalid, Kind, ObjectKey, ObjectRef, PassHost, PortRef, Problem,
    Reason, Service, ServiceAddress, ServicePort, SourceId, Timeouts, UpstreamSettings,
};
use crate::snapshot::{Address, Endpoint, Host, Transport, Upstream};
use crate::world::World;

/// The endpoints in use, by address and transport: one connection pool for both, whichever routes lead to it.
#[derive(Debug)]
pub(super) struct Endpoints<'a> {
    previous: &'a HashMap<(Address, Transport), Arc<Endpoint>>,
    pub(super) current: HashMap<(Address, Transport), Arc<Endpoint>>,
}

impl<'a> Endpoints<'a> {
    pub(super) fn new(previous: &'a HashMap<(Address, Transport), Arc<Endpoint>>) -> Self {
        Self { current: HashMap::new(), previous }
    }

    fn at(&mut self, address: Address, transport: &Transport) -> Arc<Endpoint> {
        let key = (address, transport.clone());
        if let Some(endpoint) = self.current.get(&key) {
            return endpoint.clone();
        }
        let carried = self.previous.get(&key).cloned();
        let endpoint = carried.unwrap_or_else(|| Arc::new(Endpoint::new(key.0.clone(), key.1.clone())));
        self.current.insert(key, endpoint.clone());
        endpoint
    }
}

/// Reports on every ApisixUpstream that is ours, whether or not a route leads to its Service.
pub(super) fn report(world: &World, context: &Context, report: &mut Report) {
    for (key, source, observed) in world.upstreams() {
        let invalid = match &observed.value {
            Ok(upstream) => match attach::attached(upstream.class.as_deref(), world, context) {
                Attached::Ours => upstream.settings.as_ref().err().cloned(),
                // Manifests have no other reader: there it is a mistake.
                Attached::Unknown if source == SourceId::Manifests => {
                    Some(attach::unknown(upstream.class.as_deref(), context))
                }
                Attached::Theirs | Attached::Unknown => continue,
            },
            Err(why) => Some(why.clone()),
        };
        let problems = invalid.map(|invalid| Problem { effect: Effect::Refused, invalid }).into_iter().collect();
        let object = ObjectRef { kind: Kind::ApisixUpstream, key: key.clone() };
        report.objects.insert(object, ObjectReport { meta: observed.meta, problems, source });
    }
}

/// What the ApisixUpstream of the Service `key` says about `port`; `None` where there is none of ours.
///
/// # Errors
/// When the ApisixUpstream is refused: without its settings requests would be sent as they must not be.
fn settings<'a>(
    world: &'a World,
    context: &Context,
    key: &ObjectKey,
    port: u16,
    field: &str,
) -> Result<Option<&'a UpstreamSettings>, Invalid> {
    let refused = |why: &Invalid| {
        let message = format!("ApisixUpstream {key}, which has the Service's name, is refused: {why}");
        Invalid::new(Reason::RefNotFound, format!("{field}.serviceName"), message)
    };
    let Some(observed) = world.upstream(key) else { return Ok(None) };
    let upstream = observed.value.as_ref().map_err(refused)?;
    if attach::attached(upstream.class.as_deref(), world, context) != Attached::Ours {
        return Ok(None);
    }
    let settings = upstream.settings.as_ref().map_err(refused)?;
    Ok(Some(settings.ports.get(&port).unwrap_or(&settings.default)))
}

/// Gives `upstream` its settings. The route's deadlines come first, then the ApisixUpstream's (APISIX).
fn configure(
    upstream: Upstream,
    settings: &UpstreamSettings,
    of_route: Option<Timeouts>,
    field: &str,
) -> Result<Upstream, Invalid> {
    let mut upstream = match &settings.balancing {
        Balancing::Hash(key) => upstream.hashing(key.clone()),
        Balancing::LeastConnections => upstream.with_least_connections(),
        Balancing::RoundRobin => upstream,
    };
    upstream.host = match &settings.host {
        PassHost::Node => Host::Node,
        PassHost::Pass => Host::Pass,
        PassHost::Rewrite(host) => Host::Rewrite(HeaderValue::from_str(host).map_err(|_| {
            Invalid::spec(format!("{field}.serviceName"), format!("`{host}`, its ApisixUpstream's, is no host"))
        })?),
    };
    upstream.attempts = settings.retries.map_or(usize::MAX, |retries| retries.saturating_add(1));
    upstream.timeouts = if of_route.is_some() { None } else { settings.timeouts };
    Ok(upstream)
}

/// Resolves `backend` of an object in `namespace`, for a route with deadlines of its own or none. `field` is the backend's
/// path in the object.
///
/// # Errors
/// When the Service or its port does not exist, or has no address of the wanted kind, or the Service's ApisixUpstream is
/// refused. No ready endpoint is no error.
pub(super) fn resolve(
    world: &World,
    context: &Context,
    namespace: &Arc<str>,
    (backend, timeouts): (&BackendRef, Option<Timeouts>),
    field: &str,
    endpoints: &mut Endpoints<'_>,
) -> Result<Upstream, Invalid> {
    let key = ObjectKey::new(namespace.clone(), backend.service.clone());
    let service_field = || format!("{field}.serviceName");
    let service = match world.service(&key).map(|service| &service.value) {
        Some(Ok(service)) => service,
        Some(Err(why)) => {
            return Err(Invalid::new(why.reason, service_field(), format!("Service {key} is unusable: {why}")));
        }
        None => {
            return Err(Invalid::new(Reason::RefNotFound, service_field(), format!("Service {key} does not exist")));
        }
    };
    let (number, addresses): (u16, BTreeSet<Address>) = match (&service.address, backend.granularity) {
        (ServiceAddress::External(name), _) => {
            let port = external_port(service, backend, field)?;
            (port, [Address::Name(name.clone(), port)].into())
        }
        (ServiceAddress::Cluster(ip), Granularity::Service) => {
            let port = port_of(&key, service, backend, field)?;
            (port.port, [Address::Socket(SocketAddr::new(*ip, port.port))].into())
        }
        (ServiceAddress::Headless, Granularity::Service) => {
            let message = format!("Service {key} has no cluster IP; leave resolveGranularity out");
            return Err(Invalid::spec(format!("{field}.resolveGranularity"), message));
        }
        (_, Granularity::Endpoint) => {
            let port = port_of(&key, service, backend, field)?;
            (port.port, ready(world, &key, port))
        }
    };
    let name = match &backend.port {
        PortRef::Name(port) => format!("{key}:{port}"),
        PortRef::Number(port) => format!("{key}:{port}"),
    };
    let settings = settings(world, context, &key, number, field)?;
    let transport = Transport::default();
    let nodes = addresses.into_iter().map(|address| endpoints.at(address, &transport).into());
    let upstream = Upstream::new(name.into(), nodes);
    match settings {
        None => Ok(upstream),
        Some(settings) => configure(upstream, settings, timeouts, field),
    }
}

/// The ready endpoints of the Service's port `port`: those of the slices' port of the same name (EndpointSlice v1).
fn ready(world: &World, service: &ObjectKey, port: &ServicePort) -> BTreeSet<Address> {
    let mut addresses = BTreeSet::new();
    for slice in world.slices(service) {
        for number in
            slice.ports.iter().filter(|p| (&p.name, p.protocol) == (&port.name, port.protocol)).map(|p| p.port)
        {
            addresses.extend(slice.addresses.iter().map(|ip| Address::Socket(SocketAddr::new(*ip, number))));
        }
    }
    addresses
}

fn port_of<'a>(
    key: &ObjectKey,
    service: &'a Service,
    backend: &BackendRef,
    field: &str,
) -> Result<&'a ServicePort, Invalid> {
    let ports = || service.ports.iter().filter(|port| port.protocol == backend.protocol);
    let found = ports().find(|port| match &backend.port {
        PortRef::Name(name) => port.name == *name,
        PortRef::Number(number) => port.port == *number,
    });
    found.ok_or_else(|| {
        let ports: Vec<_> =
            ports()
                .map(|port| {
                    if port.name.is_empty() { port.port.to_string() } else { format!("{} ({})", port.port, port.name) }
                })
                .collect();
        let ports = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
        let message = format!("Service {key} has no such {} port; it has {ports}", backend.protocol);
        Invalid::new(Reason::RefNotFound, format!("{field}.servicePort"), message)
    })
}

/// The port of an ExternalName Service: it need not be declared, because nothing maps it.
fn external_port(service: &Service, backend: &BackendRef, field: &str) -> Result<u16, Invalid> {
    match &backend.port {
        PortRef::Number(number) => Ok(*number),
        PortRef::Name(name) => {
            service.ports.iter().find(|port| port.name == *name).map(|port| port.port).ok_or_else(|| {
                let message = format!("the ExternalName Service has no port called `{name}`; write a number");
                Invalid::new(Reason::RefNotFound, format!("{field}.servicePort"), message)
            })
        }
    }
}
