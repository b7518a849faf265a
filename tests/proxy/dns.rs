//! Upstreams by name: from a name server to the requests.

#[expect(dead_code, reason = "shared with the unit tests, which use more of it")]
#[path = "../../src/source/dns/tests/name_server.rs"]
mod name_server;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::Hosts;
use hickory_resolver::config::ResolverOpts;
use hickory_resolver::proto::op::ResponseCode;
use http::Response;
use portcullis::compile::{Context, TlsContext, compile};
use portcullis::model::{Kind, SourceId};
use portcullis::snapshot::Current;
use portcullis::source::{dns, parse};
use portcullis::world::{Change, World};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use self::name_server::{NameServer, Reply};
use crate::client::Connection;
use crate::scene::{Scene, config};
use crate::upstream::{Recorder, serve_at, text};

/// Two upstreams at one port, as a name's addresses are; each answers with its own.
async fn two() -> (u16, [Recorder; 2]) {
    let answer = |address: IpAddr| move |_| async move { Response::new(text(address.to_string())) };
    let addresses = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
    for _ in 0..100 {
        let first = serve_at((addresses[0], 0).into(), answer(addresses[0])).await.unwrap();
        let port = first.address.port();
        if let Ok(second) = serve_at((addresses[1], port).into(), answer(addresses[1])).await {
            return (port, [first, second]);
        }
    }
    panic!("no port is free at both addresses");
}

/// Compiles and publishes whatever is new, as the program does.
async fn control(
    mut world: World,
    current: Arc<Current>,
    wanted: watch::Sender<BTreeSet<Arc<str>>>,
    mut changes: mpsc::Receiver<Change>,
) {
    let context = Context {
        class: "apisix".into(),
        controller: "ours".into(),
        stream_addresses: [].into(),
        stream_ports: None,
        tls: TlsContext::new().unwrap(),
    };
    loop {
        let compiled = compile(&world, &context, &current.load(), 0);
        current.store(Arc::new(compiled.snapshot));
        wanted.send_replace(compiled.names);
        let Some(change) = changes.recv().await else { return };
        world.apply(change);
    }
}

/// A proxy of these objects, with `server` for their names.
fn start(server: &NameServer, objects: Vec<(Kind, Value)>) -> Scene {
    let scene = config().start();
    let mut world = World::default();
    for (kind, object) in objects {
        let (key, object) = parse::from_json(kind, object).unwrap();
        world.apply(Change::Upsert { source: SourceId::Manifests, key, object });
    }
    let (wanted_sender, wanted) = watch::channel(BTreeSet::new());
    let (sender, changes) = mpsc::channel(8);
    let resolver = dns::Resolver::new(server.config(&[]), ResolverOpts::default(), Hosts::default()).unwrap();
    tokio::spawn(dns::run(resolver, wanted, sender));
    tokio::spawn(control(world, scene.current.clone(), wanted_sender, changes));
    scene
}

fn route(rule: Value) -> (Kind, Value) {
    let mut rule = rule;
    rule["name"] = json!("all");
    rule["match"] = json!({"hosts": ["a.test"], "paths": ["/*"]});
    (Kind::ApisixRoute, json!({"metadata": {"name": "r"}, "spec": {"http": [rule]}}))
}

fn external_name(name: &str, domain: &str) -> (Kind, Value) {
    (Kind::Service, json!({"metadata": {"name": name}, "spec": {"type": "ExternalName", "externalName": domain}}))
}

/// The answers to `requests` requests.
async fn answers(scene: &Scene, requests: usize) -> BTreeSet<String> {
    let mut client = Connection::plain(scene.http).await;
    let mut seen = BTreeSet::new();
    for _ in 0..requests {
        let answer = client.get("a.test", "/").await;
        seen.insert(format!("{} {}", answer.status.as_u16(), String::from_utf8_lossy(&answer.body)));
    }
    seen
}

/// Waits until the answers are these and no others.
async fn answers_become(scene: &Scene, expected: &[&str]) {
    let expected: BTreeSet<_> = expected.iter().map(|text| (*text).to_owned()).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let seen = answers(scene, 4).await;
        if seen == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{seen:?} and not {expected:?}");
    }
}

#[tokio::test]
async fn requests_follow_the_addresses_of_a_name() {
    let server = NameServer::start().await;
    let (port, recorders) = two().await;
    let [one, two] = recorders.each_ref().map(|recorder| recorder.address.ip());
    server.set("up.example", Reply::Addresses(vec![one, two], 0));
    let backend = json!({"backends": [{"serviceName": "x", "servicePort": port}]});
    let node = json!({"metadata": {"name": "x"}, "spec": {"passHost": "node"}});
    let objects = vec![route(backend), external_name("x", "up.example."), (Kind::ApisixUpstream, node)];
    let scene = start(&server, objects);
    answers_become(&scene, &["200 127.0.0.1", "200 127.0.0.2"]).await;
    let host = format!("up.example:{port}");
    assert_eq!(recorders[0].seen()[0].header("host"), Some(host.as_str()), "passHost node is the name");
    server.set("up.example", Reply::Addresses(vec![two], 0));
    answers_become(&scene, &["200 127.0.0.2"]).await;
    server.set("up.example", Reply::Silence);
    server.asked("up.example", 1).await;
    server.set("up.example", Reply::Code(ResponseCode::NXDomain));
    server.asked("up.example", 2).await;
    assert_eq!(answers(&scene, 4).await, ["200 127.0.0.2".to_owned()].into(), "the last addresses stay");
    server.set("up.example", Reply::Addresses(vec![one], 300));
    answers_become(&scene, &["200 127.0.0.1"]).await;
}

#[tokio::test]
async fn the_nodes_of_an_upstream_share_the_requests_with_backends() {
    let server = NameServer::start().await;
    let (port, recorders) = two().await;
    let [one, two] = recorders.each_ref().map(|recorder| recorder.address.ip());
    server.set("up.example", Reply::Alias("real.example", 300));
    server.set("real.example", Reply::Addresses(vec![one], 300));
    let upstreams = json!({"upstreams": [{"name": "u"}], "backends": [{"serviceName": "x", "servicePort": port}]});
    let nodes = json!([{"type": "Domain", "name": "up.example", "port": port}]);
    let upstream = json!({"metadata": {"name": "u"}, "spec": {"externalNodes": nodes}});
    let objects = vec![route(upstreams), external_name("x", &two.to_string()), (Kind::ApisixUpstream, upstream)];
    let scene = start(&server, objects);
    answers_become(&scene, &["200 127.0.0.1", "200 127.0.0.2"]).await;
}

#[tokio::test]
async fn a_name_that_never_resolved_is_answered_503() {
    let server = NameServer::start().await;
    let backend = json!({"backends": [{"serviceName": "x", "servicePort": 80}]});
    let scene = start(&server, vec![route(backend), external_name("x", "gone.example")]);
    server.asked("gone.example", 2).await;
    let answers = answers(&scene, 1).await;
    assert!(answers.iter().all(|answer| answer.starts_with("503 ")), "{answers:?}");
}
