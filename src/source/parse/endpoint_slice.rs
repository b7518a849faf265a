//! EndpointSlice to [`EndpointSlice`].

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Observe;
use super::service::{number, protocol};
use crate::api;
use crate::model::{EndpointSlice, Invalid, Kind, SlicePort};
use crate::world::{Object, Observed};

/// The label that names a slice's Service.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

impl Observe for api::EndpointSlice {
    const KIND: Kind = Kind::EndpointSlice;

    type Model = EndpointSlice;

    fn parse(self) -> Result<EndpointSlice, Invalid> {
        let Self { address_type, endpoints, metadata, ports } = self;
        let service = metadata.labels.unwrap_or_default().remove(SERVICE_LABEL).filter(|name| !name.is_empty());
        let service = service.ok_or_else(|| {
            Invalid::spec("metadata.labels", format!("must name the Service under `{SERVICE_LABEL}`"))
        })?;
        if address_type.as_deref() == Some("FQDN") {
            return Err(Invalid::unsupported("addressType", "endpoints by name are not served"));
        }
        let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
        for (index, endpoint) in endpoints.unwrap_or_default().into_iter().enumerate() {
            let api::Endpoint { addresses: texts, conditions } = endpoint;
            // Unknown counts as ready (the field's own documentation).
            if conditions.and_then(|conditions| conditions.ready) == Some(false) {
                continue;
            }
            for (at, text) in texts.unwrap_or_default().iter().enumerate() {
                let address = text.parse().map_err(|_| {
                    Invalid::spec(format!("endpoints[{index}].addresses[{at}]"), format!("`{text}` is no address"))
                })?;
                addresses.insert(address);
            }
        }
        let mut served = Vec::new();
        for (index, port) in ports.unwrap_or_default().into_iter().enumerate() {
            let api::EndpointPort { name, port, protocol: text } = port;
            // No number means every port, which no Service port can be joined with.
            if let Some(protocol) = protocol(text.as_deref())
                && port.is_some()
            {
                let port = number(port, format!("ports[{index}].port"))?;
                served.push(SlicePort { name: name.unwrap_or_default().into(), port, protocol });
            }
        }
        Ok(EndpointSlice { addresses: addresses.into_iter().collect(), ports: served, service: service.into() })
    }

    fn wrap(observed: Observed<EndpointSlice>) -> Object {
        Object::EndpointSlice(observed)
    }
}
