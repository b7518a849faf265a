//! Routes, with what they take from their services.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::plugins::{self, Plugins};
use super::resource::{Id, Resource, read};
use super::service::{Service, upstream_ref};
use super::timeouts::{self, Timeout};
use super::vars;
use crate::model::{Conditions, HostPattern, Invalid, Methods, Network, PathPattern, Route as Object, Rule};
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
            upstreams: vec![upstream_ref(resource, (self.upstream.is_some(), self.upstream_id.as_ref()), service)?],
            websocket: self.enable_websocket.or_else(|| service?.websocket).unwrap_or(false),
        };
        Ok(Object { class: None, rules: vec![rule], streams: Vec::new() })
    }

    fn hosts(&self, service: Option<&Service>) -> Result<Vec<HostPattern>, Invalid> {
        let own = Values::of(("host", self.host.as_ref()), ("hosts", self.hosts.as_deref()))?;
        let shared = || Some(Values::list("service_id.hosts", service?.hosts.as_deref()?));
        match own.or_else(shared) {
            None => Ok(vec![HostPattern::Any]),
            Some(hosts) => hosts.each("leave it out for every host", HostPattern::parse),
        }
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
        let several = ("remote_addrs", self.remote_addrs.as_deref());
        match Values::of(("remote_addr", self.remote_addr.as_ref()), several)? {
            None => Ok(Vec::new()),
            Some(addresses) => {
                addresses.each("leave it out for every address", |text| Network::parse(text).map(Network::to_canonical))
            }
        }
    }

    fn paths(&self, prefix: &str) -> Result<Vec<PathPattern>, Invalid> {
        let paths = Values::of(("uri", self.uri.as_ref()), ("uris", self.uris.as_deref()))?;
        let paths = paths.ok_or_else(|| Invalid::spec("uri", "must be set; write `/*` for every path"))?;
        paths.each("write `/*` for every path", |path| {
            // The path by itself: `..` must not lead out of the prefix.
            Ok(match PathPattern::parse(path)? {
                PathPattern::Exact(path) => PathPattern::Exact(format!("{prefix}{path}").into()),
                PathPattern::Prefix(path) => PathPattern::Prefix(format!("{prefix}{path}").into()),
            })
        })
    }
}

/// The values of a field, under the name that was used.
struct Values<'v> {
    field: &'static str,
    is_list: bool,
    texts: Vec<&'v str>,
}

impl<'v> Values<'v> {
    fn list(field: &'static str, values: &'v [String]) -> Self {
        Self { field, is_list: true, texts: values.iter().map(String::as_str).collect() }
    }

    /// Of a field that there is for one value and for several.
    fn of(
        one: (&'static str, Option<&'v String>),
        several: (&'static str, Option<&'v [String]>),
    ) -> Result<Option<Self>, Invalid> {
        match (one, several) {
            ((field, Some(_)), (plural, Some(_))) => {
                Err(Invalid::spec(field, format!("must not be set beside `{plural}`")))
            }
            ((field, Some(one)), _) => Ok(Some(Self { field, is_list: false, texts: vec![one] })),
            (_, (field, Some(several))) => Ok(Some(Self::list(field, several))),
            _ => Ok(None),
        }
    }

    fn each<T>(&self, instead: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Invalid> {
        each(&self.texts, self.field, instead, |text| parse(text)).map_err(|mut invalid| {
            if !self.is_list {
                self.field.clone_into(&mut invalid.field);
            }
            invalid
        })
    }
}
