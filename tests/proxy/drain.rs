//! Stopping without losing a request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use portcullis::proxy::Settings;
use portcullis::snapshot::Policy;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Connection, answer, tls, tls_config};
use crate::scene::{config, endpoint, route, settings};
use crate::upstream::{serve, text};

/// Longer than anything takes here, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(30);

/// What happened to one client: how many of its requests were answered, and what it waits for.
#[derive(Default)]
struct Progress {
    answered: AtomicUsize,
    step: Mutex<&'static str>,
}

impl Progress {
    /// Waits for `future`, but not for ever.
    async fn at<T>(&self, step: &'static str, future: impl Future<Output = T>) -> Option<T> {
        *self.step.lock().unwrap() = step;
        timeout(LIMIT, future).await.ok()
    }
}

/// Asks again and again, as a client of a pool does: on a new connection when the old one was closed, until nobody listens.
async fn asks_until_nobody_listens(alpn: &str, http: SocketAddr, https: SocketAddr, progress: &Progress) {
    let config = tls_config(alpn, None);
    loop {
        let opening = async {
            if alpn == "plain" {
                Some(Connection::over(TcpStream::connect(http).await.ok()?, false).await)
            } else {
                let stream = tls(https, "drain.test", config.clone()).await.ok()?;
                Some(Connection::over(stream, alpn == "h2").await)
            }
        };
        let opened = progress.at("a connection", opening).await.expect("neither a connection nor an end");
        let Some(mut client) = opened else { return };
        while !answered_and_closing(alpn, &mut client, progress).await {}
    }
}

/// Sends one request. Whether the connection is of no use any more.
async fn answered_and_closing(alpn: &str, client: &mut Connection, progress: &Progress) -> bool {
    let request = client.request("GET", "drain.test", "/").body(text("")).unwrap();
    let response = match progress.at("an answer", client.send(request)).await {
        Some(Ok(response)) => response,
        // Taken back before it was written.
        Some(Err(error)) if error.is_canceled() || error.is_closed() => return true,
        // A GOAWAY without an error tells an HTTP/2 client which requests were not taken.
        Some(Err(error)) if alpn == "h2" && format!("{error:?}").contains("NO_ERROR") => return true,
        Some(Err(error)) => panic!("{alpn}: {error:?}"),
        // hyper may forget a request that it could not write to a connection that ends (hyperium/hyper #2500).
        None => {
            assert!(alpn == "h2" && client.is_closed(), "{alpn}: no answer, and the connection is open");
            return true;
        }
    };
    let closing = response.headers().contains_key("connection");
    let answer = progress.at("the end of an answer", answer(response)).await.expect("half an answer");
    assert_eq!(answer.status, 200);
    progress.answered.fetch_add(1, Ordering::Relaxed);
    closing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_no_request() {
    let upstream = serve(|_| async {
        tokio::time::sleep(Duration::from_millis(3)).await;
        Response::new(text("hello"))
    })
    .await;
    let scene = config()
        .tls("drain.test", Policy::Open)
        .route("drain.test", route(&[endpoint(upstream.address)]))
        .start_with(Settings { drain_idle: Duration::from_secs(2), ..settings() });
    let mut clients = Vec::new();
    for index in 0..30 {
        let (http, https, progress) = (scene.http, scene.https, Arc::new(Progress::default()));
        let alpn = ["plain", "http/1.1", "h2"][index % 3];
        let of_client = progress.clone();
        let client = tokio::spawn(async move { asks_until_nobody_listens(alpn, http, https, &of_client).await });
        clients.push((alpn, progress, client));
    }
    let progress: Vec<_> = clients.iter().map(|(_, progress, _)| progress.clone()).collect();
    let answered = || progress.iter().map(|progress| progress.answered.load(Ordering::Relaxed));
    let all_are_answered = async {
        while answered().min() < Some(2) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, all_are_answered).await.expect("every client is answered");
    assert!(scene.drain.drain(LIMIT).await, "connections were left");
    for (alpn, progress, client) in &mut clients {
        let ended = timeout(LIMIT * 2, client).await;
        ended.unwrap_or_else(|_| panic!("a client over {alpn} waits for {}", progress.step.lock().unwrap())).unwrap();
    }
    let answered: usize = answered().sum();
    assert_eq!(upstream.seen().len(), answered, "what was taken was answered");
}

#[tokio::test]
async fn idle_connections_end_with_the_drain() {
    let upstream = serve(|_| async { Response::new(text("hello")) }).await;
    let scene =
        config().tls("idle.test", Policy::Open).route("idle.test", route(&[endpoint(upstream.address)])).start();
    let mut plain = Connection::plain(scene.http).await;
    let mut http1 = Connection::secure(scene.https, "http/1.1", "idle.test", None).await;
    let mut http2 = Connection::secure(scene.https, "h2", "idle.test", None).await;
    for client in [&mut plain, &mut http1, &mut http2] {
        assert_eq!(client.get("idle.test", "/").await.status, 200);
    }
    let unused = TcpStream::connect(scene.http).await.unwrap();
    assert!(scene.drain.drain(LIMIT).await);
    for client in [&mut plain, &mut http1, &mut http2] {
        assert!(client.closes().await);
    }
    drop(unused);
}
