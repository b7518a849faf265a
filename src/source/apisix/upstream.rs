//! Upstreams: of their own, and inside routes, services and stream routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::checks::{self, Checks};
use super::resource::{Id, Resource, part, plain, read};
use super::timeouts::{self, Timeout, seconds};
use crate::api;
use crate::model::{
    Data, ExternalName, ExternalNode, Invalid, Keepalive, ObjectKey, ServiceSettings, SettingsByPort, UpstreamSettings,
};
use crate::source::parse::domain::domain;
use crate::source::parse::service::number;
use crate::source::parse::upstream::{balancer, host, tls};
use crate::world::Object;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    checks: Option<Checks>,
    discovery_args: Option<Value>,
    discovery_type: Option<Value>,
    hash_on: Option<String>,
    keepalive_pool: Option<KeepalivePool>,
    key: Option<String>,
    nodes: Option<Value>,
    pass_host: Option<String>,
    retries: Option<i64>,
    retry_timeout: Option<f64>,
    scheme: Option<String>,
    service_name: Option<Value>,
    timeout: Option<Timeout>,
    tls: Option<Tls>,
    #[serde(rename = "type")]
    kind: Option<String>,
    upstream_host: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeepalivePool {
    idle_timeout: Option<f64>,
    requests: Option<u64>,
    size: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    client_cert: Option<String>,
    client_cert_id: Option<Id>,
    client_key: Option<String>,
    verify: Option<bool>,
}

/// One of the nodes where they are a list. `metadata` says nothing here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    host: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<Value>,
    port: Option<i64>,
    priority: Option<i32>,
    weight: i64,
}

/// The heaviest weight: far from an overflow of a sum of weights.
const HEAVIEST: u32 = 1_000_000;

/// Reads the upstream `value` of `resource`, where it stands at `within`: `upstream.`, or nothing. Also returns the Secret with our certificate
/// where that stands in it.
pub(super) fn objects(resource: &Resource<'_>, value: Value, within: &str) -> Vec<(ObjectKey, Object)> {
    let mut secret = None;
    let settings = settings(resource, value, within, &mut secret);
    let settings = ServiceSettings { class: None, settings };
    let upstream = Object::ApisixUpstream(Box::new(resource.observed(Ok(settings))));
    let secret = secret.map(|data| Object::Secret(resource.observed(Ok(data))));
    [Some(upstream), secret].into_iter().flatten().map(|object| (resource.name(), object)).collect()
}

fn settings(
    resource: &Resource<'_>,
    value: Value,
    within: &str,
    secret: &mut Option<Data>,
) -> Result<SettingsByPort, Invalid> {
    let upstream: Fields = read(value, within.trim_end_matches('.'))?;
    let field = |name: &str| format!("{within}{name}");
    for (name, is_set) in [
        ("discovery_type", upstream.discovery_type.is_some()),
        ("service_name", upstream.service_name.is_some()),
        ("discovery_args", upstream.discovery_args.is_some()),
    ] {
        if is_set {
            let message = "service discovery is not served; write `nodes`";
            return Err(Invalid::unsupported(field(name), message));
        }
    }
    let nodes = upstream.nodes.ok_or_else(|| Invalid::spec(field("nodes"), "must be set"))?;
    let nodes = self::nodes(nodes, &field("nodes"))?;
    let translated = |invalid: Invalid| invalid.of_resource(within);
    let (certificate, verify) = match upstream.tls {
        None => (None, None),
        Some(tls) => {
            let verify = tls.verify == Some(true);
            let verify = verify.then_some(api::TlsVerify { ca_secret: None, system_roots: Some(true) });
            (client_certificate(resource, tls, &field("tls"), secret)?, verify)
        }
    };
    let scheme = upstream.scheme.unwrap_or_default();
    let (protocol, tls) = tls::read(&scheme, certificate, verify, resource.prefix, "spec").map_err(translated)?;
    let balancer = api::LoadBalancer { hash_on: upstream.hash_on, key: upstream.key, kind: upstream.kind };
    let pass_host = upstream.pass_host.unwrap_or_default();
    let upstream_host = upstream.upstream_host.unwrap_or_default();
    let default = UpstreamSettings {
        balancing: balancer::read(balancer, "spec.loadbalancer").map_err(translated)?,
        health: upstream.checks.map(|checks| checks::read(checks, within).map(Arc::new)).transpose()?,
        host: host(&pass_host, &upstream_host, "spec").map_err(translated)?,
        protocol,
        keepalive: upstream
            .keepalive_pool
            .map_or(Ok(Keepalive::default()), |pool| keepalive(&pool, &field("keepalive_pool")))?,
        retries: upstream.retries.map(|retries| self::retries(retries, &field("retries"))).transpose()?,
        retry_timeout: match upstream.retry_timeout {
            None | Some(0.0) => None, // APISIX: no limit
            Some(time) => Some(seconds(time, &field("retry_timeout"))?),
        },
        timeouts: timeouts::read(upstream.timeout, &field("timeout"))?,
        tls: tls.map(Box::new),
    };
    Ok(SettingsByPort { default, nodes, ports: BTreeMap::new() })
}

fn retries(retries: i64, field: &str) -> Result<usize, Invalid> {
    usize::try_from(retries).map_err(|_| Invalid::spec(field, format!("{retries} must not be negative")))
}

fn keepalive(pool: &KeepalivePool, field: &str) -> Result<Keepalive, Invalid> {
    let default = Keepalive::default();
    let idle_timeout = pool.idle_timeout.map(|time| match time {
        0.0 => Ok(Duration::ZERO),
        time => seconds(time, &format!("{field}.idle_timeout")),
    });
    let size = pool.size.unwrap_or(default.size);
    let requests = pool.requests.unwrap_or(default.requests);
    for (name, is_zero) in [("size", size == 0), ("requests", requests == 0)] {
        if is_zero {
            return Err(Invalid::spec(format!("{field}.{name}"), "must be at least 1"));
        }
    }
    Ok(Keepalive { idle_timeout: idle_timeout.transpose()?.unwrap_or(default.idle_timeout), requests, size })
}

/// The certificate that we show: that of an ssl, or one that stands here, which goes to `secret`.
fn client_certificate(
    resource: &Resource<'_>,
    tls: Tls,
    field: &str,
    secret: &mut Option<Data>,
) -> Result<Option<api::SecretRef>, Invalid> {
    let named = |name: String| Some(api::SecretRef { name: Some(name), namespace: None });
    let inline = |name: &str| format!("{field}.{name}");
    match (tls.client_cert_id, tls.client_cert, tls.client_key) {
        (None, None, None) => Ok(None),
        (Some(id), None, None) => Ok(named(format!("ssls/{id}"))),
        (None, Some(certificate), Some(key)) => {
            plain(&certificate, &inline("client_cert"))?;
            let key = resource.open(&key, &inline("client_key"))?;
            *secret = Some(Data::new([("cert", Bytes::from(certificate)), ("key", Bytes::from(key))]));
            Ok(named(resource.key.to_string()))
        }
        (Some(_), _, _) => {
            Err(Invalid::spec(inline("client_cert_id"), "must not be set beside client_cert and client_key"))
        }
        (None, Some(_), None) => Err(Invalid::spec(inline("client_key"), "must be set beside client_cert")),
        (None, None, Some(_)) => Err(Invalid::spec(inline("client_cert"), "must be set beside client_key")),
    }
}

/// Reads `nodes`: a map of `host:port` to weights, or a list.
fn nodes(nodes: Value, field: &str) -> Result<Vec<ExternalNode>, Invalid> {
    match nodes {
        Value::Object(map) => map
            .into_iter()
            .map(|(address, share)| {
                let field = format!("{field}[{address}]");
                let share = share.as_i64().ok_or_else(|| Invalid::spec(&field, "must be a weight, a whole number"))?;
                let (host, port) = split_port(&address);
                let port = port.map(|port| port.parse().unwrap_or(0)); // refused as 0 is
                Ok(ExternalNode {
                    name: name(host, &field)?,
                    port: port.map(|port| number(Some(port), field.clone())).transpose()?,
                    priority: 0,
                    weight: weight(share, &field)?,
                })
            })
            .collect(),
        Value::Array(list) => list
            .into_iter()
            .enumerate()
            .map(|(index, node)| {
                let field = format!("{field}[{index}]");
                let Node { host, _metadata: _, port, priority, weight: share } = part(node, &field)?;
                Ok(ExternalNode {
                    name: name(&host, &format!("{field}.host"))?,
                    port: port.map(|port| number(Some(port), format!("{field}.port"))).transpose()?,
                    priority: priority.unwrap_or(0),
                    weight: weight(share, &format!("{field}.weight"))?,
                })
            })
            .collect(),
        _ => Err(Invalid::spec(field, "must be a map such as {\"127.0.0.1:80\": 1}, or a list")),
    }
}

/// `host:port`, `[::1]:port`, or without the port.
fn split_port(address: &str) -> (&str, Option<&str>) {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    }
}

fn name(host: &str, field: &str) -> Result<ExternalName, Invalid> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    domain(bare).map(ExternalName::Domain).map_err(|message| Invalid::spec(field, message))
}

fn weight(weight: i64, field: &str) -> Result<u32, Invalid> {
    let valid = u32::try_from(weight).ok().filter(|weight| *weight <= HEAVIEST);
    valid.ok_or_else(|| Invalid::spec(field, format!("{weight} is no weight between 0 and {HEAVIEST}")))
}
