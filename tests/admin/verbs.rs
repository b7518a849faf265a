//! The verbs, their statuses and their texts.

use std::sync::Arc;

use portcullis::admin_api::Settings;
use portcullis::store::Update;
use serde_json::{Value, json};

use crate::scene::{Scene, settings};

const NONE: Value = Value::Null;

fn route() -> Value {
    json!({ "uri": "/index.html", "upstream": { "nodes": { "127.0.0.1:80": 1 }, "type": "roundrobin" } })
}

#[tokio::test]
async fn a_resource_is_made_shown_changed_and_removed() {
    let scene = Scene::start().await;
    let made = scene.call("PUT", "/routes/1", &route()).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.headers["x-api-version"], "v3");
    assert_eq!(made.headers["content-type"], "application/json");
    assert!(made.body.ends_with("}\n"));
    let made = made.json();
    assert_eq!(made["key"], "/apisix/routes/1");
    let created = made["value"]["create_time"].as_u64().unwrap();
    assert_eq!(made["value"]["id"], "1");
    assert_eq!(made["value"]["update_time"], created);
    assert_eq!(made["value"].as_object().unwrap().len(), 5, "what was sent, the id and the times, and no defaults");

    let replaced = scene.call("PUT", "/routes/1", &route()).await;
    assert_eq!((replaced.status.as_u16(), &replaced.json()["value"]["create_time"]), (200, &json!(created)));

    let shown = scene.call("GET", "/routes/1", &NONE).await.json();
    assert_eq!((shown["createdIndex"].as_u64(), shown["modifiedIndex"].as_u64()), (Some(1), Some(2)));
    assert_eq!(shown["value"]["uri"], "/index.html");
    let listed = scene.call("GET", "/routes", &NONE).await.json();
    assert_eq!(listed, json!({ "total": 1, "list": [shown] }));

    let gone = scene.call("DELETE", "/routes/1", &NONE).await;
    assert_eq!((gone.status.as_u16(), gone.json()), (200, json!({ "deleted": "1", "key": "/apisix/routes/1" })));
    for method in ["GET", "DELETE"] {
        let missing = scene.call(method, "/routes/1", &NONE).await;
        assert_eq!((missing.status.as_u16(), missing.json()), (404, json!({ "message": "Key not found" })));
    }
    assert_eq!(scene.call("PATCH", "/routes/1", &json!({})).await.json(), json!({ "message": "Key not found" }));
    assert_eq!(scene.call("GET", "/routes", &NONE).await.body, "{\"total\":0,\"list\":[]}\n");
}

#[tokio::test]
async fn a_post_makes_an_id() {
    let scene = Scene::start().await;
    let made = scene.call("POST", "/routes", &route()).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let id = made["value"]["id"].as_str().unwrap().to_owned();
    assert_eq!(id, format!("{:020}", 1));
    assert_eq!(made["key"], format!("/apisix/routes/{id}"));
    let other = scene.call("POST", "/routes", &route()).await.json();
    assert_ne!(other["value"]["id"], id);
    assert_eq!(scene.call("GET", "/routes", &NONE).await.json()["total"], 2, "the counter of ids is no route");
    let why = (400, "wrong route id, do not need it".to_owned());
    assert_eq!(scene.call("POST", "/routes/1", &route()).await.error(), why);
    let mut with_id = route();
    with_id["id"] = json!(3);
    assert_eq!(scene.call("POST", "/routes", &with_id).await.error(), why);
}

#[tokio::test]
async fn ids_are_in_the_path_or_the_resource() {
    let scene = Scene::start().await;
    let with_id = |id: Value| {
        let mut route = route();
        route["id"] = id;
        route
    };
    let made = scene.call("PUT", "/routes", &with_id(json!(7))).await;
    assert_eq!((made.status.as_u16(), &made.json()["value"]["id"]), (201, &json!(7)));
    assert_eq!(scene.call("PUT", "/routes/7", &with_id(json!(7))).await.json()["value"]["id"], "7");
    for (method, path, body, why) in [
        ("PUT", "/routes/1", with_id(json!("2")), "wrong route id"),
        ("PUT", "/routes", route(), "missing route id"),
        ("DELETE", "/routes", NONE, "missing route id"),
        ("PATCH", "/routes", json!({}), "missing route id"),
        ("PATCH", "/routes/7", json!({ "id": "8" }), "wrong route id"),
        ("PUT", "/stream_routes/1", json!({ "id": "2" }), "wrong stream route id"),
        (
            "PUT",
            "/routes/*invalid",
            route(),
            "invalid configuration: property \"id\" validation failed: object matches none of the required",
        ),
    ] {
        assert_eq!(scene.call(method, path, &body).await.error(), (400, why.to_owned()), "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_in_apisix_words() {
    let scene = Scene::start().await;
    let mut forbidden = route();
    forbidden["create_time"] = json!(1);
    let mut inner = route();
    inner["upstream"]["update_time"] = json!(1);
    for (method, path, body, status, why) in [
        ("PUT", "/routes/1", NONE, 400, "missing configurations"),
        ("PATCH", "/routes/1", NONE, 400, "missing new configuration"),
        ("PATCH", "/routes/1", json!(1), 400, "invalid configuration"),
        ("PUT", "/routes/1", forbidden, 400, "the property is forbidden:  create_time"),
        ("PUT", "/routes/1", inner, 400, "the property is forbidden:  upstream.update_time"),
        ("PUT", "/routs/1", json!({}), 404, "Unsupported resource type: routs"),
        ("GET", "/configs", NONE, 404, "Unsupported resource type: configs"),
        ("PUT", "/schema/route", json!({}), 404, "not found"),
        ("GET", "/schema/nonsense", NONE, 400, "not found schema: nonsense"),
        ("GET", "/plugins/cors", NONE, 404, "plugin not found in subsystem http"),
        ("GET", "/schema/plugins/cors?subsystem=stream", NONE, 404, "plugin not found in subsystem stream"),
        ("GET", "/plugins/cors?subsystem=asdf", NONE, 400, "unsupported subsystem: asdf"),
        (
            "GET",
            "/plugins/reload",
            NONE,
            405,
            "please use PUT method to reload the plugins, GET method is not allowed.",
        ),
        ("PUT", "/routes/1?ttl=abc", route(), 400, "invalid argument ttl: should be a number"),
        ("GET", "/routes?page=1&page_size=2", NONE, 400, "page_size must be between 10 and 500"),
        ("PUT", "/consumers/jack", json!({ "username": "jill" }), 400, "wrong username"),
        ("PUT", "/consumers/jack/credentials/a", json!({ "plugins": {} }), 404, "consumer not found"),
        ("GET", "/secrets/mine/1", NONE, 400, "invalid secret manager: mine"),
        ("PUT", "/plugin_metadata/cors", json!({}), 400, "invalid plugin name"),
    ] {
        let answer = scene.call(method, path, &body).await;
        assert_eq!(answer.error(), (status, why.to_owned()), "{method} {path}");
    }
    for (method, resources, title) in [
        ("POST", "consumers", "consumer"),
        ("POST", "consumers/jack/credentials", "credential"),
        ("POST", "global_rules", "global rule"),
        ("POST", "plugin_configs", "plugin config"),
        ("POST", "consumer_groups", "consumer group"),
        ("POST", "plugin_metadata", "plugin_metadata"),
        ("POST", "secrets/vault", "secret"),
        ("PATCH", "consumers", "consumer"),
        ("PATCH", "plugin_metadata", "plugin_metadata"),
        ("PATCH", "protos", "proto"),
        ("PATCH", "stream_routes", "stream route"),
    ] {
        let answer = scene.call(method, &format!("/{resources}"), &json!({})).await;
        assert_eq!(answer.error(), (405, format!("not supported `{method}` method for {title}")));
    }
    assert_eq!(scene.call("PUT", "/plugins/reload", &NONE).await.body, "done");
    assert_eq!(scene.call("GET", "/plugins/list", &NONE).await.json(), json!([]));
    assert_eq!(scene.call("HEAD", "", &NONE).await.status, 200);
    assert_eq!(scene.call("HEAD", "/routes", &NONE).await.status, 404);
    assert!(scene.memory.list("").entries.is_empty(), "nothing was written");
}

#[tokio::test]
async fn bodies_are_read_as_lua_reads_them_within_limits() {
    let scene = Scene::start().await;
    let put = async |body: String| scene.send(scene.request("PUT", "/routes/1").body(body.into()).unwrap()).await;
    let raw = "{ \"uri\": \"/\",\n\"desc\": \"one\ntwo\", \"upstream\": { \"nodes\": {} } }";
    assert_eq!(put(raw.to_owned()).await.json()["value"]["desc"], "one\ntwo");
    let (status, why) = put("{\"secret\": oops}".to_owned()).await.error();
    assert!(status == 400 && why.starts_with("invalid request body: ") && !why.contains("secret"), "{why}");
    let (status, why) = put(" ".repeat(1_678_025)).await.error();
    let too_long = "invalid request body: request size 1678025 is greater than the maximum size 1572864 allowed";
    assert_eq!((status, why.as_str()), (413, too_long));
    assert_eq!(put("[".repeat(100_000)).await.status, 400);
}

#[tokio::test]
async fn what_is_referred_to_must_be_there_and_stays() {
    let scene = Scene::start().await;
    let put = async |path: &str, body: Value| scene.call("PUT", path, &body).await;
    let missing =
        |title: &str, id: &str| (400, format!("failed to fetch {title} info by {title} id [{id}], response code: 404"));
    assert_eq!(put("/routes/1", json!({ "uri": "/", "upstream_id": 9 })).await.error(), missing("upstream", "9"));
    assert_eq!(put("/routes/1", json!({ "uri": "/", "service_id": "s" })).await.error(), missing("service", "s"));
    let group = json!({ "username": "jack", "group_id": "g" });
    assert_eq!(put("/consumers/jack", group.clone()).await.error(), missing("consumer group", "g"));
    let tls = json!({ "nodes": {}, "tls": { "client_cert_id": "c" } });
    assert_eq!(put("/upstreams/1", tls).await.error(), missing("ssl", "c"));

    for (path, body) in [
        ("/upstreams/u", json!({ "nodes": {} })),
        ("/services/s", json!({ "upstream_id": "u" })),
        ("/consumer_groups/g", json!({ "plugins": {} })),
        ("/consumers/jack", group),
        ("/consumers/jack/credentials/c", json!({ "plugins": {} })),
        ("/upstreams/t", json!({ "scheme": "tcp", "nodes": {} })),
        ("/stream_routes/1", json!({ "server_port": 9100, "upstream_id": "t" })),
        ("/routes/1", json!({ "uri": "/", "service_id": "s" })),
    ] {
        assert_eq!(put(path, body).await.status, 201, "{path}");
    }
    for (path, why) in [
        ("/upstreams/u", "can not delete this upstream, service [s] is still using it now"),
        ("/upstreams/t", "can not delete this upstream, stream_route [1] is still using it now"),
        ("/services/s", "can not delete this service directly, route [1] is still using it now"),
        ("/consumer_groups/g", "can not delete this consumer group, consumer [jack] is still using it now"),
    ] {
        assert_eq!(scene.call("DELETE", path, &NONE).await.error(), (400, why.to_owned()));
    }
    let credentials = scene.call("GET", "/consumers/jack/credentials", &NONE).await.json();
    assert_eq!(
        (&credentials["total"], &credentials["list"][0]["key"]),
        (&json!(1), &json!("/apisix/consumers/jack/credentials/c"))
    );
    assert_eq!(scene.call("GET", "/consumers", &NONE).await.json()["total"], 1, "credentials are no consumers");
    assert_eq!(scene.call("DELETE", "/consumers/jack", &NONE).await.status, 200);
    assert!(scene.memory.list("consumers/").entries.is_empty(), "the credentials go with their consumer");
    assert_eq!(scene.call("DELETE", "/upstreams/u?force=true", &NONE).await.status, 200);
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let scene = Scene::start().await;
    scene.call("PUT", "/routes/1", &route()).await;
    let patch = async |path: &str, body: Value| scene.call("PATCH", path, &body).await;
    let nodes = json!({ "upstream": { "nodes": { "127.0.0.1:80": null, "127.0.0.1:81": 2 } }, "desc": "d" });
    let changed = patch("/routes/1", nodes).await;
    assert_eq!(changed.status, 200);
    let value = &changed.json()["value"];
    assert_eq!((&value["upstream"]["nodes"], &value["uri"]), (&json!({ "127.0.0.1:81": 2 }), &json!("/index.html")));
    let at = patch("/routes/1/upstream/nodes", json!({ "127.0.0.1:82": 3 })).await.json();
    assert_eq!(at["value"]["upstream"], json!({ "nodes": { "127.0.0.1:82": 3 }, "type": "roundrobin" }));
    assert_eq!(patch("/routes/1/uri", json!("/a")).await.json()["value"]["uri"], "/a");
    let times = patch("/routes/1", json!({ "create_time": 0, "update_time": 1 })).await.json();
    assert_eq!((&times["value"]["create_time"], &times["value"]["update_time"]), (&json!(0), &json!(1)));
    assert_ne!(patch("/routes/1", json!({ "desc": null })).await.json()["value"]["update_time"], 1);
    for (path, body, why) in [
        ("/routes/1/uri/a", json!(1), "invalid sub-path: /uri"),
        (
            "/routes/1",
            json!({ "uri": 1 }),
            "invalid configuration: property \"uri\" validation failed: wrong type: expected string, got number",
        ),
        (
            "/routes/1",
            json!({ "upstream_id": "none" }),
            "failed to fetch upstream info by upstream id [none], response code: 404",
        ),
    ] {
        assert_eq!(patch(path, body).await.error(), (400, why.to_owned()));
    }
    assert_eq!(scene.stored("routes/1").unwrap()["uri"], "/a", "what was refused changed nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn patches_at_one_time_through_two_gateways_are_all_done() {
    let one = Arc::new(Scene::start().await);
    let other = Arc::new(Scene::over(settings(), one.memory.clone()).await);
    one.call("PUT", "/routes/1", &route()).await;
    let calls = (0..20).map(|number| {
        let scene = if number % 2 == 0 { one.clone() } else { other.clone() };
        tokio::spawn(async move {
            let label = json!({ "labels": { format!("l{number}"): "x" } });
            assert_eq!(scene.call("PATCH", "/routes/1", &label).await.status, 200);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(one.stored("routes/1").unwrap()["labels"].as_object().unwrap().len(), 20);
}

#[tokio::test]
async fn a_resource_with_a_time_to_live_goes() {
    let scene = Scene::start().await;
    let mut changes = scene.memory.watch();
    assert_eq!(scene.call("PUT", "/routes/1?ttl=1", &route()).await.status, 201);
    let gone = async {
        while let Some(update) = changes.recv().await {
            if matches!(&update, Update::Events(events) if events.iter().any(|event| event.entry.is_none())) {
                return;
            }
        }
    };
    tokio::time::timeout(crate::scene::LONG, gone).await.unwrap();
    assert_eq!(scene.call("GET", "/routes/1", &NONE).await.status, 404);
}

#[tokio::test]
async fn without_its_store_every_call_says_so() {
    let scene = Scene::without_store().await;
    for (method, path, body) in [
        ("GET", "/routes", NONE),
        ("GET", "/routes/1", NONE),
        ("PUT", "/routes/1", route()),
        ("POST", "/routes", route()),
        ("PATCH", "/routes/1", json!({})),
        ("DELETE", "/routes/1", NONE),
    ] {
        let (status, why) = scene.call(method, path, &body).await.error();
        assert_eq!(status, 503, "{method} {path}: {why}");
        assert!(!why.is_empty());
    }
}

#[tokio::test]
async fn stream_routes_need_listeners() {
    let scene = Scene::with(Settings { streams: false, ..settings() }).await;
    let answer = scene.call("PUT", "/stream_routes/1", &json!({ "upstream": { "nodes": {} } })).await;
    assert_eq!(answer.error(), (400, "stream mode is disabled, can not add stream routes".to_owned()));
}

#[tokio::test]
async fn shapes_and_documents_are_checked_without_being_written() {
    let scene = Scene::start().await;
    assert_eq!(scene.call("POST", "/schema/validate/routes", &route()).await.status, 200);
    let why = scene.call("POST", "/schema/validate/routes", &json!({ "uri": 1 })).await.error();
    assert_eq!(why, (400, "property \"uri\" validation failed: wrong type: expected string, got number".to_owned()));
    assert_eq!(scene.call("GET", "/schema/ssl", &NONE).await.json()["type"], "object");
    assert_eq!(scene.call("GET", "/openapi.json", &NONE).await.json()["openapi"], "3.1.0");
    let good = json!({ "routes": [{ "id": "1", "uri": "/", "upstream": { "nodes": {} } }] });
    let answer = scene.call("POST", "/configs/validate", &good).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));
    let bad = json!({ "routes": [{ "id": "1", "uri": 1 }], "consumers": [{ "username": "a" }, { "username": "a" }] });
    let answer = scene.call("POST", "/configs/validate", &bad).await;
    assert_eq!(answer.error(), (400, "Configuration validation failed".to_owned()));
    let errors = &answer.json()["errors"];
    assert_eq!(
        (&errors[0]["resource_type"], &errors[0]["resource_id"], &errors[0]["index"]),
        (&json!("routes"), &json!("1"), &json!(0))
    );
    assert_eq!(errors[1]["error"], "found duplicate username a in consumers");
    assert!(scene.memory.list("").entries.is_empty());
}
