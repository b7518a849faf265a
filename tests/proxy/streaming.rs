//! Bodies that are larger than any buffer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use portcullis::snapshot::Policy;

use crate::client::{Connection, answer};
use crate::scene::{config, endpoint, route};
use crate::upstream::{AnyBody, serve, text};

const CHUNK: usize = 64 << 10;

/// A body of `chunks` chunks that counts how many were taken.
fn body(chunks: usize, taken: Arc<AtomicUsize>) -> AnyBody {
    let chunk = Bytes::from(vec![b'x'; CHUNK]);
    let frames = futures::stream::iter(0..chunks).map(move |_| {
        taken.fetch_add(1, Ordering::Relaxed);
        Ok(Frame::data(chunk.clone()))
    });
    BodyExt::boxed(StreamBody::new(frames))
}

/// Waits until `count` stands still.
async fn settled(count: &AtomicUsize) -> usize {
    let mut before = usize::MAX;
    loop {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let now = count.load(Ordering::Relaxed);
        if now == before {
            return now;
        }
        before = now;
    }
}

#[tokio::test]
async fn a_response_is_read_no_faster_than_the_client_takes_it() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    let chunks = 512; // 32 MiB: more than the kernel's buffers of three connections
    let upstream = serve(move |_| {
        let body = body(chunks, counted.clone());
        async { Response::new(body) }
    })
    .await;
    let scene =
        config().tls("down.test", Policy::Open).route("down.test", route(&[endpoint(upstream.address)])).start();
    for alpn in ["http/1.1", "h2"] {
        taken.store(0, Ordering::Relaxed);
        let mut client = Connection::secure(scene.https, alpn, "down.test", None).await;
        let request = client.request("GET", "down.test", "/").body(text("")).unwrap();
        let mut response = client.send(request).await.unwrap();
        let held = settled(&taken).await;
        assert!(held < chunks, "{alpn}: all of the body was read ahead");
        let mut length = 0;
        while let Some(frame) = response.body_mut().frame().await {
            length += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(length, chunks * CHUNK, "{alpn}");
        scene.access.with(&[&format!("200 {length} ")]).await;
    }
    assert_eq!(upstream.connections(), 1, "a chunked response gives its connection back");
}

#[tokio::test]
async fn a_request_is_read_no_faster_than_the_upstream_takes_it() {
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = go.clone();
    let upstream = serve(move |request| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            let length = request.into_body().collect().await.unwrap().to_bytes().len();
            Response::new(text(length.to_string()))
        }
    })
    .await;
    let scene = config().tls("up.test", Policy::Open).route("up.test", route(&[endpoint(upstream.address)])).start();
    for alpn in ["http/1.1", "h2"] {
        let taken = Arc::new(AtomicUsize::new(0));
        let mut client = Connection::secure(scene.https, alpn, "up.test", None).await;
        let request = client.request("POST", "up.test", "/").body(body(512, taken.clone())).unwrap();
        let response = tokio::spawn(async move { answer(client.send(request).await.unwrap()).await });
        let held = settled(&taken).await;
        assert!(held < 512, "{alpn}: all of the body was read ahead");
        go.add_permits(1);
        assert_eq!(response.await.unwrap().body, (512 * CHUNK).to_string(), "{alpn}");
    }
}

#[tokio::test]
async fn both_directions_stream_at_once() {
    let upstream = serve(|request| async move { Response::new(request.into_body().boxed()) }).await;
    let scene =
        config().tls("echo.test", Policy::Open).route("echo.test", route(&[endpoint(upstream.address)])).start();
    for alpn in ["http/1.1", "h2"] {
        let mut client = Connection::secure(scene.https, alpn, "echo.test", None).await;
        let request = client.request("POST", "echo.test", "/").body(body(256, Arc::default())).unwrap();
        let echoed = answer(client.send(request).await.unwrap()).await;
        assert_eq!(echoed.body.len(), 256 * CHUNK, "{alpn}");
        assert!(echoed.body.iter().all(|byte| *byte == b'x'));
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_taken_for_whole() {
    let upstream = serve(|_| async {
        let frames = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"half")))]);
        let never = futures::stream::pending();
        let body = BodyExt::boxed(StreamBody::new(frames.chain(never)));
        Response::new(body)
    })
    .await;
    let mut slow = route(&[endpoint(upstream.address)]);
    slow.timeouts.read = Duration::from_millis(100);
    let scene = config().tls("half.test", Policy::Open).route("half.test", slow).start();
    for alpn in ["http/1.1", "h2"] {
        let mut client = Connection::secure(scene.https, alpn, "half.test", None).await;
        let request = client.request("GET", "half.test", "/").body(text("")).unwrap();
        let response = client.send(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.into_body().collect().await.is_err(), "{alpn}");
    }
}
