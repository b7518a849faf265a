//! Upstreams.

use std::net::Ipv6Addr;

use regex::Regex;
use serde_json::Value;

use super::{invalid, ssl, unsupported};

/// What `key` may be where `hash_on` is `vars`.
const VARIABLE: &str = "^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|hostname|mqtt_client_id)|arg_[0-9a-zA-z_-]+)$";

/// What `key` may be where `hash_on` is `header` or `cookie`.
const NAME: &str = "^[a-zA-Z0-9-_]+$";

/// The balancers that are built.
const BALANCERS: [&str; 4] = ["roundrobin", "chash", "ewma", "least_conn"];

/// Addresses of IPv6 stand in brackets, so that a port cannot be mistaken for a part of one.
pub(super) fn addresses(value: &Value) -> Result<(), String> {
    let nodes = value.get("nodes").and_then(Value::as_array).into_iter().flatten();
    let mut hosts = nodes.filter_map(|node| node.get("host")?.as_str());
    if hosts.any(|host| host.parse::<Ipv6Addr>().is_ok()) {
        return Err("IPv6 address must be enclosed with '[' and ']'".to_owned());
    }
    Ok(())
}

pub(super) fn check(value: &Value) -> Result<(), String> {
    if let Some(Value::Object(nodes)) = value.get("nodes") {
        nodes.keys().try_for_each(|node| port(node))?;
    }
    unsupported(value, &[("discovery_type", "no service discovery is built; give nodes")])?;
    if value.get("scheme").is_some_and(|scheme| scheme == "kafka") {
        return Err("scheme kafka is not supported".to_owned());
    }
    let is_empty = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().is_empty();
    if value.get("pass_host").is_some_and(|mode| mode == "rewrite") && is_empty("upstream_host") {
        return Err("`upstream_host` can't be empty when `pass_host` is `rewrite`".to_owned());
    }
    if let (Some(certificate), Some(key)) = (value.pointer("/tls/client_cert"), value.pointer("/tls/client_key")) {
        ssl::pair(certificate.as_str().unwrap_or_default(), key.as_str().unwrap_or_default())?;
    }
    let balancer = value.get("type").and_then(Value::as_str).unwrap_or("roundrobin");
    if !BALANCERS.contains(&balancer) {
        return Err(format!("type {balancer} is not supported: it is one of {}", BALANCERS.join(", ")));
    }
    if balancer == "chash" { hash(value) } else { Ok(()) }
}

/// What a consistent hash is made of.
fn hash(value: &Value) -> Result<(), String> {
    let hash_on = value.get("hash_on").and_then(Value::as_str).unwrap_or("vars");
    let key = match (hash_on, value.get("key").and_then(Value::as_str)) {
        ("consumer", _) => return Ok(()),
        (_, None) => return Err("missing key".to_owned()),
        (_, Some(key)) => key,
    };
    let pattern = match hash_on {
        "vars" => VARIABLE,
        "header" | "cookie" => NAME,
        _ => return Ok(()),
    };
    if Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(key)) {
        return Err(invalid(format!("failed to match pattern \"{pattern}\" with \"{key}\"")));
    }
    Ok(())
}

/// The port of a node that is written `host:port`, where it has one.
fn port(node: &str) -> Result<(), String> {
    let (host, port) = node.rsplit_once(':').unwrap_or((node, ""));
    // An address of IPv6 without a port.
    if port.is_empty() || (host.contains(':') && !host.ends_with(']')) {
        return Ok(());
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => Err(format!("invalid port {port}")),
    }
}
