//! Where a message of HTTP/1 begins and ends (RFC 9112 sections 6 and 7).

use crate::range::{Range, SMUGGLED, Way, passed, refused};
use crate::recorder::{OK, essence, is_complete};

/// A request with these lines after `Host`.
fn post(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h.test\r\n{lines}")
}

#[tokio::test]
async fn a_body_has_one_length() {
    let long = format!("Content-Length: {}\r\n\r\n", "9".repeat(30));
    let lines = [
        // RFC 9112 section 6.1: the transfer codings.
        "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n",
        // Section 6.3: the length.
        "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "Content-Length: 3, 3\r\n\r\nabc",
        "Content-Length: 3, 4\r\n\r\nabcd",
        "Content-Length: +3\r\n\r\nabc",
        "Content-Length: -3\r\n\r\nabc",
        "Content-Length: 0x3\r\n\r\nabc",
        "Content-Length: 3.0\r\n\r\nabc",
        "Content-Length: 3 3\r\n\r\nabc",
        "Content-Length: \r\n\r\n",
        "Content-Length: 18446744073709551616\r\n\r\n",
        "Content-Length : 3\r\n\r\nabc",
        "Content-Length: 3\r\n\tcontinued: 1\r\n\r\nabc",
        &long,
    ];
    let requests: Vec<_> = lines.map(post).into();
    let mut cases: Vec<_> = requests.iter().map(|request| (400, &**request)).collect();
    let endless = post("Content-Length: 18446744073709551615\r\n\r\n");
    cases.push((431, &endless));
    cases.push((400, "POST / HTTP/1.0\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
    refused(&cases).await;
}

/// RFC 9112 section 6.3: the transfer coding counts, the length is removed, and the connection ends with the answer, so that
/// the rest is nobody's request.
#[tokio::test]
async fn of_two_framings_one_reaches_the_upstream() {
    let mut range = Range::new(OK).await;
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ] {
        for way in [Way::Plaintext, Way::Tls] {
            let before = range.upstream.connections();
            let answer = range.send(way, format!("{}{SMUGGLED}", post(lines)).as_bytes()).await;
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{lines:?} -> {answer:?}");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{lines:?} -> {answer:?}");
            let expected = "POST / HTTP/1.1\ntransfer-encoding: chunked\n\n2\r\nab\r\n0\r\n\r\n";
            assert_eq!(essence(&range.upstream.next().await), expected, "{lines:?}");
            assert_eq!(range.upstream.connections() - before, 1, "{lines:?}");
        }
    }
}

#[tokio::test]
async fn what_is_framed_oddly_but_clearly_is_passed_on_in_one_form() {
    passed(&[
        (
            "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 002\r\nConnection: close\r\n\r\nab",
            "POST / HTTP/1.1\ncontent-length: 2\n\nab",
        ),
        (
            "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 2\r\nContent-Length: 02\r\nConnection: close\r\n\r\nab",
            "POST / HTTP/1.1\ncontent-length: 2\n\nab",
        ),
        (
            "POST / HTTP/1.1\r\nHost: h.test\r\ntRANSFER-eNCODING:\tCHUNKED \r\nConnection: close\r\n\r\n002;a=b;c=\"d\"\r\nab\r\n00\r\n\r\n",
            "POST / HTTP/1.1\ntransfer-encoding: chunked\n\n2\r\nab\r\n0\r\n\r\n",
        ),
        (
            "POST / HTTP/1.0\r\nHost: h.test\r\nContent-Length: 2\r\n\r\nab",
            "POST / HTTP/1.1\ncontent-length: 2\n\nab",
        ),
        // Only a length or a coding announces a body.
        ("POST / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n", "POST / HTTP/1.1\n\n\n"),
        // An upstream with CGI's eyes would see a second framing.
        (
            "POST / HTTP/1.1\r\nHost: h.test\r\nContent_Length: 9\r\nTransfer_Encoding: chunked\r\nX_Other: 1\r\n\
             Content-Length: 2\r\nConnection: close, content-length\r\n\r\nab",
            "POST / HTTP/1.1\ncontent-length: 2\nx_other: 1\n\nab",
        ),
    ])
    .await;
}

/// Where one request ends, the next begins, for us and for the upstream.
#[tokio::test]
async fn requests_in_a_row_are_told_apart() {
    let mut range = Range::new(OK).await;
    let requests = [
        "POST /1 HTTP/1.1\r\nHost: h.test\r\nContent-Length: 2\r\n\r\nab",
        "POST /2 HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"\\\"\"\r\nab\r\n0;b\r\nX-Sum: 1\r\n\r\n",
        "GET /3 HTTP/1.1\r\nHost: h.test\r\n\r\n",
        "\r\nGET /4 HTTP/1.1\r\nHost: h.test\r\nContent-Length: 0\r\n\r\n",
        "GET /5 HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n",
    ];
    for way in [Way::Plaintext, Way::Tls] {
        let answer = range.send(way, requests.concat().as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 5, "{answer:?}");
        for expected in [
            "POST /1 HTTP/1.1\ncontent-length: 2\n\nab",
            "POST /2 HTTP/1.1\ntransfer-encoding: chunked\n\n2\r\nab\r\n0\r\n\r\n",
            "GET /3 HTTP/1.1\n\n\n",
            "GET /4 HTTP/1.1\ncontent-length: 0\n\n",
            "GET /5 HTTP/1.1\n\n\n",
        ] {
            assert_eq!(essence(&range.upstream.next().await), expected);
        }
    }
}

/// What breaks off, or is no body, must not look whole to the upstream.
#[tokio::test]
async fn a_body_that_is_none_never_ends() {
    let mut range = Range::new(OK).await;
    let extension = format!("2;{}\r\nab\r\n0\r\n\r\n", "a".repeat(100 << 10));
    let trailers = format!("2\r\nab\r\n0\r\nX-A: {}\r\n\r\n", "a".repeat(100 << 10));
    for body in [
        &extension,
        &trailers,
        "2;a\nb\r\nab\r\n0\r\n\r\n",
        "2\nab\n0\n\n",
        "2\r\nab\n0\r\n\r\n",
        "2\r\nab0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "10000000000000002\r\nab\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nab\r\n0\r\n\r\n",
        "+2\r\nab\r\n0\r\n\r\n",
        "-2\r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        " 2\r\nab\r\n0\r\n\r\n",
        "\r\nab\r\n0\r\n\r\n",
        ";a\r\nab\r\n0\r\n\r\n",
        "2\r\rab\r\n0\r\n\r\n",
        "2\r\nab\r\n0\r\nX A: 1\r\n\r\n",
        "2\r\nab\r\n0\r\nX-A: 1\r\n folded\r\n\r\n",
        "2\r\nab\r\n0\r\n\rX\r\n",
        "2\r\nab\r\n",
        "2\r\nab\r\n0\r\n",
    ] {
        for way in [Way::Plaintext, Way::Tls] {
            let request = format!("{}{body}", post("Transfer-Encoding: chunked\r\n\r\n"));
            let answer = range.send(way, request.as_bytes()).await;
            let shown = &body[..body.len().min(40)];
            assert!(!answer.contains("HTTP/1.1 200 "), "{way:?} {shown:?} -> {answer:?}");
            let received = range.upstream.next().await;
            assert!(!is_complete(received.as_bytes()), "{way:?} {shown:?} -> {received:?}");
        }
    }
}

/// An answer with two readings would give one client what is meant for another.
#[tokio::test]
async fn an_answer_has_one_length() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nx-a : 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nx-a: a\0b\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nx-a: a\rb\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nab",
        "ok",
    ] {
        let range = Range::new(answer).await;
        let request = b"GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n";
        let answered = range.send(Way::Plaintext, request).await;
        assert!(answered.starts_with("HTTP/1.1 502 "), "{answer:?} -> {answered:?}");
    }
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let range = Range::new(answer).await;
    let request = b"GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n";
    let answered = range.send(Way::Plaintext, request).await;
    assert!(answered.ends_with("\r\n\r\n2\r\nab\r\n0\r\n\r\n") && !answered.contains("content-length"), "{answered:?}");
}
