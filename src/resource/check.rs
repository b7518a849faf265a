//! What makes a resource valid beyond its shape: APISIX's checks, and those that it forgets.

mod ssl;
mod upstream;

use serde_json::Value;

use super::{Kind, places, schema, vars};
use crate::model::{HostPattern, PathPattern};

/// Whether a resource is valid by itself; what it refers to is another matter. Its secrets are opened, its references to the environment
/// followed.
///
/// # Errors
/// A text that names the field, in APISIX's words where it has some.
pub fn check(kind: Kind, value: &Value) -> Result<(), String> {
    places::texts(kind, value, elsewhere)?;
    match kind {
        Kind::Route => route(value),
        Kind::Service => {
            shape(kind, value)?;
            services_and_routes(value)
        }
        Kind::StreamRoute => {
            shape(kind, value)?;
            unsupported(value, &[("protocol", "no protocol of xRPC is built")])?;
            value.get("upstream").map_or(Ok(()), upstream::check)?;
            plugins(value)
        }
        Kind::Upstream => {
            shape_of_upstream(value)?;
            upstream::check(value)
        }
        Kind::Ssl => {
            shape(kind, value)?;
            ssl::check(value)
        }
        Kind::Consumer | Kind::Credential => {
            shape(kind, value)?;
            plugins(value).map_err(|why| format!("invalid plugins configuration: {why}"))
        }
        Kind::PluginConfig | Kind::GlobalRule | Kind::ConsumerGroup => {
            shape(kind, value)?;
            plugins(value)
        }
        Kind::PluginMetadata => Err("invalid plugin name".to_owned()),
        Kind::Proto => {
            Err("protos are not supported: the plugin grpc-transcode, which uses them, is not built".to_owned())
        }
        Kind::Secret => Err("secret managers are not supported: send the PEM itself".to_owned()),
    }
}

/// Refuses a text that stands elsewhere.
fn elsewhere(field: &str, text: &str) -> Result<(), String> {
    match ["$secret://", "$env://", "$ENV://"].iter().find(|scheme| text.starts_with(**scheme)) {
        None => Ok(()),
        Some(scheme) => Err(format!("{field}: {scheme} is not supported: send the PEM itself")),
    }
}

fn shape(kind: Kind, value: &Value) -> Result<(), String> {
    schema::check(kind, value).map_err(invalid)
}

fn invalid(why: impl std::fmt::Display) -> String {
    format!("invalid configuration: {why}")
}

/// Nodes with addresses of IPv6 are looked at before the shape, as APISIX does.
fn shape_of_upstream(value: &Value) -> Result<(), String> {
    upstream::addresses(value).map_err(invalid)?;
    shape(Kind::Upstream, value)
}

fn route(value: &Value) -> Result<(), String> {
    for (one, many) in [("host", "hosts"), ("remote_addr", "remote_addrs")] {
        if value.get(one).is_some() && value.get(many).is_some() {
            return Err(format!("only one of {one} or {many} is allowed"));
        }
    }
    shape(Kind::Route, value)?;
    services_and_routes(value)?;
    let lua = "Lua is not run; use vars";
    let fields = [("filter_func", lua), ("plugin_config_id", "no plugin is built"), ("script_id", "Lua is not run")];
    unsupported(value, &fields)?;
    for (field, path) in each(value, "uri", "uris") {
        PathPattern::parse(path).map_err(|why| invalid(format!("property \"{field}\" validation failed: {why}")))?;
    }
    if let Some(Value::Array(conditions)) = value.get("vars") {
        vars::check(conditions).map_err(|why| format!("failed to validate the 'vars' expression: {why}"))?;
    }
    Ok(())
}

/// What services and routes have in common.
fn services_and_routes(value: &Value) -> Result<(), String> {
    if let Some(inline) = value.get("upstream") {
        upstream::addresses(inline).map_err(invalid)?;
        upstream::check(inline)?;
    }
    unsupported(value, &[("script", "Lua is not run")])?;
    for (field, host) in each(value, "host", "hosts") {
        HostPattern::parse(host).map_err(|why| invalid(format!("property \"{field}\" validation failed: {why}")))?;
    }
    plugins(value)
}

/// The texts of a field that may hold one, and of another that may hold several.
fn each<'a>(value: &'a Value, one: &'a str, many: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let texts = value.get(many).and_then(Value::as_array).into_iter().flatten().map(move |text| (many, text));
    let text = value.get(one).map(|text| (one, text));
    text.into_iter().chain(texts).filter_map(|(field, text)| Some((field, text.as_str()?)))
}

fn unsupported(value: &Value, fields: &[(&str, &str)]) -> Result<(), String> {
    let found = fields.iter().find(|(field, _)| value.get(field).is_some());
    found.map_or(Ok(()), |(field, why)| Err(format!("{field} is not supported: {why}")))
}

/// No plugin is built.
fn plugins(value: &Value) -> Result<(), String> {
    let first = value.get("plugins").and_then(Value::as_object).and_then(|plugins| plugins.keys().next());
    first.map_or(Ok(()), |name| Err(format!("unknown plugin [{name}]")))
}

#[cfg(test)]
mod tests;
