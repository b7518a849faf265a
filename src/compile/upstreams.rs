//! From a backend to addresses: Service, port, EndpointSlices.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;

use super::attach::{self, Attached};
use super::nodes;
use super::{Context, ObjectReport, Report};
use crate::model::{
    BackendRef, Balancing, Effect, Granularity, Invalid, Kind, ObjectKey, ObjectRef, PassHost, PortRef, Problem,
    Reason, Service, ServiceAddress, ServicePort, SourceId, Timeouts, UpstreamRef, UpstreamSettings,
};
use crate::snapshot::{Endpoint, Host, Node, Transport, Upstream};
use crate::world::World;

/// The port of external nodes that name none.
const HTTP: u16 = 80;

/// The endpoints in use, by address and transport: one connection pool for both, whichever routes lead to it.
#[derive(Debug)]
pub(super) struct Endpoints<'a> {
    /// The names that addresses were wanted of.
    pub(super) names: BTreeSet<Arc<str>>,
    previous: &'a HashMap<(SocketAddr, Transport), Arc<Endpoint>>,
    pub(super) current: HashMap<(SocketAddr, Transport), Arc<Endpoint>>,
}

impl<'a> Endpoints<'a> {
    pub(super) fn new(previous: &'a HashMap<(SocketAddr, Transport), Arc<Endpoint>>) -> Self {
        Self { current: HashMap::new(), names: BTreeSet::new(), previous }
    }

    fn at(&mut self, address: SocketAddr, transport: &Transport) -> Arc<Endpoint> {
        let key = (address, transport.clone());
        if let Some(endpoint) = self.current.get(&key) {
            return endpoint.clone();
        }
        let carried = self.previous.get(&key).cloned();
        let endpoint = carried.unwrap_or_else(|| Arc::new(Endpoint::new(key.0, key.1.clone())));
        self.current.insert(key, endpoint.clone());
        endpoint
    }
}

impl Endpoints<'_> {
    /// The addresses of `name`, which is wanted from now on.
    fn find(&mut self, world: &World, name: &Arc<str>) -> Result<nodes::Named, String> {
        let found = nodes::find(world, name);
        if found.as_ref().map_or(true, |found| found.name.is_some()) {
            self.names.insert(name.clone());
        }
        found
    }
}

/// Reports on every ApisixUpstream that is ours, whether or not a route leads to its Service.
pub(super) fn report(world: &World, context: &Context, report: &mut Report) {
    for (key, source, observed) in world.upstreams() {
        let refused = |invalid| vec![Problem { effect: Effect::Refused, invalid }];
        let problems = match &observed.value {
            Ok(upstream) => match attach::attached(upstream.class.as_deref(), world, context) {
                Attached::Ours => match &upstream.settings {
                    Ok(settings) => {
                        let field = |index| format!("spec.externalNodes[{index}]");
                        let nodes = settings.nodes.iter().enumerate();
                        nodes
                            .filter_map(|(index, node)| nodes::problem(world, &key.namespace, node, &field(index)))
                            .collect()
                    }
                    Err(why) => refused(why.clone()),
                },
                // Manifests have no other reader: there it is a mistake.
                Attached::Unknown if source == SourceId::Manifests => {
                    refused(attach::unknown(upstream.class.as_deref(), context))
                }
                Attached::Theirs | Attached::Unknown => continue,
            },
            Err(why) => refused(why.clone()),
        };
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
        PassHost::Rewrite(host) => Host::Rewrite(
            HeaderValue::from_str(host)
                .map_err(|_| Invalid::spec(field, format!("`{host}`, its ApisixUpstream's, is no host")))?,
        ),
    };
    upstream.attempts = settings.retries.map_or(usize::MAX, |retries| retries.saturating_add(1));
    upstream.timeouts = if of_route.is_some() { None } else { settings.timeouts };
    Ok(upstream)
}

/// Resolves `backend` of an object in `namespace`, for a route with deadlines of its own or none. `field` is the backend's
/// path in the object; what is wrong although the backend can be used goes to `problems`.
///
/// # Errors
/// When the Service or its port does not exist, or has no address of the wanted kind, or its name has never resolved, or
/// the Service's ApisixUpstream is refused. No ready endpoint is no error.
pub(super) fn resolve(
    world: &World,
    context: &Context,
    namespace: &Arc<str>,
    (backend, timeouts): (&BackendRef, Option<Timeouts>),
    field: &str,
    endpoints: &mut Endpoints<'_>,
    problems: &mut Vec<Problem>,
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
    let mut name = None;
    let (number, addresses): (u16, BTreeSet<SocketAddr>) = match (&service.address, backend.granularity) {
        (ServiceAddress::External(external), _) => {
            let port = external_port(service, backend, field)?;
            let found = endpoints.find(world, external);
            let found = found
                .map_err(|why| Invalid::new(Reason::NotResolved, service_field(), format!("Service {key}: {why}")))?;
            problems.extend(nodes::outdated(world, external, &service_field()));
            name = found.name;
            (port, found.addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
        }
        (ServiceAddress::Cluster(ip), Granularity::Service) => {
            let port = port_of(&key, service, &backend.port, field)?;
            (port.port, [SocketAddr::new(*ip, port.port)].into())
        }
        (ServiceAddress::Headless, Granularity::Service) => {
            let message = format!("Service {key} has no cluster IP; leave resolveGranularity out");
            return Err(Invalid::spec(format!("{field}.resolveGranularity"), message));
        }
        (_, Granularity::Endpoint) => {
            let port = port_of(&key, service, &backend.port, field)?;
            (port.port, ready(world, &key, port))
        }
    };
    let title = match &backend.port {
        PortRef::Name(port) => format!("{key}:{port}"),
        PortRef::Number(port) => format!("{key}:{port}"),
    };
    let settings = settings(world, context, &key, number, field)?;
    let transport = Transport::default();
    let nodes =
        addresses.into_iter().map(|address| Node { name: name.clone(), ..endpoints.at(address, &transport).into() });
    let upstream = Upstream::new(title.into(), nodes);
    match settings {
        None => Ok(upstream),
        Some(settings) => configure(upstream, settings, timeouts, &service_field()),
    }
}

/// The nodes of the ApisixUpstream that `reference`, of an object in `namespace`, names, for a route with deadlines of its own or none.
/// `field` is the reference's path in the object.
///
/// # Errors
/// When there is no such ApisixUpstream of ours, it is refused, or none of its nodes has a name that can be resolved. Which of
/// the nodes cannot is reported on the ApisixUpstream itself.
pub(super) fn external(
    world: &World,
    context: &Context,
    namespace: &Arc<str>,
    (reference, timeouts): (&UpstreamRef, Option<Timeouts>),
    field: &str,
    endpoints: &mut Endpoints<'_>,
) -> Result<Upstream, Invalid> {
    let key = ObjectKey::new(namespace.clone(), reference.name.clone());
    let unusable =
        |why: &str| Invalid::new(Reason::RefNotFound, format!("{field}.name"), format!("ApisixUpstream {key} {why}"));
    let observed = world.upstream(&key).ok_or_else(|| unusable("does not exist"))?;
    let upstream = observed.value.as_ref().map_err(|why| unusable(&format!("is refused: {why}")))?;
    if attach::attached(upstream.class.as_deref(), world, context) != Attached::Ours {
        return Err(unusable("belongs to another controller, or to none"));
    }
    let settings = upstream.settings.as_ref().map_err(|why| unusable(&format!("is refused: {why}")))?;
    let mut found = Vec::new();
    for node in &settings.nodes {
        let name = nodes::name(world, namespace, node, field).ok();
        if let Some(named) = name.and_then(|name| endpoints.find(world, name).ok()) {
            found.push((node, named));
        }
    }
    if found.is_empty() {
        return Err(unusable(match settings.nodes.as_slice() {
            [] => "has no externalNodes",
            _ => "has no external node that can be resolved; its own conditions say why",
        }));
    }
    let transport = Transport::default();
    let counts: Vec<_> = found.iter().map(|(node, named)| (node.weight, named.addresses.len())).collect();
    let mut nodes = Vec::new();
    for ((node, named), weight) in found.into_iter().zip(nodes::shares(&counts)) {
        for address in named.addresses {
            let address = SocketAddr::new(address, node.port.unwrap_or(HTTP));
            nodes.push(Node { endpoint: endpoints.at(address, &transport), name: named.name.clone(), weight });
        }
    }
    configure(Upstream::new(key.to_string().into(), nodes), &settings.default, timeouts, &format!("{field}.name"))
}

/// The ready endpoints of the Service's port `port`: those of the slices' port of the same name (EndpointSlice v1).
fn ready(world: &World, service: &ObjectKey, port: &ServicePort) -> BTreeSet<SocketAddr> {
    let mut addresses = BTreeSet::new();
    for slice in world.slices(service) {
        for number in slice.ports.iter().filter(|p| p.name == port.name).map(|p| p.port) {
            addresses.extend(slice.addresses.iter().map(|ip| SocketAddr::new(*ip, number)));
        }
    }
    addresses
}

fn port_of<'a>(
    key: &ObjectKey,
    service: &'a Service,
    wanted: &PortRef,
    field: &str,
) -> Result<&'a ServicePort, Invalid> {
    let found = service.ports.iter().find(|port| match wanted {
        PortRef::Name(name) => port.name == *name,
        PortRef::Number(number) => port.port == *number,
    });
    found.ok_or_else(|| {
        let ports: Vec<_> =
            service
                .ports
                .iter()
                .map(|port| {
                    if port.name.is_empty() { port.port.to_string() } else { format!("{} ({})", port.port, port.name) }
                })
                .collect();
        let message = format!("Service {key} has no such port; it has {}", ports.join(", "));
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
