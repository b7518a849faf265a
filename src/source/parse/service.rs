//! Service to [`Service`].

use super::Observe;
use super::domain::domain;
use crate::api;
use crate::model::{Invalid, Kind, Protocol, Service, ServiceAddress, ServicePort};
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
        let mut served = Vec::new();
        for (index, port) in ports.unwrap_or_default().into_iter().enumerate() {
            let api::ServicePort { app_protocol, name, port, protocol: text } = port;
            if let Some(protocol) = protocol(text.as_deref()) {
                let port = number(port, format!("spec.ports[{index}].port"))?;
                let secure = app_protocol.as_deref().is_some_and(is_secure);
                served.push(ServicePort { name: name.unwrap_or_default().into(), port, protocol, secure });
            }
        }
        Ok(Service { address, ports: served })
    }

    fn wrap(observed: Observed<Service>) -> Object {
        Object::Service(observed)
    }
}

/// A port's protocol; `None` for SCTP, which is not served.
pub(super) fn protocol(protocol: Option<&str>) -> Option<Protocol> {
    match protocol {
        None | Some("" | "TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some(_) => None,
    }
}

/// Whether an `appProtocol` is one of HTTP over TLS, as APISIX's controller has it (KEP-3726 for the prefixed one). All others mean
/// plain text, or nothing to us.
fn is_secure(app_protocol: &str) -> bool {
    matches!(app_protocol, "https" | "wss" | "kubernetes.io/wss")
}

/// A port's number.
pub(in crate::source) fn number(port: Option<i64>, field: String) -> Result<u16, Invalid> {
    let valid = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    valid.ok_or_else(|| Invalid::spec(field, "must be between 1 and 65535"))
}
