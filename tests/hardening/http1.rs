//! The head of a request of HTTP/1, as RFC 9110 and RFC 9112 have it.

use crate::range::{Range, Way, passed, refused};
use crate::recorder::{OK, essence};

#[tokio::test]
async fn a_head_has_one_reading() {
    let cases = [
        "GET / HTTP/1.1\r\nHost: h.test\r\nX-A: 1\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\r\nX-A : 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\r\nX-A\t: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\r\nX-A: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\r\nX\0A: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\r\nX-A: a\rX-B: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\r\nX-A: a\r\rX-B: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\r\nX-A\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\r\n: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\r\nX(A): 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\r\nX-\u{e4}: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: h.test\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: h.test\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: h.test\r\n\r\n",
        "GET\t/\tHTTP/1.1\r\nHost: h.test\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: h.test\r\n\r\n",
        "GET / HTTP/1.1 HTTP/1.1\r\nHost: h.test\r\n\r\n",
        "G\x01T / HTTP/1.1\r\nHost: h.test\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: h.test\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: h.test\r\n\r\n",
        "GET / HTTP/0.9\r\nHost: h.test\r\n\r\n",
        "GET / HTTP/01.1\r\nHost: h.test\r\n\r\n",
        "GET / http/1.1\r\nHost: h.test\r\n\r\n",
        "GET /\r\n",
    ];
    refused(&cases.map(|request| (400, request))).await;
}

/// In TLS, HTTP/2 is agreed upon by ALPN; and half a preface is none.
#[tokio::test]
async fn the_preface_of_http2_ends_a_connection_of_http1() {
    let range = Range::new(OK).await;
    assert_eq!(range.send(Way::Tls, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, "");
    for other in ["PRI * HTTP/2.0\r\n\r\nSM\r\nHost: h.test\r\n\r\n", "PRI * HTTP/2.0\r\nHost: h.test\r\n\r\n"] {
        let answer = range.send(Way::Plaintext, other.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{other:?} -> {answer}");
    }
    assert_eq!(range.upstream.connections(), 0);
}

#[tokio::test]
async fn a_head_has_a_hundred_fields_at_most() {
    let fields = |count| "X-A: 1\r\n".repeat(count);
    refused(&[(431, &format!("GET / HTTP/1.1\r\nHost: h.test\r\n{}\r\n", fields(100)))]).await;
    let most = format!("GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n{}\r\n", fields(98));
    passed(&[(&most, &format!("GET / HTTP/1.1\n{}\n\n", ["x-a: 1"; 98].join("\n")))]).await;
}

/// What the client says of its connection does not count.
#[tokio::test]
async fn the_scheme_is_that_of_the_connection() {
    let mut range = Range::new(OK).await;
    for (way, proto) in [(Way::Plaintext, "http"), (Way::Tls, "https")] {
        for scheme in ["http", "https"] {
            let request = format!("GET {scheme}://h.test/ HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n");
            range.send(way, request.as_bytes()).await;
            let received = range.upstream.next().await;
            assert!(received.starts_with("GET / HTTP/1.1\r\n"), "{received}");
            assert!(received.contains(&format!("\r\nx-forwarded-proto: {proto}\r\n")), "{received}");
        }
    }
}

/// RFC 9112 section 2.2 lets a recipient take a lone LF for the end of a line, and hyper does. What reaches the upstream is
/// written anew, so that the two of us cannot read it differently.
#[tokio::test]
async fn a_lone_line_feed_ends_a_line_for_the_upstream_too() {
    passed(&[
        ("GET /a HTTP/1.1\nHost: h.test\nX-A: 1\nConnection: close\n\n", "GET /a HTTP/1.1\nx-a: 1\n\n"),
        (
            "POST / HTTP/1.1\r\nHost: h.test\r\nX-A: 1\nTransfer-Encoding: chunked\nConnection: close\r\n\n2\r\nab\r\n0\r\n\r\n",
            "POST / HTTP/1.1\ntransfer-encoding: chunked\nx-a: 1\n\n2\r\nab\r\n0\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nHost: h.test\r\nX-A: 1\nContent-Length: 2\r\nConnection: close\r\n\r\nab",
            "POST / HTTP/1.1\ncontent-length: 2\nx-a: 1\n\nab",
        ),
    ])
    .await;
    let cases = [
        "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 2\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: gzip\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\nHost: other.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.test\r\nX-A: 1\n folded\r\n\r\n",
    ];
    refused(&cases.map(|request| (400, request))).await;
}

#[tokio::test]
async fn a_request_names_one_host() {
    refused(&[
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.0\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: h.test\r\nHost: h.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: h.test\r\nhOST: other.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: h.test, other.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: h.test other.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: u@h.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: u:p@h.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: h.test/x\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: h.test?x\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: h.test#x\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: http://h.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: h.test:8o\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: h.test:80:80\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: h%2etest\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: h..test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: \u{e4}.test\r\n\r\n"),
        (400, "GET http://h.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n"),
        (400, "GET http://h.test/ HTTP/1.1\r\nHost:\r\n\r\n"),
        (400, "GET http://u@h.test/ HTTP/1.1\r\nHost: h.test\r\n\r\n"),
        (400, "GET http://u@h.test/ HTTP/1.1\r\nHost: u@h.test\r\n\r\n"),
        (400, "GET http:///x HTTP/1.1\r\nHost: h.test\r\n\r\n"),
    ])
    .await;
    let mut range = Range::new(OK).await;
    for (request, host) in [
        ("GET / HTTP/1.1\r\nHost: H.test.:8080\r\nConnection: close\r\n\r\n", "H.test.:8080"),
        ("GET http://h.test:8080/ HTTP/1.1\r\nHost: H.TEST\r\nConnection: close\r\n\r\n", "h.test:8080"),
        ("GET http://h.test/ HTTP/1.0\r\n\r\n", "h.test"),
        ("GET / HTTP/1.1\r\nHost: h.test\r\nHost_: other.test\r\nConnection: close, host\r\n\r\n", "h.test"),
    ] {
        range.send(Way::Plaintext, request.as_bytes()).await;
        let received = range.upstream.next().await;
        let hosts: Vec<_> = received.split("\r\n").filter_map(|line| line.strip_prefix("host: ")).collect();
        assert_eq!(hosts, [host], "{request:?}");
    }
}

#[tokio::test]
async fn a_target_is_a_path_in_one_spelling() {
    let paths = [
        "h.test",
        "*",
        "",
        "a",
        "?a",
        "http://h.test?a",
        "/a\\b",
        "/\\..\\a",
        "/../a",
        "/a/../../b",
        "/%2e%2e/a",
        "/a/%2E./%2e%2E/b",
        "/%00",
        "/%",
        "/%2",
        "/%zz",
        "/%u002e",
        "/a\x7fb",
        "/a\x01b",
        "/a\tb",
        "/a\0b",
    ];
    let requests = paths.map(|path| format!("GET {path} HTTP/1.1\r\nHost: h.test\r\n\r\n"));
    refused(&requests.each_ref().map(|request| (400, &**request))).await;

    let mut range = Range::new(OK).await;
    for (path, expected) in [
        ("/a/../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/./b/.", "/a/b/"),
        ("/%61", "/a"),
        ("/a%2fb", "/a%2Fb"),
        ("/a//b", "/a//b"),
        ("//h.test/a", "//h.test/a"),
        ("/a;b=1/..;/c", "/a;b=1/..;/c"),
        ("/a%252e", "/a%252e"),
        ("/?a=/../b&c=%00", "/?a=/../b&c=%00"),
        ("http://h.test/a/../b", "/b"),
        ("http://h.test", "/"),
        ("/a#b", "/a"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n");
        let answer = range.send(Way::Plaintext, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path} -> {answer}");
        let received = range.upstream.next().await;
        assert_eq!(received.split(' ').nth(1), Some(expected), "{path}");
    }
}

#[tokio::test]
async fn methods_that_concern_a_proxy_are_refused() {
    for (status, request) in [
        (405, "CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\nConnection: close\r\n\r\n"),
        (405, "TRACE / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n"),
        (400, "OPTIONS * HTTP/1.1\r\nHost: h.test\r\n\r\n"),
        (417, "POST / HTTP/1.1\r\nHost: h.test\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\nab"),
        (417, "GET / HTTP/1.1\r\nHost: h.test\r\nExpect: 100-continue, 200-ok\r\n\r\n"),
        (417, "GET / HTTP/1.1\r\nHost: h.test\r\nExpect: 100-continue\r\nExpect: x\r\n\r\n"),
    ] {
        refused(&[(status, request)]).await;
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_from_us() {
    let mut range = Range::new(OK).await;
    for (version, continues) in [("1.1", true), ("1.0", false)] {
        let request = format!(
            "POST / HTTP/{version}\r\nHost: h.test\r\nExpect: 100-Continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab"
        );
        let answer = range.send(Way::Plaintext, request.as_bytes()).await;
        assert_eq!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\n"), continues, "{answer}");
        assert!(answer.contains(" 200 OK\r\n"), "{answer}");
        assert_eq!(essence(&range.upstream.next().await), "POST / HTTP/1.1\ncontent-length: 2\n\nab");
    }
}

#[tokio::test]
async fn what_concerns_one_connection_stays_on_it() {
    passed(&[
        (
            "GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nX-A: 1\r\n\r\n",
            "GET / HTTP/1.1\nx-a: 1\n\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close, x-secret\r\nConnection: x-other,\r\nX-Secret: 1\r\n\
             X-Other: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n\
             Proxy-Authenticate: Basic\r\nTE: gzip\r\nTrailer: x-sum\r\nX-A: 1\r\n\r\n",
            "GET / HTTP/1.1\ntrailer: x-sum\nx-a: 1\n\n",
        ),
        // The route allows no WebSockets.
        (
            "GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\nX-A: 1\r\n\r\n",
            "GET / HTTP/1.1\nx-a: 1\n\n",
        ),
        // Trailers are passed on, but for those that say what fields may not.
        (
            "POST / HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Host\r\nConnection: close\r\n\r\n\
             2\r\nab\r\n0\r\nX-Sum: 1\r\nHost: other.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\ntrailer: X-Sum, Host\ntransfer-encoding: chunked\n\n2\r\nab\r\n0\r\nx-sum: 1\r\n\r\n",
        ),
    ])
    .await;
}

#[tokio::test]
async fn interim_responses_of_the_upstream_are_left_out() {
    for answer in [
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
    ] {
        let range = Range::new(answer).await;
        let answered = range.send(Way::Plaintext, b"GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n").await;
        assert!(answered.starts_with("HTTP/1.1 200 OK\r\n") && answered.ends_with("\r\n\r\nok"), "{answered}");
        assert!(!answered.contains("link"), "{answered}");
    }
}
