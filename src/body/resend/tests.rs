use std::task::Waker;

use futures::FutureExt;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;

use super::*;

/// The body of a request that is on its way, and the client's side of its connection.
async fn incoming() -> (Incoming, DuplexStream) {
    let (mut client, server) = duplex(1 << 20);
    let (sender, receiver) = oneshot::channel();
    let sender = Mutex::new(Some(sender));
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let _ = sender.lock().unwrap().take().unwrap().send(request.into_body());
        std::future::pending::<Result<http::Response<String>, std::convert::Infallible>>()
    });
    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service));
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    (receiver.await.unwrap(), client)
}

async fn chunk(client: &mut DuplexStream, data: &[u8]) {
    client.write_all(format!("{:x}\r\n", data.len()).as_bytes()).await.unwrap();
    client.write_all(&[data, b"\r\n"].concat()).await.unwrap();
}

/// Reads so many bytes, or fewer where the body ends.
async fn read(sending: &mut Sending, length: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < length {
        let Some(frame) = sending.frame().await else { break };
        read.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    read
}

#[tokio::test]
async fn a_body_that_was_whole_from_the_start_is_sent_as_often_as_is_wanted() {
    for body in [Resend::new(Body::Full(Bytes::from_static(b"all of it"))), Resend::new(Body::Empty)] {
        let expected: &[u8] = if body.0.is_some() { b"all of it" } else { b"" };
        for _ in 0..3 {
            let mut sending = body.send().unwrap();
            assert_eq!(sending.is_end_stream(), expected.is_empty());
            assert_eq!(read(&mut sending, 100).await, expected);
            assert!(sending.is_end_stream() && sending.frame().await.is_none());
        }
        assert!(body.is_whole());
    }
}

#[tokio::test]
async fn a_small_body_is_sent_again_with_what_comes_after_it() {
    let (incoming, mut client) = incoming().await;
    let body = Resend::new(Body::Incoming(incoming));
    assert!(body.is_untouched());
    let mut first = body.send().unwrap();
    chunk(&mut client, b"one").await;
    assert_eq!(read(&mut first, 3).await, b"one");
    assert!(body.is_whole() && !body.is_untouched());
    let mut second = body.send().unwrap();
    assert!(matches!(first.frame().await, Some(Err(SendingError::GivenUp))), "only the last one may read");
    chunk(&mut client, b"two").await;
    client.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut second, 100).await, b"onetwo");
    assert_eq!(read(&mut body.send().unwrap(), 100).await, b"onetwo", "also when it has ended");
}

#[tokio::test]
async fn a_large_body_and_an_answered_one_are_sent_once() {
    let (incoming, mut client) = incoming().await;
    let body = Resend::new(Body::Incoming(incoming));
    let mut sending = body.send().unwrap();
    chunk(&mut client, &[7; KEPT]).await;
    assert_eq!(read(&mut sending, KEPT).await.len(), KEPT);
    assert!(body.is_whole());
    chunk(&mut client, &[7]).await;
    assert_eq!(read(&mut sending, 1).await, [7], "what is not kept is passed on all the same");
    assert!(!body.is_whole() && body.send().is_none());

    let answered = Resend::new(Body::Full(Bytes::from_static(b"all of it")));
    let mut sending = answered.send().unwrap();
    answered.settle();
    assert!(answered.send().is_none());
    assert_eq!(read(&mut sending, 100).await, b"all of it", "the upstream may answer before it has read");
}

#[tokio::test]
async fn who_waits_for_a_frame_hears_of_the_end_of_the_request() {
    let (incoming, mut client) = incoming().await;
    let body = Resend::new(Body::Incoming(incoming));
    let mut sending = body.send().unwrap();
    assert!(sending.frame().now_or_never().is_none());
    let reading = tokio::spawn(async move { sending.frame().await.unwrap().map(|_| ()) });
    tokio::task::yield_now().await;
    drop(body);
    assert!(matches!(reading.await.unwrap(), Err(SendingError::GivenUp)));
    // The connection goes on without a reader of the body.
    client.write_all(b"0\r\n\r\n").await.unwrap();
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_sent_again() {
    let (incoming, mut client) = incoming().await;
    let body = Resend::new(Body::Incoming(incoming));
    body.watch(Waker::noop());
    let mut sending = body.send().unwrap();
    chunk(&mut client, b"one").await;
    assert_eq!(read(&mut sending, 3).await, b"one");
    drop(client);
    assert!(matches!(sending.frame().await, Some(Err(SendingError::Body(_)))));
    assert!(!body.is_whole() && body.send().is_none());
}
