//! Upgrades.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::TokioIo;
use portcullis::snapshot::Policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::Connection;
use crate::scene::{config, endpoint, route};
use crate::upstream::{AnyBody, Recorder, serve, text};

/// An upstream that agrees to WebSockets and then echoes bytes.
pub(crate) async fn echo() -> Recorder {
    serve(answer_with_echo).await
}

pub(crate) async fn answer_with_echo(mut request: Request<hyper::body::Incoming>) -> Response<AnyBody> {
    if !request.headers().contains_key("upgrade") {
        return Response::new(text("no upgrade"));
    }
    tokio::spawn(async move {
        let mut stream = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = stream.shutdown().await;
    });
    let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
    response.header("sec-websocket-accept", "x").body(text("")).unwrap()
}

fn upgrade(client: &Connection, host: &str) -> Request<crate::upstream::AnyBody> {
    let request = client.request("GET", host, "/chat").header("connection", "keep-alive, Upgrade");
    request.header("upgrade", "WebSocket").header("sec-websocket-key", "k").body(text("")).unwrap()
}

/// A WebSocket on a connection of its own.
pub(crate) async fn websocket(mut client: Connection, host: &str) -> TokioIo<hyper::upgrade::Upgraded> {
    let request = upgrade(&client, host);
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 101);
    TokioIo::new(hyper::upgrade::on(response).await.unwrap())
}

/// Sends `size` bytes and expects them back, then the end after our own.
pub(crate) async fn echoes(mut stream: TokioIo<hyper::upgrade::Upgraded>, size: usize) {
    let sent = vec![7; size];
    let mut received = vec![0; sent.len()];
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let (written, got) = tokio::join!(write.write_all(&sent), read.read_exact(&mut received));
    written.unwrap();
    got.unwrap();
    assert_eq!(sent, received);
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut received).await.unwrap(), 0);
}

#[tokio::test]
async fn a_websocket_is_tunnelled_where_the_route_allows_it() {
    let upstream = echo().await;
    let mut websocket = route(&[endpoint(upstream.address)]);
    websocket.websocket = true;
    let scene = config()
        .tls("ws.test", Policy::Open)
        .routes("ws.test", vec![("/chat", websocket)])
        .route("nows.test", route(&[endpoint(upstream.address)]))
        .start();
    let mut client = Connection::secure(scene.https, "http/1.1", "ws.test", None).await;
    let request = upgrade(&client, "ws.test");
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "x");
    echoes(TokioIo::new(hyper::upgrade::on(response).await.unwrap()), 100_000).await;
    scene.access.with(&["\"GET /chat HTTP/1.1\" 101 100000 "]).await;
    let seen = upstream.seen().pop().unwrap();
    assert_eq!((seen.header("connection"), seen.header("upgrade")), (Some("upgrade"), Some("websocket")));

    let mut client = Connection::plain(scene.http).await;
    let request = upgrade(&client, "nows.test");
    assert_eq!(client.send(request).await.unwrap().status(), 200);
    assert_eq!(upstream.seen().pop().unwrap().header("upgrade"), None);
}

#[tokio::test]
async fn an_upstream_that_refuses_an_upgrade_has_to_finish_its_answer() {
    let upstream = serve(|_| async {
        let half = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"half")))]);
        Response::new(BodyExt::boxed(StreamBody::new(half.chain(futures::stream::pending()))))
    })
    .await;
    let mut websocket = route(&[endpoint(upstream.address)]);
    websocket.websocket = true;
    websocket.timeouts.read = Duration::from_millis(200);
    let scene = config().route("wshalf.test", websocket).start();
    let mut client = Connection::plain(scene.http).await;
    let request = upgrade(&client, "wshalf.test");
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let read = tokio::time::timeout(Duration::from_secs(5), response.into_body().collect());
    assert!(read.await.expect("it is waited for").is_err());
}
