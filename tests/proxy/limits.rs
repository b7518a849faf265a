//! Clients that take their time.

use std::time::{Duration, Instant};

use portcullis::proxy::Settings;
use portcullis::snapshot::Policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Connection, tls, tls_config};
use crate::scene::{config, endpoint, route, settings};
use crate::upstream::{hello, text};

const LIMIT: Duration = Duration::from_millis(200);

/// Asserts that the proxy closes the connection, and not before a limit after `start`. Returns what it said.
async fn is_closed(start: Instant, stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut answer = Vec::new();
    // A reset is as good as an end.
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
    let _ = read.await.expect("the connection stays open");
    assert!(start.elapsed() >= LIMIT, "closed after {:?}", start.elapsed());
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_silent_client_is_closed_at_every_stage() {
    let scene = config().tls("silent.test", Policy::Open).start_with(Settings {
        first_byte_timeout: LIMIT,
        handshake_timeout: LIMIT,
        ..settings()
    });
    for address in [scene.http, scene.https] {
        is_closed(Instant::now(), &mut TcpStream::connect(address).await.unwrap()).await;
    }
    let start = Instant::now();
    let mut half = TcpStream::connect(scene.https).await.unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    is_closed(start, &mut half).await;
    for alpn in ["http/1.1", "h2"] {
        let start = Instant::now();
        is_closed(start, &mut tls(scene.https, "silent.test", tls_config(alpn, None)).await.unwrap()).await;
    }
    scene.metric_becomes("portcullis_handshakes_total{result=\"timeout\"}", 2).await;
}

#[tokio::test]
async fn slow_headers_and_idle_connections_are_closed() {
    let upstream = hello().await;
    let scene = config()
        .tls("slow.test", Policy::Open)
        .route("slow.test", route(&[endpoint(upstream.address)]))
        .start_with(Settings { idle_timeout: LIMIT, ..settings() });
    let start = Instant::now();
    let mut slow = TcpStream::connect(scene.http).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: slow.test\r\n").await.unwrap();
    is_closed(start, &mut slow).await;
    for alpn in ["http/1.1", "h2"] {
        let mut idle = Connection::secure(scene.https, alpn, "slow.test", None).await;
        assert_eq!(idle.get("slow.test", "/").await.status, 200);
        assert!(idle.closes().await, "{alpn}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let upstream = crate::upstream::serve(|request| async move {
        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        http::Response::new(text("got it"))
    })
    .await;
    let scene = config()
        .route("body.test", route(&[endpoint(upstream.address)]))
        .start_with(Settings { body_timeout: LIMIT, ..settings() });
    let start = Instant::now();
    let mut slow = TcpStream::connect(scene.http).await.unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nHost: body.test\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    let answer = is_closed(start, &mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let upstream = hello().await;
    let scene = config()
        .route("limit.test", route(&[endpoint(upstream.address)]))
        .start_with(Settings { max_connections: 1, ..settings() });
    let mut first = Connection::plain(scene.http).await;
    assert_eq!(first.get("limit.test", "/").await.status, 200);
    assert_eq!(scene.metric("portcullis_connections{listener=\"http\"}"), 1);
    let mut second = Connection::plain(scene.http).await;
    assert!(tokio::time::timeout(LIMIT, second.get("limit.test", "/")).await.is_err());
    drop(first);
    let mut third = Connection::plain(scene.http).await;
    drop(second);
    assert_eq!(third.get("limit.test", "/").await.status, 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_keep_the_upstream() {
    let upstream = crate::upstream::serve(|_| async { http::Response::new(text(vec![b'x'; 64 << 20])) }).await;
    let scene = config()
        .tls("stall.test", Policy::Open)
        .route("stall.test", route(&[endpoint(upstream.address)]))
        .start_with(Settings { send_timeout: LIMIT, ..settings() });
    for alpn in ["http/1.1", "h2"] {
        let mut client = Connection::secure(scene.https, alpn, "stall.test", None).await;
        let request = client.request("GET", "stall.test", "/").body(text("")).unwrap();
        let response = client.send(request).await.unwrap();
        // The line is written when the exchange is given up, with what was given out until then.
        let line = scene.access.with(&[if alpn == "h2" { "HTTP/2.0\" 200 " } else { "HTTP/1.1\" 200 " }]).await;
        assert!(!line.contains(" 200 67108864 "), "{line}");
        assert!(http_body_util::BodyExt::collect(response.into_body()).await.is_err(), "{alpn}");
    }
}

#[tokio::test]
async fn a_client_that_takes_its_time_gets_everything() {
    // The limit is long, so that a pause of the machine is not taken for one of the client's.
    let (limit, windows, window) = (Duration::from_secs(3), 28, 64 << 10);
    let length = windows * window;
    let upstream = crate::upstream::serve(move |_| async move { http::Response::new(text(vec![b'x'; length])) }).await;
    let scene = config()
        .tls("steady.test", Policy::Open)
        .route("steady.test", route(&[endpoint(upstream.address)]))
        .start_with(Settings { send_timeout: limit, ..settings() });
    let stream = tls(scene.https, "steady.test", tls_config("h2", None)).await.unwrap();
    // A small window: the upstream is always ahead.
    let mut builder = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    builder.initial_stream_window_size(u32::try_from(window).unwrap());
    let (mut sender, connection) = builder.handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://steady.test/").body(text("")).unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    let (start, mut taken, mut paused) = (Instant::now(), 0, 0);
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        taken += frame.unwrap().into_data().unwrap().len();
        while paused < taken / window {
            tokio::time::sleep(limit / 12).await;
            paused += 1;
        }
    }
    assert_eq!(taken, length);
    assert!(start.elapsed() > limit * 2, "{:?}", start.elapsed());
}
