//! Who is let in.

use http::Request;
use portcullis::admin_api::{PUBLIC_KEY, Settings};
use portcullis::model::Network;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::scene::{LONG, Scene, settings};

const ROUTES: &str = "/apisix/admin/routes";

#[tokio::test]
async fn the_key_is_asked_for_in_its_three_places() {
    let scene = Scene::start().await;
    let ask = async |request: http::request::Builder| {
        let answer = scene.send(request.body(String::new().into()).unwrap()).await;
        (answer.status.as_u16(), answer.json())
    };
    let refused = |why: &str| (401, json!({ "error_msg": "failed to check token", "description": why }));
    let empty = (200, json!({ "total": 0, "list": [] }));
    assert_eq!(ask(Request::get(ROUTES)).await, refused("missing apikey"));
    assert_eq!(ask(Request::get(ROUTES).header("X-API-KEY", "wrong")).await, refused("wrong apikey"));
    assert_eq!(ask(Request::get(ROUTES).header("X-API-KEY", PUBLIC_KEY)).await, empty);
    assert_eq!(ask(Request::get(format!("{ROUTES}?api_key={PUBLIC_KEY}"))).await, empty);
    assert_eq!(ask(Request::get(ROUTES).header("Cookie", format!("x_api_key={PUBLIC_KEY}"))).await, empty);
    assert_eq!(
        ask(Request::get(ROUTES).header("X-API-KEY", PUBLIC_KEY).header("Origin", "null")).await,
        refused("wrong apikey")
    );
}

#[tokio::test]
async fn a_viewer_may_only_look() {
    let scene = Scene::start().await;
    for (method, status) in [("GET", 200), ("PUT", 401), ("POST", 401), ("PATCH", 401), ("DELETE", 401)] {
        let path = if method == "GET" { "/routes" } else { "/routes/1" };
        let viewer = "4054f7cf07e344346cd3f287985e76a2";
        let request = Request::builder().method(method).uri(format!("/apisix/admin{path}")).header("x-api-key", viewer);
        let answer = scene.send(request.body(String::new().into()).unwrap()).await;
        assert_eq!(answer.status, status, "{method}");
        if status == 401 {
            assert_eq!(answer.json()["description"], "invalid method for role viewer");
        }
    }
}

#[tokio::test]
async fn the_address_is_asked_for_before_the_key() {
    let allow = vec![Network::parse("192.0.2.0/24").unwrap()];
    let scene = Scene::with(Settings { allow, ..settings() }).await;
    for key in [PUBLIC_KEY, "wrong"] {
        let request = Request::get(ROUTES).header("x-api-key", key).body(String::new().into()).unwrap();
        let answer = scene.send(request).await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("<title>403 Forbidden</title>"), "{}", answer.body);
    }
}

#[tokio::test]
async fn strangers_hold_few_connections() {
    let allow = vec![Network::parse("192.0.2.0/24").unwrap()];
    let scene = Scene::with(Settings { allow, ..settings() }).await;
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(TcpStream::connect(scene.address).await.unwrap());
    }
    let mut one_more = TcpStream::connect(scene.address).await.unwrap();
    let read = timeout(LONG, one_more.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "it is closed: {read:?}");
    drop(held);
}

#[tokio::test]
async fn no_key_is_asked_for_where_none_is_required() {
    let scene = Scene::with(Settings { key_required: false, ..settings() }).await;
    let request = Request::get(ROUTES).body(String::new().into()).unwrap();
    assert_eq!(scene.send(request).await.status, 200);
}

#[tokio::test]
async fn pages_of_other_origins_may_call_only_where_that_is_configured() {
    for (cors, status) in [(true, 200), (false, 404)] {
        let scene = Scene::with(Settings { cors, ..settings() }).await;
        let preflight = Request::options(ROUTES).body(String::new().into()).unwrap();
        let answer = scene.send(preflight).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers.contains_key("access-control-allow-origin"), cors);
        let answer = scene.call("GET", "/routes", &Value::Null).await;
        assert_eq!(answer.headers.contains_key("access-control-allow-origin"), cors);
    }
}
