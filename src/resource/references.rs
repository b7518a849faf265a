//! Which resources a resource needs.

use serde_json::Value;

use super::{Key, Kind};

/// The resources that `value`, of `kind`, refers to, each with the field that does.
pub fn references(kind: Kind, value: &Value) -> Vec<(&'static str, Key)> {
    fields(kind)
        .iter()
        .filter_map(|(field, kind)| {
            let pointer = format!("/{}", field.replace('.', "/"));
            Some((*field, Key::new(*kind, id(value.pointer(&pointer)?)?)))
        })
        .collect()
}

/// Whether resources of `kind` may refer to those of the kind `to`.
pub fn may_refer(kind: Kind, to: Kind) -> bool {
    fields(kind).iter().any(|(_, found)| *found == to)
}

/// The fields of a kind that may refer to a resource.
fn fields(kind: Kind) -> &'static [(&'static str, Kind)] {
    match kind {
        Kind::Service => &[("upstream.tls.client_cert_id", Kind::Ssl), ("upstream_id", Kind::Upstream)],
        Kind::Route | Kind::StreamRoute => &[
            ("upstream.tls.client_cert_id", Kind::Ssl),
            ("upstream_id", Kind::Upstream),
            ("service_id", Kind::Service),
        ],
        Kind::Upstream => &[("tls.client_cert_id", Kind::Ssl)],
        Kind::Consumer => &[("group_id", Kind::ConsumerGroup)],
        _ => &[],
    }
}

/// An id as keys have it: it may be sent as a number.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_found_as_texts_and_numbers() {
        let route = json!({ "upstream_id": 1, "service_id": "a", "upstream": { "tls": { "client_cert_id": "c" } } });
        let found: Vec<_> =
            references(Kind::Route, &route).into_iter().map(|(field, key)| (field, key.to_string())).collect();
        let expected =
            [("upstream.tls.client_cert_id", "ssls/c"), ("upstream_id", "upstreams/1"), ("service_id", "services/a")];
        assert_eq!(found, expected.map(|(field, key)| (field, key.to_owned())));
        assert_eq!(references(Kind::Upstream, &json!({ "upstream_id": 1, "tls": { "client_cert_id": {} } })), []);
    }
}
