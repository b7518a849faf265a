//! A stage without routes, and the objects to set it.

use std::net::SocketAddr;

use http::Response;
use portcullis::model::Kind;
use serde_json::{Value, json};

use crate::client::{Connection, answer};
use crate::stage::Stage;
use crate::upstream::{Recorder, serve, text};

pub(crate) const HOST: &str = "play.test";

/// A stage that serves nothing yet.
pub(crate) async fn empty() -> Stage {
    let stage = Stage::new([]).await;
    stage.delete(Kind::ApisixRoute, "upstream");
    stage
}

/// An upstream that answers with its name.
pub(crate) async fn named(name: &'static str) -> Recorder {
    serve(move |_| async move { Response::new(text(name)) }).await
}

fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": "default"})
}

/// A Service with the port 80, called `http`.
pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": meta(name),
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]},
    })
}

/// The part of a Service's endpoints that listens on `port`.
pub(crate) fn slice(service: &str, port: u16, addresses: &[&str]) -> Value {
    let endpoints: Vec<_> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{service}-{port}"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": service},
        },
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": port}],
    })
}

/// A Service with its endpoints.
pub(crate) fn backend(name: &str, endpoints: &[SocketAddr]) -> Vec<Value> {
    let slices = endpoints.iter().map(|at| slice(name, at.port(), &[&at.ip().to_string()]));
    std::iter::once(service(name)).chain(slices).collect()
}

/// An ApisixRoute.
pub(crate) fn route(name: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute", "metadata": meta(name), "spec": {"http": rules},
    })
}

/// A rule for [`HOST`] with one backend, changed by the fields of `more`.
pub(crate) fn rule(name: &str, path: &str, service: &str, more: &Value) -> Value {
    let mut rule = json!({
        "name": name, "match": {"hosts": [HOST], "paths": [path]},
        "backends": [{"serviceName": service, "servicePort": 80}],
    });
    merge(&mut rule, more);
    rule
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

/// The ApisixUpstream of a Service.
pub(crate) fn upstream(service: &str, spec: &Value) -> Value {
    json!({"apiVersion": "apisix.apache.org/v2", "kind": "ApisixUpstream", "metadata": meta(service), "spec": spec})
}

/// What a new connection gets for `method target`: the body of a 200, else the status.
pub(crate) async fn ask(stage: &Stage, method: &str, target: &str, fields: &[(&str, &str)]) -> String {
    ask_host(stage, HOST, method, target, fields).await
}

pub(crate) async fn ask_host(stage: &Stage, host: &str, method: &str, target: &str, fields: &[(&str, &str)]) -> String {
    let mut client = Connection::plain(stage.http).await;
    let request = client.request(method, host, target);
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = answer(client.send(request.body(text("")).unwrap()).await.unwrap()).await;
    if answer.status == 200 {
        String::from_utf8(answer.body.to_vec()).unwrap()
    } else {
        answer.status.as_str().to_owned()
    }
}

pub(crate) async fn get(stage: &Stage, target: &str) -> String {
    ask(stage, "GET", target, &[]).await
}
