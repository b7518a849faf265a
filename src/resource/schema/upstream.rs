//! The schema of upstreams.

use serde_json::{Value, json};

use super::{certificate, host, id, metadata, methods, private_key, timeout, with};

pub(in crate::resource) fn upstream() -> Value {
    let own = json!({
        "nodes": nodes(),
        "retries": { "type": "integer", "minimum": 0 },
        "retry_timeout": { "type": "number", "minimum": 0 },
        "timeout": timeout(),
        "tls": {
            "type": "object",
            "properties": {
                "client_cert_id": id(),
                "client_cert": certificate(),
                "client_key": private_key(),
                "verify": { "type": "boolean", "default": false },
            },
            "dependentSchemas": {
                "client_cert": { "required": ["client_key"] },
                "client_key": { "required": ["client_cert"] },
                "client_cert_id": { "not": { "required": ["client_cert", "client_key"] } },
            },
        },
        "keepalive_pool": {
            "type": "object",
            "properties": {
                "size": { "type": "integer", "minimum": 1, "default": 320 },
                "idle_timeout": { "type": "number", "minimum": 0, "default": 60 },
                "requests": { "type": "integer", "minimum": 1, "default": 1000 },
            },
        },
        "type": { "type": "string", "default": "roundrobin" },
        "checks": {
            "type": "object",
            "properties": { "active": active(), "passive": passive() },
            "anyOf": [{ "required": ["active"] }, { "required": ["active", "passive"] }],
        },
        "hash_on": { "type": "string", "enum": ["vars", "header", "cookie", "consumer", "vars_combinations"], "default": "vars" },
        "key": { "type": "string" },
        "scheme": { "enum": ["grpc", "grpcs", "http", "https", "tcp", "tls", "udp", "kafka"], "default": "http" },
        "discovery_type": { "type": "string" },
        "discovery_args": {
            "type": "object",
            "properties": { "namespace_id": { "type": "string" }, "group_name": { "type": "string" } },
        },
        "pass_host": { "type": "string", "enum": ["pass", "node", "rewrite"], "default": "pass" },
        "upstream_host": host(),
        "service_name": { "type": "string", "minLength": 1, "maxLength": 256 },
    });
    json!({
        "type": "object",
        "properties": with(metadata(), own),
        "oneOf": [{ "required": ["nodes"] }, { "required": ["service_name", "discovery_type"] }],
        "additionalProperties": false,
    })
}

fn nodes() -> Value {
    let weight = json!({ "type": "integer", "minimum": 0 });
    json!({ "anyOf": [
        { "type": "object", "patternProperties": { ".*": weight } },
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "host": host(),
                    "port": port(),
                    "weight": weight,
                    "priority": { "type": "integer", "default": 0 },
                    "metadata": { "type": "object" },
                },
                "required": ["host", "weight"],
            },
        },
    ] })
}

fn port() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": 65_535 })
}

fn statuses(default: &[u16]) -> Value {
    json!({
        "type": "array",
        "items": { "type": "integer", "minimum": 200, "maximum": 599 },
        "minItems": 1,
        "uniqueItems": true,
        "default": default,
    })
}

/// How many in a row.
fn count(least: u8, default: u8) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": 254, "default": default })
}

fn protocol() -> Value {
    json!({ "type": "string", "enum": ["http", "https", "tcp"], "default": "http" })
}

fn properties(properties: &Value) -> Value {
    json!({ "type": "object", "properties": properties })
}

fn active() -> Value {
    let interval = json!({ "type": "integer", "minimum": 1, "default": 1 });
    properties(&json!({
        "type": protocol(),
        "timeout": { "type": "number", "default": 1 },
        "concurrency": { "type": "integer", "default": 10 },
        "host": host(),
        "port": port(),
        "http_method": { "type": "string", "enum": methods(), "default": "GET" },
        "http_path": { "type": "string", "default": "/" },
        "http_req_body": { "type": "string", "default": "" },
        "https_verify_certificate": { "type": "boolean", "default": true },
        "healthy": properties(&json!({
            "interval": interval, "http_statuses": statuses(&[200, 302]), "successes": count(1, 2)
        })),
        "unhealthy": properties(&json!({
            "interval": interval,
            "http_statuses": statuses(&[429, 404, 500, 501, 502, 503, 504, 505]),
            "http_failures": count(1, 5),
            "tcp_failures": count(1, 2),
            "timeouts": count(1, 3),
        })),
        "req_headers": { "type": "array", "items": { "type": "string" }, "minItems": 1 },
    }))
}

fn passive() -> Value {
    let good = [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308];
    properties(&json!({
        "type": protocol(),
        "healthy": properties(&json!({ "http_statuses": statuses(&good), "successes": count(0, 5) })),
        "unhealthy": properties(&json!({
            "http_statuses": statuses(&[429, 500, 503]),
            "tcp_failures": count(0, 2),
            "timeouts": count(0, 7),
            "http_failures": count(0, 5),
        })),
    }))
}
