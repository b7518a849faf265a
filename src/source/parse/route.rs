//! ApisixRoute to [`Route`].
//!
//! What this version does not serve refuses the whole object: a route without the plugin that protects it, or without the
//! expression that narrows it, is worse than none.

pub(in crate::source) mod expressions;
mod stream;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::expressions::expressions;
use self::stream::{stream_rule, tcp_rule};
use super::duration::timeouts;
use super::{Observe, json, weight};
use crate::api::{
    self, ApisixRoute, ApisixRouteSpec, Authentication, Backend, HttpMatch, HttpRule, IntOrString, Plugin,
};
use crate::model::{
    BackendRef, Conditions, Granularity, HostPattern, Invalid, Kind, Methods, Network, PathPattern, PortRef, Protocol,
    Route, Rule, UpstreamRef,
};
use crate::world::{Object, Observed};

impl Observe for ApisixRoute {
    const KIND: Kind = Kind::ApisixRoute;

    type Model = Route;

    fn parse(self) -> Result<Route, Invalid> {
        let ApisixRouteSpec { http, ingress_class_name, stream, tcp } = json::read(self.spec, "spec")?;
        let rules = list(http, "spec.http", rule)?;
        let mut streams = list(stream, "spec.stream", stream_rule)?;
        streams.extend(list(tcp, "spec.tcp", tcp_rule)?);
        if rules.is_empty() && streams.is_empty() {
            return Err(Invalid::spec("spec.http", "must hold at least one rule, or `spec.stream` must"));
        }
        let http = rules.iter().enumerate().map(|(index, rule)| (format!("spec.http[{index}]"), &rule.name));
        let stream = streams.iter().map(|stream| (stream.field.to_string(), &stream.name));
        unique(http.chain(stream))?;
        Ok(Route { class: ingress_class_name.filter(|name| !name.is_empty()).map(Arc::from), rules, streams })
    }

    fn wrap(observed: Observed<Route>) -> Object {
        Object::ApisixRoute(observed)
    }
}

/// Reads every entry of a list of rules.
fn list<S, T>(
    entries: Option<Vec<S>>,
    field: &str,
    read: impl Fn(S, &str) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    let read = |(index, entry)| read(entry, &format!("{field}[{index}]"));
    entries.unwrap_or_default().into_iter().enumerate().map(read).collect()
}

/// Rules for HTTP and for streams share one name space (APISIX).
fn unique<'a>(rules: impl Iterator<Item = (String, &'a Arc<str>)>) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    for (field, name) in rules {
        if !names.insert(name) {
            let message = format!("duplicate route rule name: `{name}` is the name of an earlier rule");
            return Err(Invalid::spec(format!("{field}.name"), message));
        }
    }
    Ok(())
}

fn rule(rule: HttpRule, field: &str) -> Result<Rule, Invalid> {
    let HttpRule {
        authentication,
        backend,
        backends,
        matches,
        name,
        plugin_config_name,
        plugin_config_namespace: _,
        plugins,
        priority,
        timeout,
        upstreams,
        websocket,
    } = rule;
    let name = name.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Invalid::spec(format!("{field}.name"), "must not be empty"))?;
    refuse_plugins(plugins.as_deref().unwrap_or_default(), field)?;
    if let Some(Authentication { enable: Some(true), kind }) = authentication {
        let kind = kind.unwrap_or_else(|| "of users".to_owned());
        return Err(Invalid::unsupported(
            format!("{field}.authentication"),
            format!("authentication {kind} is not served"),
        ));
    }
    if let Some(name) = plugin_config_name.filter(|name| !name.is_empty()) {
        let message = format!("ApisixPluginConfig `{name}` is not served");
        return Err(Invalid::unsupported(format!("{field}.plugin_config_name"), message));
    }
    let upstreams = upstream_refs(upstreams.unwrap_or_default(), &format!("{field}.upstreams"))?;
    let matches = matches.ok_or_else(|| Invalid::spec(format!("{field}.match"), "must be set"))?;
    let (hosts, methods, paths, conditions) = request_match(matches, &format!("{field}.match"))?;
    Ok(Rule {
        backends: backend_refs(backend, backends, !upstreams.is_empty(), field)?,
        conditions: conditions.into(),
        hosts,
        methods,
        name: name.into(),
        paths,
        priority: priority.unwrap_or(0),
        strip: None,
        timeouts: timeouts(timeout, &format!("{field}.timeout"))?,
        upstreams,
        websocket: websocket.unwrap_or(false),
    })
}

fn refuse_plugins(plugins: &[Plugin], field: &str) -> Result<(), Invalid> {
    let Some((index, plugin)) = plugins.iter().enumerate().find(|(_, plugin)| plugin.enable != Some(false)) else {
        return Ok(());
    };
    let name = plugin.name.as_deref().unwrap_or_default();
    Err(Invalid::unsupported(
        format!("{field}.plugins[{index}]"),
        format!("plugin `{name}` is not served; remove it, or set `enable: false` to do without"),
    ))
}

type Match = (Vec<HostPattern>, Methods, Vec<PathPattern>, Conditions);

fn request_match(matches: HttpMatch, field: &str) -> Result<Match, Invalid> {
    let HttpMatch { exprs, filter_func, hosts, methods, paths, remote_addrs } = matches;
    if filter_func.is_some_and(|function| !function.is_empty()) {
        return Err(Invalid::unsupported(format!("{field}.filter_func"), "filter_func is not served"));
    }
    let hosts = match hosts {
        None => vec![HostPattern::Any],
        Some(hosts) => {
            each(&hosts, &format!("{field}.hosts"), "leave it out for every host", |host| HostPattern::parse(host))?
        }
    };
    let methods = match methods {
        None => Methods::ANY,
        Some(methods) => {
            let known = |name: &String| {
                Methods::NONE.with(name).ok_or_else(|| format!("`{name}` is none of {}", Methods::NAMES.join(", ")))
            };
            each(&methods, &format!("{field}.methods"), "leave it out for every method", known)?;
            methods.iter().fold(Methods::NONE, |set, name| set.with(name).unwrap_or(set))
        }
    };
    let paths = each(&paths.unwrap_or_default(), &format!("{field}.paths"), "write `/*` for every path", |path| {
        PathPattern::parse(path)
    })?;
    let networks = match remote_addrs {
        None => Vec::new(),
        Some(addresses) => {
            each(&addresses, &format!("{field}.remoteAddrs"), "leave it out for every address", |text| {
                Network::parse(text).map(Network::to_canonical)
            })?
        }
    };
    let expressions = expressions(exprs.unwrap_or_default(), &format!("{field}.exprs"))?;
    Ok((hosts, methods, paths, Conditions { expressions, networks: networks.into() }))
}

/// Parses every element of a list that must not be empty.
pub(in crate::source) fn each<S, T>(
    list: &[S],
    field: &str,
    instead: &str,
    parse: impl Fn(&S) -> Result<T, String>,
) -> Result<Vec<T>, Invalid> {
    if list.is_empty() {
        return Err(Invalid::spec(field, format!("must not be empty; {instead}")));
    }
    let parse =
        |(index, element)| parse(element).map_err(|message| Invalid::spec(format!("{field}[{index}]"), message));
    list.iter().enumerate().map(parse).collect()
}

fn backend_refs(
    backend: Option<Backend>,
    backends: Option<Vec<Backend>>,
    may_be_empty: bool,
    field: &str,
) -> Result<Vec<BackendRef>, Invalid> {
    let list = format!("{field}.backends");
    let backends = match (backend, backends) {
        (Some(_), Some(_)) => {
            return Err(Invalid::spec(format!("{field}.backend"), "must not be set beside `backends`"));
        }
        (Some(backend), None) => return Ok(vec![backend_ref(backend, &format!("{field}.backend"))?]),
        (None, backends) => backends.unwrap_or_default(),
    };
    if backends.is_empty() && !may_be_empty {
        return Err(Invalid::spec(list, "must hold at least one backend"));
    }
    let mut services = BTreeSet::new();
    let mut refs = Vec::with_capacity(backends.len());
    for (index, backend) in backends.into_iter().enumerate() {
        let field = format!("{list}[{index}]");
        let backend = backend_ref(backend, &field)?;
        // APISIX's rule: its traffic split knows a backend by its Service alone.
        if !services.insert(backend.service.clone()) {
            return Err(Invalid::spec(
                format!("{field}.serviceName"),
                format!("duplicate backend service: `{}` is in the list already", backend.service),
            ));
        }
        refs.push(backend);
    }
    Ok(refs)
}

fn upstream_refs(upstreams: Vec<api::UpstreamRef>, list: &str) -> Result<Vec<UpstreamRef>, Invalid> {
    let mut names = BTreeSet::new();
    let mut refs = Vec::with_capacity(upstreams.len());
    for (index, api::UpstreamRef { name, weight }) in upstreams.into_iter().enumerate() {
        let field = format!("{list}[{index}]");
        let name: Arc<str> = name.unwrap_or_default().into();
        if name.is_empty() {
            return Err(Invalid::spec(format!("{field}.name"), "must not be empty"));
        }
        if !names.insert(name.clone()) {
            return Err(Invalid::spec(format!("{field}.name"), format!("`{name}` is in the list already")));
        }
        let weight = weight::weight(weight, &field)?;
        refs.push(UpstreamRef { field: format!("{field}.name").into(), name, weight });
    }
    Ok(refs)
}

fn backend_ref(backend: Backend, field: &str) -> Result<BackendRef, Invalid> {
    let Backend { resolve_granularity, resolve_granualrity, service_name, service_port, subset, weight } = backend;
    if subset.is_some_and(|subset| !subset.is_empty()) {
        return Err(Invalid::unsupported(format!("{field}.subset"), "subsets are not served"));
    }
    let service = service_name.filter(|name| !name.is_empty());
    let service = service.ok_or_else(|| Invalid::spec(format!("{field}.serviceName"), "must not be empty"))?;
    let spellings = [("resolveGranularity", resolve_granularity), ("resolveGranualrity", resolve_granualrity)];
    let mut granularity = Granularity::default();
    for (name, text) in spellings {
        match text.as_deref() {
            None | Some("") => continue,
            Some("endpoint") => granularity = Granularity::Endpoint,
            Some("service") => granularity = Granularity::Service,
            Some(other) => {
                let message = format!("`{other}` is neither `endpoint` nor `service`");
                return Err(Invalid::spec(format!("{field}.{name}"), message));
            }
        }
        break;
    }
    let weight = weight::weight(weight, field)?;
    let port = port(service_port).map_err(|message| Invalid::spec(format!("{field}.servicePort"), message))?;
    Ok(BackendRef { granularity, port, protocol: Protocol::Tcp, service: service.into(), weight })
}

/// A port by number or name; a name of digits is a number, as in APISIX.
fn port(port: Option<IntOrString>) -> Result<PortRef, String> {
    let number = |number: i64| {
        let valid = u16::try_from(number).ok().filter(|port| *port != 0);
        valid.map(PortRef::Number).ok_or_else(|| format!("{number} is not between 1 and 65535"))
    };
    match port {
        None => Err("must be set".to_owned()),
        Some(IntOrString::Int(port)) => number(port),
        Some(IntOrString::String(name)) => match name.parse() {
            Ok(port) => number(port),
            Err(_) if name.is_empty() => Err("must not be empty".to_owned()),
            Err(_) => Ok(PortRef::Name(name.into())),
        },
    }
}

#[cfg(test)]
mod tests;
