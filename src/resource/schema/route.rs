//! The schemas of routes, services and stream routes.

use serde_json::{Value, json};

use super::upstream::upstream;
use super::{HOST, host, id, metadata, methods, network, object, plugins, timeout, with};

pub(super) fn route() -> Value {
    let own = json!({
        "uri": { "type": "string", "minLength": 1, "maxLength": 4096 },
        "uris": unique(&json!({ "type": "string" })),
        "priority": { "type": "integer", "default": 0 },
        "methods": { "type": "array", "items": { "type": "string", "enum": methods() }, "uniqueItems": true },
        "host": host(),
        "hosts": unique(&host()),
        "remote_addr": network(),
        "remote_addrs": unique(&network()),
        "timeout": timeout(),
        "vars": { "type": "array" },
        "filter_func": { "type": "string", "minLength": 10, "pattern": "^function" },
        "script": script(),
        "script_id": id(),
        "plugins": plugins(),
        "plugin_config_id": id(),
        "upstream": upstream(),
        "service_id": id(),
        "upstream_id": id(),
        "enable_websocket": { "type": "boolean" },
        "status": { "type": "integer", "enum": [1, 0], "default": 1 },
    });
    let target = |name: &str| [json!({ "required": [name, "uri"] }), json!({ "required": [name, "uris"] })];
    let targets: Vec<_> =
        ["plugins", "upstream", "upstream_id", "service_id", "script"].iter().flat_map(|name| target(name)).collect();
    json!({
        "type": "object",
        "properties": with(metadata(), own),
        "allOf": [
            { "oneOf": [{ "required": ["uri"] }, { "required": ["uris"] }] },
            one_or_none("host", "hosts"),
            one_or_none("remote_addr", "remote_addrs"),
        ],
        "anyOf": targets,
        "not": { "anyOf": [{ "required": ["script", "plugins"] }, { "required": ["script", "plugin_config_id"] }] },
        "additionalProperties": false,
    })
}

/// API7's `path_prefix` stands before the paths of the service's routes; `strip_path_prefix` takes it away again toward the upstream.
pub(super) fn service() -> Value {
    let own = json!({
        "plugins": plugins(),
        "upstream": upstream(),
        "upstream_id": id(),
        "script": script(),
        "enable_websocket": { "type": "boolean" },
        "hosts": unique(&host()),
        "path_prefix": { "type": "string", "minLength": 1, "maxLength": 4096, "pattern": "^/" },
        "strip_path_prefix": { "type": "boolean" },
    });
    object(&with(metadata(), own), &[])
}

pub(super) fn stream_route() -> Value {
    let own = json!({
        "remote_addr": network(),
        "server_addr": network(),
        "server_port": { "type": "integer", "minimum": 1, "maximum": 65_535 },
        "sni": { "type": "string", "pattern": HOST },
        "upstream": upstream(),
        "upstream_id": id(),
        "service_id": id(),
        "plugins": plugins(),
        "protocol": { "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] },
    });
    object(&with(metadata(), own), &[])
}

fn script() -> Value {
    json!({ "type": "string", "minLength": 10, "maxLength": 102_400 })
}

fn unique(items: &Value) -> Value {
    json!({ "type": "array", "items": items, "minItems": 1, "uniqueItems": true })
}

fn one_or_none(one: &str, many: &str) -> Value {
    let (one, many) = (json!({ "required": [one] }), json!({ "required": [many] }));
    json!({ "oneOf": [{ "not": { "anyOf": [one, many] } }, one, many] })
}
