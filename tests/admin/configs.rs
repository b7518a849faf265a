//! The whole configuration as one document.

use portcullis::admin_api::{Mode, Settings};
use serde_json::{Value, json};

use crate::scene::{Answer, Scene, settings};

async fn scene() -> Scene {
    Scene::with(Settings { mode: Mode::Standalone, ..settings() }).await
}

async fn put(scene: &Scene, digest: &str, document: &Value) -> Answer {
    let request = scene.request("PUT", "/configs").header("x-digest", digest);
    scene.send(request.body(document.to_string().into()).unwrap()).await
}

fn route(id: &str, uri: &str) -> Value {
    json!({ "id": id, "uri": uri, "upstream": { "nodes": { "127.0.0.1:80": 1 } } })
}

#[tokio::test]
async fn a_document_takes_the_place_of_the_last() {
    let scene = scene().await;
    let before = scene.call("GET", "/configs", &Value::Null).await;
    assert_eq!((before.status.as_u16(), &before.json()["routes_conf_version"]), (200, &json!(0)));
    let first = json!({ "routes": [route("a", "/a"), route("b", "/b")], "consumers": [
        { "username": "jack" }, { "id": "jack/credentials/c", "plugins": {} }
    ] });
    let answer = put(&scene, "one", &first).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["x-digest"]), (202, &"one".parse().unwrap()));
    assert_eq!(put(&scene, "one", &first).await.status, 204);
    assert!(scene.stored("consumers/jack/credentials/c").is_some());
    let second = json!({ "routes": [route("b", "/c")] });
    assert_eq!(put(&scene, "two", &second).await.status, 202);
    let keys: Vec<_> = scene.memory.list("").entries.keys().map(ToString::to_string).collect();
    assert_eq!(keys, ["routes/b"]);
    let shown = scene.call("GET", "/configs", &Value::Null).await;
    assert_eq!((&shown.json()["routes"][0]["uri"], &shown.json()["routes_conf_version"]), (&json!("/c"), &json!(2)));
    let head = scene.call("HEAD", "/configs", &Value::Null).await;
    assert_eq!((head.status.as_u16(), &head.headers["x-digest"]), (200, &"two".parse().unwrap()));
    assert_eq!(scene.call("GET", "/routes", &Value::Null).await.status, 404, "nothing else is served");
}

#[tokio::test]
async fn versions_do_not_go_back_and_equal_ones_change_nothing() {
    let scene = scene().await;
    let with_version = |version: u64, uri: &str| json!({ "routes": [route("a", uri)], "routes_conf_version": version });
    assert_eq!(put(&scene, "1", &with_version(1062, "/a")).await.status, 202);
    let back = (400, "routes_conf_version must be greater than or equal to (1062)".to_owned());
    assert_eq!(put(&scene, "2", &with_version(1061, "/b")).await.error(), back);
    assert_eq!(put(&scene, "3", &with_version(1062, "/c")).await.status, 202);
    assert_eq!(scene.stored("routes/a").unwrap()["uri"], "/a");
    assert_eq!(put(&scene, "4", &with_version(1063, "/d")).await.status, 202);
    assert_eq!(scene.stored("routes/a").unwrap()["uri"], "/d");
}

#[tokio::test]
async fn one_bad_part_refuses_the_document() {
    let scene = scene().await;
    put(&scene, "1", &json!({ "routes": [route("a", "/a")] })).await;
    for (document, why) in [
        (json!({ "routes": [route("r1", "/"), route("r1", "/x")] }), "found duplicate id r1 in routes"),
        (json!({ "routes": [{ "uri": 1 }] }), "invalid configuration: "),
        (json!({ "routes": {} }), "routes must be an array"),
        (
            json!({ "routes": [{ "id": "a", "uri": "/", "service_id": "s" }], "services": [{ "id": "s" }] }),
            "invalid configuration: upstream: ",
        ),
        (json!({ "routes": [1] }), "invalid configuration: wrong type: expected object, got number"),
        (json!({ "routes_conf_version": "1" }), "routes_conf_version must be a number without a fraction"),
        (json!([]), "invalid request body: it should be an object"),
    ] {
        let (status, error) = put(&scene, "2", &document).await.error();
        assert!(status == 400 && error.starts_with(why), "{error}");
    }
    let no_digest = scene.call("PUT", "/configs", &json!({})).await.error();
    assert_eq!(no_digest, (400, "missing digest header".to_owned()));
    assert_eq!(scene.stored("routes/a").unwrap()["uri"], "/a");
}

#[tokio::test]
async fn documents_may_be_yaml() {
    let scene = scene().await;
    let request = scene.request("PUT", "/configs").header("x-digest", "1").header("content-type", "application/yaml");
    let yaml = "routes:\n  - id: a\n    uri: /a\n    upstream:\n      nodes:\n        \"127.0.0.1:80\": 1\n";
    assert_eq!(scene.send(request.body(yaml.into()).unwrap()).await.status, 202);
    let request = scene.request("GET", "/configs").header("accept", "application/yaml");
    let shown = scene.send(request.body(String::new().into()).unwrap()).await;
    assert_eq!(shown.headers["content-type"], "application/yaml");
    assert!(shown.body.contains("uri: /a"), "{}", shown.body);
}
