//! Health checks of endpoints, active and passive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use http::{HeaderValue, Response};
use portcullis::health;
use portcullis::model::{ActiveCheck, CheckKind, Criteria, HealthCheck, Thresholds};
use portcullis::snapshot::{Backends, CheckId, Endpoint, Node, Route, Snapshot, Upstream, Watched};
use serde_json::json;
use tokio::net::TcpListener;

use crate::client::Connection;
use crate::objects::{reference, route_for_everything, secret};
use crate::pki::PKI;
use crate::scene::{Config, Scene, config, endpoint, route};
use crate::stage::Stage;
use crate::tls_upstream::{self, certificate, server_tls};
use crate::upstream::{Recorder, hello, nobody, serve, text};

const SHORT: Duration = Duration::from_millis(10);
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Checks of `/healthz` that soon take effect.
fn active() -> ActiveCheck {
    let thresholds = Thresholds { http_failures: 2, successes: 2, tcp_failures: 2, timeouts: 1 };
    ActiveCheck {
        criteria: Criteria { thresholds, ..ActiveCheck::default().criteria },
        healthy_interval: SHORT,
        path: "/healthz".into(),
        timeout: Duration::from_secs(10),
        unhealthy_interval: SHORT,
        ..ActiveCheck::default()
    }
}

/// Checks that look once, when they begin.
fn once() -> ActiveCheck {
    ActiveCheck { healthy_interval: NEVER, unhealthy_interval: NEVER, ..active() }
}

fn id(upstream: &str, active: ActiveCheck, passive: Option<Criteria>) -> CheckId {
    let check = Arc::new(HealthCheck { active, passive });
    CheckId { check, host: None, tls: None, upstream: upstream.into() }
}

/// Looks after `endpoints`, as compilation does.
fn watch(id: &CheckId, endpoints: &[Arc<Endpoint>], previous: &Snapshot) -> (Watched, Vec<Node>) {
    let previous = previous.carried.health.get(id);
    let mut watched = Watched::new(id, previous);
    let nodes = endpoints.iter().map(|endpoint| {
        let target = watched.watch(endpoint, HeaderValue::from_static("node.test"), previous);
        Node { health: Some(target), ..endpoint.clone().into() }
    });
    let nodes = nodes.collect();
    (watched, nodes)
}

/// A route of `a.test` to watched endpoints.
fn watching(id: &CheckId, endpoints: &[Arc<Endpoint>], previous: &Snapshot) -> Config {
    let (watched, nodes) = watch(id, endpoints, previous);
    config().route("a.test", to(nodes)).watching(watched)
}

fn to(nodes: Vec<Node>) -> Route {
    Route { backends: Backends::new([(Upstream::new("default/test:80".into(), nodes), 1)]), ..route(&[]) }
}

fn start(config: Config) -> Scene {
    let scene = config.start();
    tokio::spawn(health::run(scene.current.clone()));
    scene
}

impl Scene {
    async fn becomes(&self, address: SocketAddr, healthy: bool) {
        let metric = format!("portcullis_upstream_endpoint_healthy{{upstream=\"ns/a:80\",endpoint=\"{address}\"}}");
        self.metric_becomes(&metric, healthy.into()).await;
    }

    /// The statuses of so many requests.
    async fn statuses(&self, requests: usize) -> Vec<u16> {
        let mut client = Connection::plain(self.http).await;
        let mut statuses = Vec::new();
        for _ in 0..requests {
            statuses.push(client.get("a.test", "/").await.status.as_u16());
        }
        statuses
    }
}

/// An endpoint that answers with a status that can be changed.
async fn switchable(status: u16) -> (Recorder, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let switch = status.clone();
    let recorder = serve(move |_| {
        let status = status.load(Ordering::SeqCst);
        async move { Response::builder().status(status).body(text("")).unwrap() }
    });
    (recorder.await, switch)
}

fn requests(recorder: &Recorder) -> usize {
    recorder.seen().iter().filter(|seen| seen.target == "/").count()
}

fn checks(recorder: &Recorder) -> usize {
    recorder.seen().iter().filter(|seen| seen.target == "/healthz").count()
}

async fn checked(recorder: &Recorder, times: usize) {
    let wait = async {
        while checks(recorder) < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_fails_its_checks_leaves_and_comes_back() {
    let (good, (changing, status)) = (hello().await, switchable(200).await);
    let endpoints = [endpoint(good.address), endpoint(changing.address)];
    let scene = start(watching(&id("ns/a:80", active(), None), &endpoints, &Snapshot::default()));
    assert_eq!(scene.statuses(4).await, [200; 4]);
    assert_eq!((requests(&good), requests(&changing)), (2, 2));
    status.store(500, Ordering::SeqCst);
    scene.becomes(changing.address, false).await;
    assert_eq!(scene.statuses(6).await, [200; 6]);
    assert_eq!((requests(&good), requests(&changing)), (8, 2));
    assert!(scene.current.load().dump().health.contains(&format!("ns/a:80 {} unhealthy", changing.address)));
    status.store(302, Ordering::SeqCst);
    scene.becomes(changing.address, true).await;
    scene.statuses(4).await;
    assert_eq!((requests(&good), requests(&changing)), (10, 4));
}

#[tokio::test]
async fn requests_are_checks_where_that_is_asked_for() {
    let (good, (bad, _)) = (hello().await, switchable(500).await);
    let endpoints = [endpoint(good.address), endpoint(bad.address), endpoint(nobody())];
    let thresholds = Thresholds { http_failures: 3, tcp_failures: 2, ..Criteria::passive().thresholds };
    let passive = Criteria { thresholds, ..Criteria::passive() };
    // What active checks find says nothing here.
    let off = Thresholds { http_failures: 0, successes: 0, tcp_failures: 0, timeouts: 0 };
    let criteria = Criteria { healthy: [].into(), thresholds: off, unhealthy: [].into() };
    let active = ActiveCheck { criteria, ..once() };
    let scene = start(watching(&id("ns/a:80", active, Some(passive)), &endpoints, &Snapshot::default()));
    let statuses = scene.statuses(30).await;
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 3, "{statuses:?}");
    assert_eq!(requests(&bad), 3);
    assert_eq!(scene.metric("portcullis_upstream_connect_failures_total"), 2);
    scene.becomes(bad.address, false).await;
    scene.becomes(good.address, true).await;
}

#[tokio::test]
async fn a_check_asks_as_it_is_told() {
    let recorder = hello().await;
    let told = ActiveCheck {
        headers: vec![("accept".into(), "text/plain".into()), ("x-a".into(), "1".into())],
        path: "/healthz?deep".into(),
        ..once()
    };
    let _scene = start(watching(&id("ns/a:80", told, None), &[endpoint(recorder.address)], &Snapshot::default()));
    let wait = async {
        while recorder.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
    let seen = recorder.seen().remove(0);
    assert_eq!(seen.target, "/healthz?deep");
    let agent = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
    for (name, value) in [("host", "node.test"), ("user-agent", agent), ("accept", "text/plain"), ("x-a", "1")] {
        assert_eq!(seen.header(name), Some(value));
    }
}

#[tokio::test]
async fn refused_silent_and_senseless_endpoints_are_unhealthy() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let senseless = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [nobody(), silent.local_addr().unwrap(), senseless.local_addr().unwrap()];
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = senseless.accept().await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-OpenSSH\r\n").await;
            let mut rest = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
        }
    });
    let impatient = ActiveCheck { timeout: Duration::from_millis(200), ..active() };
    let id = id("ns/a:80", impatient, None);
    let scene = start(watching(&id, &addresses.map(endpoint), &Snapshot::default()));
    for address in addresses {
        scene.becomes(address, false).await;
    }
}

#[tokio::test]
async fn a_connection_is_enough_for_a_check_of_tcp() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [silent.local_addr().unwrap(), nobody()];
    let id = id("ns/a:80", ActiveCheck { kind: CheckKind::Tcp, ..active() }, None);
    let scene = start(watching(&id, &addresses.map(endpoint), &Snapshot::default()));
    scene.becomes(addresses[1], false).await;
    for _ in 0..5 {
        tokio::time::timeout(Duration::from_secs(30), silent.accept()).await.unwrap().unwrap();
    }
    scene.becomes(addresses[0], true).await;
}

#[tokio::test]
async fn one_check_serves_all_routes_and_survives_publications() {
    let (checked_once, unhealthy) = (hello().await, switchable(500).await.0);
    let endpoints = [endpoint(checked_once.address), endpoint(unhealthy.address)];
    let thresholds = Thresholds { http_failures: 1, ..active().criteria.thresholds };
    let active = ActiveCheck { criteria: Criteria { thresholds, ..active().criteria }, ..once() };
    let id = id("ns/a:80", active, None);
    let many = |previous: &Snapshot| {
        let (watched, nodes) = watch(&id, &endpoints, previous);
        let routes = (0..20).map(|_| ("/*", to(nodes.clone()))).collect();
        config().routes("a.test", routes).watching(watched)
    };
    let scene = start(many(&Snapshot::default()));
    scene.becomes(unhealthy.address, false).await;
    for _ in 0..5 {
        let next = many(&scene.current.load());
        scene.publish(next);
        assert_eq!(scene.statuses(2).await, [200; 2], "what is unhealthy stays so");
    }
    // The check of another upstream begins after all of these.
    let marker = hello().await;
    let previous = scene.current.load_full();
    let (other, _) = watch(&self::id("ns/b:80", once(), None), &[endpoint(marker.address)], &previous);
    scene.publish(many(&previous).watching(other));
    checked(&marker, 1).await;
    assert_eq!((checks(&checked_once), checks(&unhealthy)), (1, 1));
}

#[tokio::test]
async fn what_is_removed_is_not_checked_any_more() {
    let (removed, marker) = (hello().await, hello().await);
    let scene = start(watching(&id("ns/a:80", active(), None), &[endpoint(removed.address)], &Snapshot::default()));
    checked(&removed, 3).await;
    scene.publish(watching(&id("ns/b:80", active(), None), &[endpoint(marker.address)], &Snapshot::default()));
    checked(&marker, 1).await;
    let last = checks(&removed);
    checked(&marker, 20).await;
    assert_eq!(checks(&removed), last);
}

#[tokio::test]
async fn a_check_of_https_has_the_certificates_of_requests_and_the_name_of_its_host() {
    let tls = server_tls(&["a.test"], &["http/1.1"], Some(&PKI.clients));
    let endpoint = tls_upstream::serve(tls, |_| async { Response::new(text("hello")) }).await;
    let stage = Stage::new([]).await;
    let ours = PKI.clients.client();
    stage.apply([certificate("ours", &ours), secret("servers", &[("ca.crt", &PKI.servers.certificate.pem())])]);
    for (host, strict, healthy) in [("a.test", true, true), ("b.test", true, false), ("b.test", false, true)] {
        let before = endpoint.seen().len();
        let settings = json!({
            "apiVersion": "apisix.apache.org/v2", "kind": "ApisixUpstream",
            "metadata": {"name": "upstream", "namespace": "default"},
            "spec": {
                "scheme": "https", "tlsSecret": reference("ours"), "tlsVerify": {"caSecret": reference("servers")},
                "healthCheck": {"active": {
                    "type": "https", "host": host, "strictTLS": strict, "timeout": 30_000_000_000_i64,
                    "unhealthy": {"tcpFailures": 1},
                }},
            },
        });
        stage.apply(route_for_everything(endpoint.address).into_iter().chain([settings]));
        let target = || stage.snapshot().targets().next().cloned().unwrap();
        let found = || endpoint.seen().len() > before || !target().is_healthy();
        let wait = async {
            while !found() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
        assert_eq!(target().is_healthy(), healthy, "{host} {strict}");
        if healthy {
            let seen = endpoint.seen().pop().unwrap();
            assert_eq!((seen.host.as_str(), seen.sni.as_deref()), (host, Some(host)));
            assert_eq!(seen.client.as_ref(), ours.chain.first());
        }
    }
}
