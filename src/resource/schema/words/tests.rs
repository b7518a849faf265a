use serde_json::{Value, json};

use crate::resource::Kind;
use crate::resource::schema::check;

fn says(kind: Kind, value: &Value) -> String {
    check(kind, value).unwrap_err()
}

fn route(change: &Value) -> Value {
    let mut route = json!({ "uri": "/", "upstream": { "nodes": { "127.0.0.1:80": 1 } } });
    for (name, value) in change.as_object().unwrap() {
        route[name] = value.clone();
    }
    route
}

#[test]
fn what_apisix_accepts_is_accepted() {
    for (kind, value) in [
        (Kind::Route, route(&json!({}))),
        (Kind::Route, route(&json!({ "id": 1, "name": "a", "labels": { "a": "b" }, "methods": ["GET"], "vars": [] }))),
        (
            Kind::Route,
            route(&json!({ "remote_addrs": ["10.0.0.0/8", "::1", "2001:db8::/32"], "hosts": ["*.a.com", "*"] })),
        ),
        (Kind::Upstream, json!({ "nodes": [{ "host": "a", "port": 80, "weight": 1 }], "type": "chash", "key": "uri" })),
        (Kind::Upstream, json!({ "nodes": {}, "checks": { "active": { "http_path": "/" } } })),
        (Kind::Upstream, json!({ "service_name": "a", "discovery_type": "dns" })),
        (Kind::Service, json!({})),
        (Kind::Service, json!({ "path_prefix": "/v1", "strip_path_prefix": true, "hosts": ["a.com"] })),
        (Kind::Ssl, json!({ "sni": "*", "cert": "c".repeat(128), "key": "k".repeat(64) })),
        (Kind::Ssl, json!({ "type": "client", "cert": "c".repeat(128), "key": "k".repeat(64) })),
        (Kind::StreamRoute, json!({ "server_port": 9100, "upstream_id": "1" })),
        (Kind::Consumer, json!({ "username": "jack_1-2" })),
        (Kind::Credential, json!({ "id": "a", "plugins": {} })),
        (Kind::GlobalRule, json!({ "id": "1", "plugins": {} })),
        (Kind::PluginConfig, json!({ "id": "1", "plugins": {}, "desc": "d" })),
    ] {
        assert_eq!(check(kind, &value), Ok(()), "{kind} {value}");
    }
}

#[test]
fn errors_are_in_apisix_words() {
    let id = "property \"upstream_id\" validation failed: object matches none of the required";
    for (change, says_this) in [
        (json!({ "upstream_id": 0.5 }), id),
        (json!({ "upstream_id": "a/b" }), id),
        (json!({ "nonsense": 1 }), "additional properties forbidden, found nonsense"),
        (json!({ "uri": "" }), "property \"uri\" validation failed: string too short, expected at least 1, got 0"),
        (json!({ "uri": 1 }), "property \"uri\" validation failed: wrong type: expected string, got number"),
        (
            json!({ "uris": ["/"] }),
            "allOf 1 failed: value should match only one schema, but matches both schemas 1 and 2",
        ),
        (json!({ "uris": [] }), "property \"uris\" validation failed: expect array to have at least 1 items"),
        (
            json!({ "uris": ["/", "/"] }),
            "property \"uris\" validation failed: expected unique items but items 1 and 2 are equal",
        ),
        (json!({ "status": 2 }), "property \"status\" validation failed: matches none of the enum values"),
        (
            json!({ "methods": ["get"] }),
            "property \"methods\" validation failed: failed to validate item 1: matches none of the enum values",
        ),
        (json!({ "labels": "a" }), "property \"labels\" validation failed: wrong type: expected object, got string"),
        (
            json!({ "labels": { "env": ["a", "b"] } }),
            "property \"labels\" validation failed: failed to validate env (matching \".*\"): wrong type: expected string, got table",
        ),
        (
            json!({ "timeout": { "connect": 0, "send": 1, "read": 1 } }),
            "property \"timeout\" validation failed: property \"connect\" validation failed: expected 0 to be greater than 0",
        ),
        (
            json!({ "host": "$" }),
            "property \"host\" validation failed: failed to match pattern \"^\\\\*$|^\\\\*?[0-9a-zA-Z-._\\\\[\\\\]:]+$\" with \"$\"",
        ),
        (
            json!({ "remote_addr": "a" }),
            "property \"remote_addr\" validation failed: object matches none of the required",
        ),
        (json!({ "script": "0123456789", "plugins": {} }), "value wasn't supposed to match schema"),
        (json!({ "name": null }), "property \"name\" validation failed: wrong type: expected string, got null"),
    ] {
        assert_eq!(says(Kind::Route, &route(&change)), says_this, "{change}");
    }
    let none = says(Kind::Route, &json!({ "uri": "/" }));
    assert!(none.starts_with("object matches none of the required: [\"plugins\",\"uri\"] or "), "{none}");
    let no_uri = says(Kind::Route, &json!({ "upstream_id": "1" }));
    assert_eq!(no_uri, "allOf 1 failed: value should match only one schema, but matches none");
}

#[test]
fn errors_in_depth_name_the_way() {
    let checks = |checks: Value| {
        says(Kind::Route, &route(&json!({ "upstream": { "nodes": {}, "checks": checks } })))
            .strip_prefix("property \"upstream\" validation failed: property \"checks\" validation failed: ")
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        checks(json!({ "active": { "healthy": { "successes": 255 } } })),
        "property \"active\" validation failed: property \"healthy\" validation failed: property \"successes\" validation failed: \
         expected 255 to be at most 254"
    );
    assert_eq!(
        checks(json!({ "active": { "unhealthy": { "http_failures": 1.1 } } })),
        "property \"active\" validation failed: property \"unhealthy\" validation failed: property \"http_failures\" validation \
         failed: wrong type: expected integer, got number"
    );
    assert_eq!(
        checks(json!({ "active": {}, "passive": { "unhealthy": { "http_statuses": [500, 600] } } })),
        "property \"passive\" validation failed: property \"unhealthy\" validation failed: property \"http_statuses\" validation \
         failed: failed to validate item 2: expected 600 to be at most 599"
    );
    assert_eq!(
        checks(json!({ "passive": {} })),
        "object matches none of the required: [\"active\"] or [\"active\",\"passive\"]"
    );
    let both = json!({ "nodes": {}, "tls": { "client_cert_id": 1, "client_cert": "c".repeat(128), "client_key": "k".repeat(64) } });
    assert_eq!(
        says(Kind::Upstream, &both),
        "property \"tls\" validation failed: failed to validate dependent schema for \"client_cert_id\": value wasn't supposed to \
         match schema"
    );
    let one = json!({ "nodes": {}, "tls": { "client_cert": "c".repeat(128) } });
    assert_eq!(
        says(Kind::Upstream, &one),
        "property \"tls\" validation failed: failed to validate dependent schema for \"client_cert\": property \"client_key\" is \
         required"
    );
}

#[test]
fn certificates_need_what_their_type_asks() {
    let (cert, key) = ("c".repeat(128), "k".repeat(64));
    for (value, says_this) in [
        (json!({ "sni": "a.com" }), "then clause did not match"),
        (json!({ "type": "client", "cert": cert }), "else clause did not match"),
        (json!({ "cert": cert, "key": key }), "then clause did not match"),
        (
            json!({ "cert": cert, "key": key, "snis": [] }),
            "property \"snis\" validation failed: expect array to have at least 1 items",
        ),
        (
            json!({ "cert": cert, "key": key, "sni": "a.com", "client": {} }),
            "property \"client\" validation failed: property \"ca\" is required",
        ),
        (
            json!({ "cert": "abc", "key": key, "sni": "a.com" }),
            "property \"cert\" validation failed: string too short, expected at least 128, got 3",
        ),
        (
            json!({ "cert": cert, "key": key, "sni": "a.com", "ssl_protocols": ["TLSv1.0"] }),
            "property \"ssl_protocols\" validation failed: failed to validate item 1: matches none of the enum values",
        ),
    ] {
        assert_eq!(says(Kind::Ssl, &value), says_this);
    }
}
