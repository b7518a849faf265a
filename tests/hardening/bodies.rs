//! Bodies of more bytes than they may have.

use crate::client::{Connection, answer};
use crate::range::{HOST, Range, Way};
use crate::recorder::{OK, is_complete};
use crate::upstream::text;

async fn range() -> Range {
    Range::with(OK, |settings| settings.max_body_size = Some(10)).await
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_at_once() {
    let range = range().await;
    for way in [Way::Plaintext, Way::Tls] {
        let answer = range.send(way, b"POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 11\r\n\r\n0123456789a").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
    let mut client = Connection::secure(range.scene.https, "h2", HOST, None).await;
    let request = client.request("POST", HOST, "/").header("content-length", "11").body(text("0123456789a")).unwrap();
    assert_eq!(client.send(request).await.unwrap().status(), 413);
    assert_eq!(range.upstream.connections(), 0);
}

#[tokio::test]
async fn a_body_that_grows_over_the_limit_breaks_off() {
    let mut range = range().await;
    let chunks = "5\r\n01234\r\n6\r\n56789a\r\n0\r\n\r\n";
    let request = format!("POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    for way in [Way::Plaintext, Way::Tls] {
        let answer = range.send(way, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        let received = range.upstream.next().await;
        assert!(!is_complete(received.as_bytes()), "{received}");
    }
}

#[tokio::test]
async fn a_body_as_large_as_the_limit_is_passed_on() {
    let mut range = range().await;
    let chunked = "POST / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n";
    let known = "POST / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789";
    for request in [chunked, known] {
        let answer = range.send(Way::Plaintext, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(is_complete(range.upstream.next().await.as_bytes()));
    }
    let mut client = Connection::secure(range.scene.https, "h2", HOST, None).await;
    let request = client.request("POST", HOST, "/").body(text("0123456789")).unwrap();
    assert_eq!(answer(client.send(request).await.unwrap()).await.status, 200);
}
