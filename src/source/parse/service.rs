//! Service to [`Service`].

use super::Observe;
use super::domain::domain;
use crate::api;
use crate::model::{Invalid, Kind, Service, ServiceAddress, ServicePort};
use crate::world::{Object, Observed};

impl Observe for api::Service {
    const KIND: Kind = Kind::Service;

    type Model = Service;

    fn parse(self) -> Result<Service, Invalid> {
        let api::ServiceSpec { cluster_ip, external_name, ports, kind } = self.spec.unwrap_or_default();
        let address = if kind.as_deref() == Some("ExternalName") {
            let name = domain(&external_name.unwrap_or_default());
            ServiceAddress::External(name.map_err(|message| Invalid::spec("spec.externalName", message))?)
        } else {
            match cluster_ip.as_deref() {
                None | Some("" | "None") => ServiceAddress::Headless,
                Some(text) => ServiceAddress::Cluster(
                    text.parse().map_err(|_| Invalid::spec("spec.clusterIP", format!("`{text}` is no address")))?,
                ),
            }
        };
        let mut tcp = Vec::new();
        for (index, port) in ports.unwrap_or_default().into_iter().enumerate() {
            let api::ServicePort { name, port, protocol } = port;
            if is_tcp(protocol.as_deref()) {
                let port = number(port, format!("spec.ports[{index}].port"))?;
                tcp.push(ServicePort { name: name.unwrap_or_default().into(), port });
            }
        }
        Ok(Service { address, ports: tcp })
    }

    fn wrap(observed: Observed<Service>) -> Object {
        Object::Service(observed)
    }
}

/// Whether a port can carry HTTP. DNS has `53/TCP` and `53/UDP` under two names of one number.
pub(super) fn is_tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("" | "TCP"))
}

/// A port's number.
pub(super) fn number(port: Option<i64>, field: String) -> Result<u16, Invalid> {
    let valid = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    valid.ok_or_else(|| Invalid::spec(field, "must be between 1 and 65535"))
}
