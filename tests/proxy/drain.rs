//! Stopping without losing a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Response;
use portcullis::proxy::Settings;
use portcullis::snapshot::Policy;
use tokio::net::TcpStream;

use crate::client::{Connection, answer, tls, tls_config};
use crate::scene::{config, endpoint, route, settings};
use crate::upstream::{serve, text};

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
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for index in 0..30 {
        let (answered, http, https) = (answered.clone(), scene.http, scene.https);
        let alpn = ["plain", "http/1.1", "h2"][index % 3];
        clients.push(tokio::spawn(async move {
            let config = tls_config(alpn, None);
            // As a client of a pool does: a new connection when the old one was closed, until nobody listens.
            loop {
                let Ok(stream) = TcpStream::connect(if alpn == "plain" { http } else { https }).await else { return };
                let mut client = if alpn == "plain" {
                    Connection::over(stream, false).await
                } else {
                    drop(stream);
                    let Ok(stream) = tls(https, "drain.test", config.clone()).await else { return };
                    Connection::over(stream, alpn == "h2").await
                };
                loop {
                    let ready = match &mut client {
                        Connection::Http1(sender) => sender.ready().await,
                        Connection::Http2(sender) => sender.ready().await,
                    };
                    if ready.is_err() {
                        break;
                    }
                    let request = client.request("GET", "drain.test", "/").body(text("")).unwrap();
                    let response = client.send(request).await;
                    // A GOAWAY without an error tells an HTTP/2 client which requests were not taken.
                    let not_taken = |error: &hyper::Error| {
                        alpn == "h2" && (error.is_canceled() || format!("{error:?}").contains("NO_ERROR"))
                    };
                    let response = match response {
                        Err(error) if not_taken(&error) => break,
                        response => response.unwrap_or_else(|error| panic!("{alpn}: {error:?}")),
                    };
                    let closing = response.headers().contains_key("connection");
                    assert_eq!(answer(response).await.status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                    if closing {
                        break;
                    }
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    assert!(scene.drain.drain(Duration::from_secs(5)).await, "connections were left");
    assert!(start.elapsed() < Duration::from_secs(4));
    for client in clients {
        client.await.unwrap();
    }
    let answered = answered.load(Ordering::Relaxed);
    assert!(answered > 30);
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
    assert!(scene.drain.drain(Duration::from_secs(3)).await);
    for client in [&mut plain, &mut http1, &mut http2] {
        assert!(client.closes().await);
    }
    drop(unused);
}
