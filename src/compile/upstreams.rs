//! From a backend to addresses: Service, port, EndpointSlices.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::{
    BackendRef, Granularity, Invalid, ObjectKey, PortRef, Reason, Service, ServiceAddress, ServicePort,
};
use crate::snapshot::{Address, Endpoint, Upstream};
use crate::world::World;

/// The endpoints in use, by address: one connection pool per address, whichever routes lead to it.
#[derive(Debug)]
pub(super) struct Endpoints<'a> {
    previous: &'a HashMap<Address, Arc<Endpoint>>,
    pub(super) current: HashMap<Address, Arc<Endpoint>>,
}

impl<'a> Endpoints<'a> {
    pub(super) fn new(previous: &'a HashMap<Address, Arc<Endpoint>>) -> Self {
        Self { current: HashMap::new(), previous }
    }

    fn at(&mut self, address: Address) -> Arc<Endpoint> {
        if let Some(endpoint) = self.current.get(&address) {
            return endpoint.clone();
        }
        let carried = self.previous.get(&address).cloned();
        let endpoint = carried.unwrap_or_else(|| Arc::new(Endpoint::new(address.clone())));
        self.current.insert(address, endpoint.clone());
        endpoint
    }
}

/// Resolves `backend` of an object in `namespace`. `field` is the backend's path in the object.
///
/// # Errors
/// When the Service or its port does not exist, or has no address of the wanted kind. No ready endpoint is no error.
pub(super) fn resolve(
    world: &World,
    namespace: &Arc<str>,
    backend: &BackendRef,
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
    let addresses: BTreeSet<Address> = match (&service.address, backend.granularity) {
        (ServiceAddress::External(name), _) => {
            [Address::Name(name.clone(), external_port(service, backend, field)?)].into()
        }
        (ServiceAddress::Cluster(ip), Granularity::Service) => {
            let port = port_of(&key, service, &backend.port, field)?;
            [Address::Socket(SocketAddr::new(*ip, port.port))].into()
        }
        (ServiceAddress::Headless, Granularity::Service) => {
            let message = format!("Service {key} has no cluster IP; leave resolveGranularity out");
            return Err(Invalid::spec(format!("{field}.resolveGranularity"), message));
        }
        (_, Granularity::Endpoint) => ready(world, &key, port_of(&key, service, &backend.port, field)?),
    };
    let name = match &backend.port {
        PortRef::Name(port) => format!("{key}:{port}"),
        PortRef::Number(port) => format!("{key}:{port}"),
    };
    Ok(Upstream::new(name.into(), addresses.into_iter().map(|address| endpoints.at(address)).collect()))
}

/// The ready endpoints of the Service's port `port`: those of the slices' port of the same name (EndpointSlice v1).
fn ready(world: &World, service: &ObjectKey, port: &ServicePort) -> BTreeSet<Address> {
    let mut addresses = BTreeSet::new();
    for slice in world.slices(service) {
        for number in slice.ports.iter().filter(|p| p.name == port.name).map(|p| p.port) {
            addresses.extend(slice.addresses.iter().map(|ip| Address::Socket(SocketAddr::new(*ip, number))));
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
