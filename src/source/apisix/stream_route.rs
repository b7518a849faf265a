//! Stream routes.

use serde::Deserialize;
use serde_json::Value;

use super::plugins::{self, Plugins};
use super::resource::{Id, Resource, read};
use super::service::{Service, upstream_ref};
use crate::model::{HostPattern, Invalid, Network, Route, StreamBackend, StreamRule};
use crate::source::parse::service::number;

/// A stream route as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamRoute {
    plugins: Option<Plugins>,
    protocol: Option<Value>,
    remote_addr: Option<String>,
    server_addr: Option<Value>,
    server_port: Option<i64>,
    pub(super) service_id: Option<Id>,
    sni: Option<String>,
    pub(super) upstream: Option<Value>,
    upstream_id: Option<Id>,
}

impl StreamRoute {
    /// Reads what is written.
    pub(super) fn read(value: Value) -> Result<Self, Invalid> {
        read(value, "")
    }

    /// The stream route with what it takes from `service`: the upstream. Without `server_port` it is for every port that is opened for
    /// streams, with `sni` for those of TLS.
    pub(super) fn merged(&self, resource: &Resource<'_>, service: Option<&Service>) -> Result<Route, Invalid> {
        plugins::refuse(self.plugins.as_ref())?;
        plugins::refuse_set(&[("protocol", self.protocol.is_some()), ("server_addr", self.server_addr.is_some())])?;
        let own = (self.upstream.is_some(), self.upstream_id.as_ref());
        let rule = StreamRule {
            backend: StreamBackend::Upstream(upstream_ref(resource, own, service)?),
            clients: match self.remote_addr.as_deref() {
                None => Box::default(),
                Some(text) => {
                    let network = Network::parse(text).map_err(|message| Invalid::spec("remote_addr", message))?;
                    [network.to_canonical()].into()
                }
            },
            field: "spec".into(),
            host: match self.sni.as_deref() {
                None => HostPattern::Any,
                Some(sni) => HostPattern::parse(sni).map_err(|message| Invalid::spec("sni", message))?,
            },
            name: "".into(),
            port: self.server_port.map(|port| number(Some(port), "server_port".to_owned())).transpose()?,
            protocol: None,
        };
        Ok(Route { class: None, rules: Vec::new(), streams: vec![rule] })
    }
}
