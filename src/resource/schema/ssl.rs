//! The schema of certificates.

use serde_json::{Value, json};

use super::{HOST, certificate, metadata, private_key, with};

pub(super) fn ssl() -> Value {
    let name = json!({ "type": "string", "pattern": HOST });
    let own = json!({
        "type": { "type": "string", "enum": ["server", "client"], "default": "server" },
        "cert": certificate(),
        "key": private_key(),
        "sni": name,
        "snis": { "type": "array", "items": name, "minItems": 1 },
        "certs": { "type": "array", "items": certificate() },
        "keys": { "type": "array", "items": private_key() },
        "client": {
            "type": "object",
            "properties": {
                "ca": certificate(),
                "depth": { "type": "integer", "minimum": 0, "default": 1 },
                "skip_mtls_uri_regex": {
                    "type": "array", "items": { "type": "string" }, "minItems": 1, "uniqueItems": true
                },
            },
            "required": ["ca"],
        },
        "status": { "type": "integer", "enum": [1, 0], "default": 1 },
        "ssl_protocols": {
            "type": "array", "items": { "enum": ["TLSv1.1", "TLSv1.2", "TLSv1.3"] }, "maxItems": 3, "uniqueItems": true
        },
    });
    let mut properties = with(metadata(), own);
    properties.remove("name");
    json!({
        "type": "object",
        "properties": properties,
        "if": { "properties": { "type": { "enum": ["server"] } } },
        "then": { "oneOf": [{ "required": ["sni", "key", "cert"] }, { "required": ["snis", "key", "cert"] }] },
        "else": { "required": ["key", "cert"] },
        "additionalProperties": false,
    })
}
