//! Which endpoint gets a request, how often others are tried, and the `Host` that it sees.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response};
use portcullis::model::{HashKey, Timeouts};
use portcullis::snapshot::{Backends, Endpoint, Host, Route, Upstream};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::client::{Connection, answer};
use crate::scene::{config, endpoint, route};
use crate::upstream::{Recorder, hello, nobody, serve, text};

fn upstream(endpoints: &[Arc<Endpoint>]) -> Upstream {
    Upstream::new("default/test:80".into(), endpoints.iter().cloned().map(Into::into))
}

fn to(upstream: Upstream) -> Route {
    Route { backends: Backends::new([(upstream, 100)]), ..route(&[]) }
}

async fn three() -> ([Recorder; 3], Vec<Arc<Endpoint>>) {
    let recorders = [hello().await, hello().await, hello().await];
    let endpoints = recorders.iter().map(|recorder| endpoint(recorder.address)).collect();
    (recorders, endpoints)
}

#[tokio::test]
async fn requests_with_equal_keys_meet_the_same_endpoint() {
    let (recorders, endpoints) = three().await;
    let hashing = upstream(&endpoints).hashing(HashKey::Header("x-user".into()));
    let scene = config().route("hash.test", to(hashing)).start();
    let mut client = Connection::plain(scene.http).await;
    for round in 0..2 {
        for user in 0..30 {
            let request = client.request("GET", "hash.test", "/").header("x-user", format!("{user}"));
            let response = client.send(request.body(text("")).unwrap()).await.unwrap();
            assert_eq!(answer(response).await.status, 200, "round {round}");
        }
    }
    let users = recorders.each_ref().map(|recorder| {
        recorder.seen().iter().map(|seen| seen.header("x-user").unwrap().to_owned()).collect::<Vec<_>>()
    });
    for users in &users {
        let (first, second) = users.split_at(users.len() / 2);
        assert!(!first.is_empty(), "every endpoint has users");
        assert_eq!(first, second, "each came to where it was before");
    }
    assert_eq!(users.iter().map(Vec::len).sum::<usize>(), 60);
}

#[tokio::test]
async fn a_busy_endpoint_is_passed_over() {
    let (arrived, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let slow = {
        let (arrived, gate) = (arrived.clone(), gate.clone());
        serve(move |_| {
            let (arrived, gate) = (arrived.clone(), gate.clone());
            async move {
                arrived.add_permits(1);
                let _ = gate.acquire().await;
                Response::new(text("slow"))
            }
        })
        .await
    };
    let quick = hello().await;
    // Endpoints come in turn while nothing is under way: the slow one has the first turn.
    let least = upstream(&[endpoint(slow.address), endpoint(quick.address)]).with_least_connections();
    let scene = config().route("least.test", to(least)).start();
    let mut waiting = Connection::plain(scene.http).await;
    let waiting = tokio::spawn(async move { waiting.get("least.test", "/").await });
    let _ = tokio::time::timeout(Duration::from_secs(10), arrived.acquire()).await.unwrap();
    let mut client = Connection::plain(scene.http).await;
    for _ in 0..6 {
        assert_eq!(client.get("least.test", "/").await.body, "hello");
    }
    gate.add_permits(10);
    assert_eq!(waiting.await.unwrap().body, "slow");
    // Both are idle now, so they take turns again.
    for _ in 0..4 {
        client.get("least.test", "/").await;
    }
    assert!(slow.seen().len() > 1, "an endpoint that has answered is free");
}

#[tokio::test]
async fn retries_bound_the_endpoints_that_are_tried() {
    let good = hello().await;
    let endpoints = [endpoint(nobody()), endpoint(nobody()), endpoint(good.address)];
    let tries = |attempts| {
        let mut upstream = upstream(&endpoints);
        upstream.attempts = attempts;
        to(upstream)
    };
    let scene = config().routes("retry.test", vec![("/two", tries(2)), ("/all", tries(usize::MAX))]).start();
    let mut client = Connection::plain(scene.http).await;
    assert_eq!(client.get("retry.test", "/all").await.status, 200);
    assert_eq!(scene.metric("portcullis_upstream_connect_failures_total"), 2);
    assert_eq!(client.get("retry.test", "/two").await.status, 502);
    assert_eq!(scene.metric("portcullis_upstream_connect_failures_total"), 4);
}

#[tokio::test]
async fn the_upstream_is_sent_the_host_that_it_wants() {
    let recorder = hello().await;
    let endpoints = [endpoint(recorder.address)];
    let with = |host| {
        let mut upstream = upstream(&endpoints);
        upstream.host = host;
        to(upstream)
    };
    let rewritten = Host::Rewrite(HeaderValue::from_static("inner.test:81"));
    let routes = vec![("/pass", with(Host::Pass)), ("/node", with(Host::Node)), ("/rewrite", with(rewritten))];
    let scene = config().routes("outer.test", routes).start();
    let mut client = Connection::plain(scene.http).await;
    let address = recorder.address.to_string();
    for (path, host) in [("/pass", "outer.test"), ("/node", &address), ("/rewrite", "inner.test:81")] {
        assert_eq!(client.get("outer.test", path).await.status, 200);
        let seen = recorder.seen().pop().unwrap();
        assert_eq!(seen.headers.get_all("host").iter().collect::<Vec<_>>(), [host]);
        assert_eq!(seen.header("x-forwarded-host"), Some("outer.test"));
    }
}

#[tokio::test]
async fn an_upstream_has_deadlines_of_its_own() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut slow = upstream(&[endpoint(silent.local_addr().unwrap())]);
    slow.timeouts = Some(Timeouts { read: Duration::from_millis(50), ..Timeouts::default() });
    let scene = config().route("slow.test", to(slow)).start();
    assert_eq!(Connection::plain(scene.http).await.get("slow.test", "/").await.status, 504);
}
