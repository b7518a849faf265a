//! JSON Schemas (2020-12) of the resources: APISIX's, and what of API7's and ours is served beyond them.

mod route;
mod ssl;
mod upstream;
mod words;

use std::sync::LazyLock;

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use super::Kind;

/// What makes a schema usable: it and its validator, made when the first resource of the kind is looked at.
struct Checked {
    schema: Value,
    validator: Option<Validator>,
}

static SCHEMAS: [LazyLock<Checked>; 13] = {
    macro_rules! checked {
        ($($kind:ident),*) => { [$(LazyLock::new(|| Checked::new(Kind::$kind))),*] };
    }
    checked![
        Route,
        Service,
        Upstream,
        Ssl,
        StreamRoute,
        PluginConfig,
        GlobalRule,
        Consumer,
        Credential,
        ConsumerGroup,
        PluginMetadata,
        Proto,
        Secret
    ]
};

impl Checked {
    fn new(kind: Kind) -> Self {
        let schema = of(kind);
        let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
        // A schema of ours is always valid: a test reads every one.
        let validator = options.build(&schema).ok();
        Self { schema, validator }
    }
}

/// The schema of a kind.
pub fn schema(kind: Kind) -> &'static Value {
    &SCHEMAS[kind as usize].schema
}

/// Whether a resource has the shape of its kind, which is not all that [`check`](fn@super::check) asks for.
///
/// # Errors
/// What is wrong first, in APISIX's words.
pub fn check(kind: Kind, value: &Value) -> Result<(), String> {
    let Checked { schema, validator } = &*SCHEMAS[kind as usize];
    let validator = validator.as_ref().ok_or("has no usable schema")?;
    words::first(schema, validator.iter_errors(value)).map_or(Ok(()), Err)
}

fn of(kind: Kind) -> Value {
    match kind {
        Kind::Route => route::route(),
        Kind::Service => route::service(),
        Kind::Upstream => upstream::upstream(),
        Kind::Ssl => ssl::ssl(),
        Kind::StreamRoute => route::stream_route(),
        Kind::PluginConfig | Kind::ConsumerGroup => {
            object(&with(metadata(), json!({ "plugins": plugins() })), &["id", "plugins"])
        }
        Kind::GlobalRule => object(&with(times(), json!({ "id": id(), "plugins": plugins() })), &["id", "plugins"]),
        Kind::Consumer => {
            let username =
                json!({ "type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[a-zA-Z0-9_\\-]+$" });
            let own = json!({ "username": username, "group_id": id(), "plugins": plugins() });
            let mut properties = with(metadata(), own);
            properties.remove("name");
            object(&properties, &["username"])
        }
        Kind::Credential => {
            let plugins = json!({ "type": "object", "maxProperties": 1 });
            let long = json!({
                "type": "string", "minLength": 15, "maxLength": 128, "pattern": "^[a-zA-Z0-9-_]+/credentials/[a-zA-Z0-9-_.]+$"
            });
            let id = json!({ "oneOf": [id(), long] });
            object(&with(metadata(), json!({ "id": id, "plugins": plugins })), &[])
        }
        Kind::PluginMetadata | Kind::Secret => json!({ "type": "object" }),
        Kind::Proto => {
            let content = json!({ "type": "string", "minLength": 1, "maxLength": 1 << 20 });
            object(&with(metadata(), json!({ "content": content })), &["content"])
        }
    }
}

/// An object of these properties and no others.
fn object(properties: &Map<String, Value>, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn with(mut properties: Map<String, Value>, more: Value) -> Map<String, Value> {
    if let Value::Object(more) = more {
        properties.extend(more);
    }
    properties
}

/// What every resource has.
fn metadata() -> Map<String, Value> {
    let label = json!({ "type": "string", "pattern": "^\\S+$", "minLength": 1, "maxLength": 256 });
    let own = json!({
        "id": id(),
        "name": { "type": "string", "minLength": 1, "maxLength": 256 },
        "desc": { "type": "string", "maxLength": 256 },
        "labels": { "type": "object", "patternProperties": { ".*": label } },
    });
    with(times(), own)
}

/// Seconds since the epoch, which the server sets.
fn times() -> Map<String, Value> {
    with(Map::new(), json!({ "create_time": { "type": "integer" }, "update_time": { "type": "integer" } }))
}

fn id() -> Value {
    json!({ "anyOf": [
        { "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-_.]+$" },
        { "type": "integer", "minimum": 1 },
    ] })
}

fn plugins() -> Value {
    json!({ "type": "object" })
}

/// APISIX's pattern of hosts; which of those are served is for [`check`](fn@super::check) to say.
const HOST: &str = "^\\*$|^\\*?[0-9a-zA-Z-._\\[\\]:]+$";

fn host() -> Value {
    json!({ "type": "string", "pattern": HOST })
}

/// An address or a block of addresses.
fn network() -> Value {
    let octet = "([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])";
    let v4 = format!("^{octet}\\.{octet}\\.{octet}\\.{octet}/([12]?[0-9]|3[0-2])$");
    let v6 = "^([a-fA-F0-9]{0,4}:){1,8}(:[a-fA-F0-9]{0,4}){0,8}([a-fA-F0-9]{0,4})?/[0-9]{1,3}$";
    json!({ "type": "string", "anyOf": [
        { "type": "string", "format": "ipv4" },
        { "type": "string", "pattern": v4 },
        { "type": "string", "format": "ipv6" },
        { "type": "string", "pattern": v6 },
    ] })
}

fn methods() -> Value {
    json!(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PURGE"])
}

/// Seconds.
fn timeout() -> Value {
    let seconds = json!({ "type": "number", "exclusiveMinimum": 0 });
    json!({
        "type": "object",
        "properties": { "connect": seconds, "send": seconds, "read": seconds },
        "required": ["connect", "send", "read"],
    })
}

fn certificate() -> Value {
    json!({ "type": "string", "minLength": 128, "maxLength": 65_536 })
}

fn private_key() -> Value {
    json!({ "type": "string", "minLength": 64, "maxLength": 65_536 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_is_valid_and_at_its_place() {
        for kind in Kind::ALL {
            let checked = &*SCHEMAS[kind as usize];
            assert_eq!(checked.schema, of(kind), "{kind}");
            assert!(checked.validator.is_some(), "{kind}");
            assert!(jsonschema::meta::is_valid(&checked.schema), "{kind}");
        }
    }
}
