//! Routes, with what they take from their services.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::plugins::{self, Plugins};
use super::resource::{Id, Resource, read};
use super::service::{Service, upstream};
use super::timeouts::{self, Timeout};
use super::vars;
use crate::model::{
    Conditions, HostPattern, Invalid, Methods, Network, PathPattern, Route as Object, Rule, UpstreamRef,
};
use crate::source::parse::route::each;

/// A route as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    enable_websocket: Option<bool>,
    filter_func: Option<Value>,
    host: Option<String>,
    hosts: Option<Vec<String>>,
    methods: Option<Vec<String>>,
    plugin_config_id: Option<Id>,
    plugins: Option<Plugins>,
    priority: Option<i64>,
    remote_addr: Option<String>,
    remote_addrs: Option<Vec<String>>,
    script: Option<Value>,
    script_id: Option<Value>,
    pub(super) service_id: Option<Id>,
    status: Option<u8>,
    timeout: Option<Timeout>,
    pub(super) upstream: Option<Value>,
    upstream_id: Option<Id>,
    uri: Option<String>,
    uris: Option<Vec<String>>,
    vars: Option<Value>,
}

impl Route {
    /// Reads what is written.
    pub(super) fn read(value: Value) -> Result<Self, Invalid> {
        read(value, "")
    }

    /// Whether it is switched off: `status` 0.
    pub(super) fn is_off(&self) -> bool {
        self.status == Some(0)
    }

    /// The route with what it takes from `service` (apisix/plugin.lua, `merge_service_route`).
    pub(super) fn merged(&self, resource: &Resource<'_>, service: Option<&Service>) -> Result<Object, Invalid> {
        plugins::refuse(self.plugins.as_ref())?;
        plugins::refuse_set(&[
            ("filter_func", self.filter_func.is_some()),
            ("plugin_config_id", self.plugin_config_id.is_some()),
            ("script", self.script.is_some()),
            ("script_id", self.script_id.is_some()),
        ])?;
        if let Some(status @ 2..) = self.status {
            return Err(Invalid::spec("status", format!("{status} is neither 0 nor 1")));
        }
        let prefix = service.map_or("", |service| &service.path_prefix);
        let strip = service.filter(|service| service.strip_path_prefix && !prefix.is_empty());
        let rule = Rule {
            backends: Vec::new(),
            conditions: Arc::new(Conditions {
                expressions: self.vars.as_ref().map(|vars| vars::read(vars, "vars")).transpose()?.unwrap_or_default(),
                networks: self.networks()?.into(),
            }),
            hosts: self.hosts(service)?,
            methods: self.methods()?,
            name: "".into(),
            paths: self.paths(prefix)?,
            priority: self.priority.unwrap_or(0),
            strip: strip.map(|service| service.path_prefix.clone()),
            timeouts: timeouts::read(self.timeout, "timeout")?,
            upstreams: vec![self.upstream(resource, service)?],
            websocket: self.enable_websocket.or_else(|| service?.websocket).unwrap_or(false),
        };
        Ok(Object { class: None, rules: vec![rule], streams: Vec::new() })
    }

    fn hosts(&self, service: Option<&Service>) -> Result<Vec<HostPattern>, Invalid> {
        let (hosts, field) = match one_or_more(self.host.as_ref(), self.hosts.as_deref(), "host", "hosts")? {
            Some(found) => found,
            None => match service.and_then(|service| service.hosts.as_ref()) {
                Some(hosts) => (hosts.iter().collect(), "service_id.hosts"),
                None => return Ok(vec![HostPattern::Any]),
            },
        };
        each(&hosts, field, "leave it out for every host", |host| HostPattern::parse(host))
    }

    fn methods(&self) -> Result<Methods, Invalid> {
        let mut methods = Methods::NONE;
        for (index, name) in self.methods.iter().flatten().enumerate() {
            methods = methods.with(name).ok_or_else(|| {
                let message = format!("`{name}` is none of {}", Methods::NAMES.join(", "));
                Invalid::spec(format!("methods[{index}]"), message)
            })?;
        }
        Ok(if methods == Methods::NONE { Methods::ANY } else { methods })
    }

    fn networks(&self) -> Result<Vec<Network>, Invalid> {
        let (one, several) = (self.remote_addr.as_ref(), self.remote_addrs.as_deref());
        let Some((addresses, field)) = one_or_more(one, several, "remote_addr", "remote_addrs")? else {
            return Ok(Vec::new());
        };
        each(&addresses, field, "leave it out for every address", |text| {
            Network::parse(text).map(Network::to_canonical)
        })
    }

    fn paths(&self, prefix: &str) -> Result<Vec<PathPattern>, Invalid> {
        let Some((paths, field)) = one_or_more(self.uri.as_ref(), self.uris.as_deref(), "uri", "uris")? else {
            return Err(Invalid::spec("uri", "must be set; write `/*` for every path"));
        };
        each(&paths, field, "write `/*` for every path", |path| {
            if path.starts_with('/') {
                PathPattern::parse(&format!("{prefix}{path}"))
            } else {
                PathPattern::parse(path)
            }
        })
    }

    fn upstream(&self, resource: &Resource<'_>, service: Option<&Service>) -> Result<UpstreamRef, Invalid> {
        let own = upstream(resource.key, self.upstream.is_some(), self.upstream_id.clone());
        let field = match (&own, &self.upstream) {
            (Some(_), Some(_)) => "upstream",
            (Some(_), None) => "upstream_id",
            (None, _) => "service_id",
        };
        let name = own.or_else(|| service?.upstream.clone());
        let name = name.ok_or_else(|| Invalid::spec("upstream", "must be set, or upstream_id, or by the service"))?;
        Ok(UpstreamRef { field: field.into(), name, weight: 1 })
    }
}

/// The values of a field that there is for one and for several, with the name that was used.
fn one_or_more<'v>(
    one: Option<&'v String>,
    several: Option<&'v [String]>,
    singular: &'static str,
    plural: &'static str,
) -> Result<Option<(Vec<&'v String>, &'static str)>, Invalid> {
    match (one, several) {
        (Some(_), Some(_)) => Err(Invalid::spec(singular, format!("must not be set beside `{plural}`"))),
        (Some(one), None) => Ok(Some((vec![one], singular))),
        (None, Some(several)) => Ok(Some((several.iter().collect(), plural))),
        (None, None) => Ok(None),
    }
}
