//! From a backend to addresses: Service, port, EndpointSlices.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;

use super::Context;
use super::attach::{self, Attached};
use super::carries::Carries;
use super::nodes::{self, Named};
use super::upstream_tls::ClientConfigs;
use crate::model::{
    BackendRef, Balancing, Effect, Granularity, HostName, Invalid, Kind, ObjectKey, ObjectRef, PassHost, PortRef,
    Problem, Protocol, Reason, Service, ServiceAddress, ServicePort, Timeouts, UpstreamProtocol, UpstreamRef,
    UpstreamSettings, UpstreamTls, VerifyServer,
};
use crate::snapshot::{Carried, CheckId, Endpoint, Host, NameOf, Node, Secure, Transport, Upstream, Watched};
use crate::world::World;

/// The endpoints in use, by address and transport: one connection pool for both, whichever routes lead to it.
#[derive(Debug)]
pub(super) struct Endpoints<'a> {
    pub(super) current: HashMap<(SocketAddr, Transport), Arc<Endpoint>>,
    /// Those whose health is looked after.
    pub(super) health: HashMap<CheckId, Watched>,
    /// The names that addresses were wanted of.
    pub(super) names: BTreeSet<Arc<str>>,
    pub(super) previous: &'a Carried,
    pub(super) tls: ClientConfigs,
}

impl<'a> Endpoints<'a> {
    pub(super) fn new(previous: &'a Carried) -> Self {
        let (current, health, names) = Default::default();
        Self { current, health, names, previous, tls: ClientConfigs::new(previous) }
    }

    fn at(&mut self, address: SocketAddr, transport: &Transport) -> Arc<Endpoint> {
        let key = (address, transport.clone());
        if let Some(endpoint) = self.current.get(&key) {
            return endpoint.clone();
        }
        let carried = self.previous.endpoints.get(&key).cloned();
        let endpoint = carried.unwrap_or_else(|| Arc::new(Endpoint::new(key.0, key.1.clone())));
        self.current.insert(key, endpoint.clone());
        endpoint
    }
}

impl Endpoints<'_> {
    /// The addresses of `name`, which is wanted from now on.
    fn find(&mut self, world: &World, name: &Arc<str>) -> Result<Named, String> {
        let found = nodes::find(world, name);
        if found.as_ref().map_or(true, |found| found.name.is_some()) {
            self.names.insert(name.clone());
        }
        found
    }

    /// The node at `address`, which was found by `name`.
    fn node(&mut self, address: SocketAddr, transport: &Transport, name: Option<&Arc<str>>) -> Node {
        let mut transport = transport.clone();
        // In the transport, because connections to one address under two names are not the same.
        if let (Some(secure), Some(name)) = (&mut transport.tls, name.and_then(|name| HostName::parse(name)))
            && secure.name == NameOf::Node
        {
            secure.name = NameOf::Fixed(name);
        }
        Node { name: name.cloned(), ..self.at(address, &transport).into() }
    }
}

/// How the endpoints are spoken to.
///
/// # Errors
/// When a Secret is missing or broken: never plain text, nor without the certificate, in its place.
fn transport(
    world: &World,
    context: &Context,
    settings: &UpstreamSettings,
    configs: &mut ClientConfigs,
) -> Result<Transport, Invalid> {
    let UpstreamSettings { keepalive, protocol, .. } = *settings;
    let http2 = protocol == UpstreamProtocol::Http2;
    let Some(tls) = &settings.tls else { return Ok(Transport { http2, keepalive, tls: None }) };
    let client = configs.get(world, context, tls, protocol)?;
    let name = match &settings.host {
        PassHost::Node => NameOf::Node,
        PassHost::Pass => NameOf::Client,
        PassHost::Rewrite(host) => NameOf::Fixed(
            HostName::parse(host)
                .ok_or_else(|| Invalid::spec("upstreamHost", format!("`{host}` is no name that TLS can ask for")))?,
        ),
    };
    Ok(Transport { http2, keepalive, tls: Some(Secure { client, name }) })
}

fn refused(key: &ObjectKey, why: &Invalid, field: &str) -> Invalid {
    let message = format!("ApisixUpstream {key}, which has the Service's name, is refused: {why}");
    Invalid::new(Reason::RefNotFound, format!("{field}.serviceName"), message)
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
    let refused = |why: &Invalid| refused(key, why, field);
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
        Balancing::PeakEwma => upstream.with_peak_ewma(),
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
    upstream.retry_timeout = settings.retry_timeout;
    upstream.timeouts = if of_route.is_some() { None } else { settings.timeouts };
    Ok(upstream)
}

const NAME_AUTHORITIES: &str = "name their authorities in the tlsVerify of an ApisixUpstream with the scheme https";

/// The settings for requests to a port whose `appProtocol` asks for TLS; `None` where the ApisixUpstream's scheme decides, or where
/// it is streams that are carried, which bring their own protocol.
fn secured_by_service(settings: Option<&UpstreamSettings>, carries: Carries) -> Option<UpstreamSettings> {
    let settings = settings.cloned().unwrap_or_default();
    let decides = settings.protocol == UpstreamProtocol::Implied && matches!(carries, Carries::Requests(_));
    let tls = Some(Box::new(UpstreamTls { client: None, verify: VerifyServer::No }));
    decides.then_some(UpstreamSettings { protocol: UpstreamProtocol::Http1, tls, ..settings })
}

/// Resolves `backend` of an object in `namespace`. `field` is the backend's
/// path in the object; what is wrong although the backend can be used goes to `problems`.
///
/// # Errors
/// When the Service or its port does not exist, or has no address of the wanted kind, or its name has never resolved, or
/// the Service's ApisixUpstream is refused. No ready endpoint is no error.
pub(super) fn resolve(
    world: &World,
    context: &Context,
    namespace: &Arc<str>,
    (backend, carries): (&BackendRef, Carries),
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
            let port = port_of(&key, service, backend, field)?;
            (port.port, [SocketAddr::new(*ip, port.port)].into())
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
    let title = match &backend.port {
        PortRef::Name(port) => format!("{key}:{port}"),
        PortRef::Number(port) => format!("{key}:{port}"),
    };
    let settings = settings(world, context, &key, number, field)?;
    let is_asked = |port: &ServicePort| (port.port, port.protocol) == (number, backend.protocol);
    let secured = service.ports.iter().any(|port| is_asked(port) && port.secure);
    let secured = if secured { secured_by_service(settings, carries) } else { None };
    if secured.is_some() {
        let message =
            format!("Service {key} asks for TLS by its appProtocol, and its endpoints' certificates are not verified");
        let invalid = Invalid::new(Reason::NotVerified, service_field(), format!("{message}; {NAME_AUTHORITIES}"));
        problems.push(Problem { effect: Effect::Warning, invalid });
    }
    let settings = secured.as_ref().or(settings);
    if let Some(why) = settings.and_then(|settings| carries.fits(settings, backend.protocol).err()) {
        return Err(Invalid::unsupported(service_field(), format!("ApisixUpstream {key} {why}")));
    }
    let transport = settings.map(|settings| transport(world, context, settings, &mut endpoints.tls)).transpose();
    let transport = transport.map_err(|why| refused(&key, &why, field))?.unwrap_or_default();
    let mut nodes: Vec<_> =
        addresses.into_iter().map(|address| endpoints.node(address, &transport, name.as_ref())).collect();
    if let Some(settings) = settings {
        let watched = endpoints.look_after(world, context, &mut nodes, settings, format!("{key}:{number}"));
        watched.map_err(|why| refused(&key, &why, field))?;
    }
    let upstream = Upstream::new(title.into(), nodes);
    match settings {
        None => Ok(upstream),
        Some(settings) => configure(upstream, settings, carries.timeouts(), &service_field()),
    }
}

/// The nodes of the ApisixUpstream that `reference`, of an object in `namespace`, names, for what it `carries`: streams over `protocol`.
///
/// # Errors
/// When there is no such ApisixUpstream of ours, it is refused, or none of its nodes has a name that can be resolved. Which of
/// the nodes cannot is reported on the ApisixUpstream itself.
pub(super) fn external(
    world: &World,
    context: &Context,
    namespace: &Arc<str>,
    (reference, carries, protocol): (&UpstreamRef, Carries, Protocol),
    endpoints: &mut Endpoints<'_>,
) -> Result<Upstream, Invalid> {
    let key = ObjectKey::new(namespace.clone(), reference.name.clone());
    let object = ObjectRef { kind: Kind::ApisixUpstream, key };
    let key = &object.key;
    let unusable = |why: &str| Invalid::new(Reason::RefNotFound, &*reference.field, format!("{object} {why}"));
    let observed = world.upstream(key).ok_or_else(|| unusable("does not exist"))?;
    let upstream = observed.value.as_ref().map_err(|why| unusable(&format!("is refused: {why}")))?;
    if attach::attached(upstream.class.as_deref(), world, context) != Attached::Ours {
        return Err(unusable("belongs to another controller, or to none"));
    }
    let settings = upstream.settings.as_ref().map_err(|why| unusable(&format!("is refused: {why}")))?;
    let mut found = Vec::new();
    for node in &settings.nodes {
        let name = nodes::name(world, namespace, node, "").ok();
        if let Some(named) = name.and_then(|name| endpoints.find(world, name).ok()) {
            found.push((node, named));
        }
    }
    if found.is_empty() {
        return Err(unusable(match settings.nodes.as_slice() {
            [] => "has no nodes of its own",
            _ => "has no external node that can be resolved; its own conditions say why",
        }));
    }
    carries.fits(&settings.default, protocol).map_err(unusable)?;
    let transport = transport(world, context, &settings.default, &mut endpoints.tls);
    let transport = transport.map_err(|why| unusable(&format!("is refused: {why}")))?;
    let port = if transport.tls.is_some() { 443 } else { 80 };
    let counts: Vec<_> = found.iter().map(|(node, named)| (node.weight, named.addresses.len())).collect();
    let mut nodes = Vec::new();
    for ((node, named), weight) in found.into_iter().zip(nodes::shares(&counts)) {
        for address in named.addresses {
            let address = SocketAddr::new(address, node.port.unwrap_or(port));
            nodes.push(Node {
                priority: node.priority,
                weight,
                ..endpoints.node(address, &transport, named.name.as_ref())
            });
        }
    }
    let watched = endpoints.look_after(world, context, &mut nodes, &settings.default, key.to_string());
    watched.map_err(|why| unusable(&format!("is refused: {why}")))?;
    configure(Upstream::new(key.to_string().into(), nodes), &settings.default, carries.timeouts(), &reference.field)
}

/// The ready endpoints of the Service's port `port`: those of the slices' port of the same name (EndpointSlice v1).
fn ready(world: &World, service: &ObjectKey, port: &ServicePort) -> BTreeSet<SocketAddr> {
    let mut addresses = BTreeSet::new();
    for slice in world.slices(service) {
        for number in
            slice.ports.iter().filter(|p| (&p.name, p.protocol) == (&port.name, port.protocol)).map(|p| p.port)
        {
            addresses.extend(slice.addresses.iter().map(|ip| SocketAddr::new(*ip, number)));
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
