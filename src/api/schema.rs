//! Schemas that no Rust type has by itself.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A Go duration.
pub(super) const DURATION: &str = r"^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$";

/// A SHA-256 digest: hexadecimal, with or without colons, or base64.
pub(super) const SHA256: &str = "^([0-9a-fA-F]{64}|([0-9a-fA-F]{2}:){31}[0-9a-fA-F]{2}|[0-9A-Za-z+/]{43}=)$";

/// A port's number or name.
pub(super) fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 63,
        "maximum": 65535,
        "minLength": 1,
        "minimum": 1,
    })
}

/// Anything at all.
pub(super) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// A point in time.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// A set of methods: those of APISIX.
pub(super) fn methods(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "string",
            "enum": ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PURGE", "PUT", "TRACE"],
        },
        "maxItems": 32,
        "minItems": 1,
    })
}
