//! Objects as a user writes them.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// An ApisixTls of the namespace `default` with the certificate that every host here has.
pub(crate) fn tls(name: &str, hosts: &[&str]) -> Value {
    json!({
        "apiVersion": "apisix.apache.org/v2",
        "kind": "ApisixTls",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"hosts": hosts, "secret": reference("server")},
    })
}

/// As [`tls`], with `spec.client`.
pub(crate) fn client_tls(name: &str, hosts: &[&str], client: Value) -> Value {
    let mut object = tls(name, hosts);
    object["spec"]["client"] = client;
    object
}

/// `spec.client` that trusts the authorities of the Secret.
pub(crate) fn trusts(secret: &str) -> Value {
    json!({"caSecret": reference(secret)})
}

/// A reference to a Secret.
pub(crate) fn reference(secret: &str) -> Value {
    json!({"name": secret, "namespace": "default"})
}

/// The object, made at `second` of 2026-01-01.
pub(crate) fn born(mut object: Value, second: u8) -> Value {
    object["metadata"]["creationTimestamp"] = format!("2026-01-01T00:00:{second:02}Z").into();
    object
}

pub(crate) fn secret(name: &str, entries: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<_, _> =
        entries.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"}, "stringData": data})
}

/// A Service with one endpoint, and a route that leads every request of every host to it.
pub(crate) fn route_for_everything(endpoint: SocketAddr) -> [Value; 3] {
    let meta = json!({"name": "upstream", "namespace": "default"});
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": {"clusterIP": "None", "ports": [{"port": 80}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "upstream-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "upstream"},
            },
            "endpoints": [{"addresses": [endpoint.ip().to_string()]}],
            "ports": [{"port": endpoint.port()}],
        }),
        json!({
            "apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute", "metadata": meta,
            "spec": {"http": [{
                "name": "everything", "websocket": true, "match": {"paths": ["/*"]},
                "backends": [{"serviceName": "upstream", "servicePort": 80}],
            }]},
        }),
    ]
}
