//! Requests to upstreams and their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use portcullis::log::Format;
use portcullis::model::Timeouts;
use portcullis::snapshot::Policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::client::{Connection, answer, raw};
use crate::lines::ERRORS;
use crate::scene::{config, endpoint, route, settings};
use crate::upstream::{hello, nobody, serve, text};

#[tokio::test]
async fn errors_are_worded_as_apisix_words_them() {
    let upstream = hello().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut slow = route(&[endpoint(silent.local_addr().unwrap())]);
    slow.timeouts = Timeouts { read: Duration::from_millis(50), ..Timeouts::default() };
    let scene = config()
        .routes(
            "errors.test",
            vec![
                ("/ok", route(&[endpoint(upstream.address)])),
                ("/502", route(&[endpoint(nobody())])),
                ("/503", route(&[])),
                ("/504", slow),
            ],
        )
        .start();
    let mut client = Connection::plain(scene.http).await;
    for (path, body) in [
        ("/nowhere", "404 Route Not Found"),
        ("/502", "502 Bad Gateway"),
        ("/503", "503 Service Unavailable"),
        ("/504", "504 Gateway Timeout"),
    ] {
        let answer = client.get("errors.test", path).await;
        assert_eq!(answer.body, format!("{{\"error_msg\":\"{body}\"}}\n"));
        assert_eq!(answer.status.as_str(), &body[..3]);
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(answer.headers["server"], "portcullis");
    }
    let answer = client.get("errors.test", "/ok").await;
    assert_eq!(answer.status, 200, "the connection outlives errors");
    assert!(!answer.headers.contains_key("server"), "the upstream's answers are not signed by us");
    assert_eq!(client.get("other.test", "/ok").await.status, 404);
    ERRORS.with(&["upstream timed out while reading from upstream, client: 127.0.0.1", "GET /504 HTTP/1.1"]).await;
    scene.access.with(&["\"GET /502 HTTP/1.1\" 502"]).await;
    let line = scene.access.with(&["\"GET /ok HTTP/1.1\" 200 5 0."]).await;
    assert!(line.contains(&format!("\"-\" \"-\" {} 200 0.", upstream.address)), "{line}");
    assert_eq!(scene.metric("portcullis_requests_total{class=\"5xx\",protocol=\"http1\"}"), 3);
    assert_eq!(scene.metric("portcullis_route_requests_total{route=\"default/test/rule\",class=\"2xx\"}"), 1);
}

#[tokio::test]
async fn the_upstream_sees_what_concerns_it_and_what_we_know() {
    let upstream = serve(|_| async {
        let response = Response::builder()
            .header("connection", "x-internal")
            .header("x-internal", "1")
            .header("keep-alive", "timeout=5")
            .header("proxy-authenticate", "Basic")
            .header("x-kept", "1");
        response.body(text("hello")).unwrap()
    })
    .await;
    let scene =
        config().tls("headers.test", Policy::Open).route("headers.test", route(&[endpoint(upstream.address)])).start();
    for alpn in ["http/1.1", "h2"] {
        let mut client = Connection::secure(scene.https, alpn, "headers.test", None).await;
        let mut request = client
            .request("GET", "headers.test:9443", "/a/../b?c=%20")
            .header("x-forwarded-for", "10.0.0.1")
            .header("x-forwarded-for", "10.0.0.2")
            .header("x-forwarded-proto", "gopher")
            .header("x-forwarded-host", "evil.test")
            .header("x-real-ip", "10.0.0.1")
            .header("x_real_ip", "10.0.0.1")
            .header("forwarded", "for=10.0.0.1")
            .header("proxy", "http://evil.test")
            .header("proxy-authorization", "Basic eDp5")
            .header("x_kept", "1")
            .header("cookie", "a=1");
        request = if alpn == "h2" {
            request.header("cookie", "b=2").header("te", "trailers")
        } else {
            request
                .header("connection", "keep-alive, x-secret, x-real-ip, host")
                .header("x-secret", "1")
                .header("keep-alive", "timeout=5")
                .header("te", "gzip")
                .header("upgrade", "h2c")
        };
        let answer = answer(client.send(request.body(text("")).unwrap()).await.unwrap()).await;
        assert_eq!(answer.status, 200);
        for name in ["x-internal", "keep-alive", "proxy-authenticate"] {
            assert!(!answer.headers.contains_key(name), "{name}");
        }
        assert!(answer.headers.contains_key("x-kept"));

        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.target, "/b?c=%20");
        assert_eq!(seen.header("host"), Some("headers.test:9443"));
        assert_eq!(seen.header("x-forwarded-for"), Some("10.0.0.1, 10.0.0.2, 127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-host"), Some("headers.test"));
        assert_eq!(seen.header("x-forwarded-port"), Some(&*scene.https.port().to_string()));
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
        assert_eq!(seen.header("x_kept"), Some("1"));
        assert_eq!(seen.header("via"), Some(if alpn == "h2" { "2.0 portcullis" } else { "1.1 portcullis" }));
        for name in [
            "x_real_ip",
            "forwarded",
            "proxy",
            "proxy-authorization",
            "x-secret",
            "keep-alive",
            "upgrade",
            "transfer-encoding",
        ] {
            assert_eq!(seen.header(name), None, "{name}");
        }
        let h2 = alpn == "h2";
        assert_eq!(seen.header("cookie"), Some(if h2 { "a=1; b=2" } else { "a=1" }));
        assert_eq!(seen.header("te"), h2.then_some("trailers"));
        assert_eq!(seen.header("connection"), h2.then_some("te"));
    }
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let upstream = serve(|request| async move {
        let length =
            http_body_util::BodyExt::collect(request.into_body()).await.map_or(0, |body| body.to_bytes().len());
        Response::new(text(length.to_string()))
    })
    .await;
    let scene = config().route("raw.test", route(&[endpoint(upstream.address)])).start();
    for (status, request) in [
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: raw.test\r\nHost: raw.test\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: raw.test/x\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: u@raw.test\r\n\r\n"),
        (400, "GET http://raw.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n"),
        (400, "GET raw.test HTTP/1.1\r\nHost: raw.test\r\n\r\n"),
        (400, "OPTIONS * HTTP/1.1\r\nHost: raw.test\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: raw.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: raw.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (
            400,
            "POST / HTTP/1.1\r\nHost: raw.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (405, "CONNECT raw.test:443 HTTP/1.1\r\nHost: raw.test:443\r\nConnection: close\r\n\r\n"),
        (405, "TRACE / HTTP/1.1\r\nHost: raw.test\r\nConnection: close\r\n\r\n"),
        (200, "GET http://raw.test/ HTTP/1.1\r\nHost: raw.test\r\nConnection: close\r\n\r\n"),
        (200, "GET / HTTP/1.0\r\nHost: raw.test\r\n\r\n"),
    ] {
        let before = upstream.seen().len();
        let answer = raw(scene.http, request).await;
        assert!(answer.contains(&format!(" {status} ")), "{request:?} -> {answer:?}");
        assert_eq!(upstream.seen().len() - before, usize::from(status == 200), "{request:?}");
    }
    let chunked = "POST / HTTP/1.1\r\nHost: raw.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    assert!(raw(scene.http, chunked).await.ends_with("\r\n\r\n2"));
    let seen = upstream.seen().pop().unwrap();
    assert_eq!((seen.header("transfer-encoding"), seen.header("content-length")), (Some("chunked"), None));
    let long = "POST / HTTP/1.1\r\nHost: raw.test\r\nContent-Length: 002\r\nConnection: close\r\n\r\nab";
    assert!(raw(scene.http, long).await.ends_with("\r\n\r\n2"));
    assert_eq!(upstream.seen().pop().unwrap().header("content-length"), Some("2"));
    // A GET with a body of unknown length keeps its body.
    let get = "GET / HTTP/1.1\r\nHost: raw.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    assert!(raw(scene.http, get).await.ends_with("\r\n\r\n2"));
}

#[tokio::test]
async fn upstream_connections_are_used_again() {
    let upstream = hello().await;
    let scene =
        config().tls("reuse.test", Policy::Open).route("reuse.test", route(&[endpoint(upstream.address)])).start();
    for _ in 0..3 {
        let mut client = Connection::plain(scene.http).await;
        let mut other = Connection::secure(scene.https, "h2", "reuse.test", None).await;
        for _ in 0..5 {
            assert_eq!(client.get("reuse.test", "/").await.status, 200);
            assert_eq!(other.get("reuse.test", "/").await.status, 200);
        }
        let head = client.request("HEAD", "reuse.test", "/").body(text("")).unwrap();
        assert_eq!(client.send(head).await.unwrap().headers()["content-length"], "5");
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(scene.metric("portcullis_upstream_connects_total"), 1);
    assert_eq!(scene.metric("portcullis_upstream_reuses_total"), 32);
}

/// An upstream that answers one request per connection and closes it only when the next one has arrived: the moment at
/// which a proxy cannot know.
async fn closes_on_second_request(requests: Arc<AtomicUsize>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let requests = requests.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                assert_ne!(stream.read(&mut buffer).await.unwrap(), 0);
                requests.fetch_add(1, Ordering::Relaxed);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                let _ = stream.read(&mut buffer).await;
                requests.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    address
}

#[tokio::test]
async fn a_request_on_a_stale_connection_is_sent_again_only_where_that_is_safe() {
    let requests = Arc::new(AtomicUsize::new(0));
    let address = closes_on_second_request(requests.clone()).await;
    let scene = config().route("stale.test", route(&[endpoint(address)])).start();
    let mut client = Connection::plain(scene.http).await;
    for expected in [1, 3, 5] {
        assert_eq!(client.get("stale.test", "/").await.status, 200);
        assert_eq!(requests.load(Ordering::Relaxed), expected);
    }
    assert_eq!(scene.metric("portcullis_upstream_retries_total"), 2);
    let post = client.request("POST", "stale.test", "/").body(text("x")).unwrap();
    assert_eq!(client.send(post).await.unwrap().status(), 502, "the upstream may have acted upon it");
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_is_not_used() {
    let upstream =
        serve(|_| async { Response::builder().header("connection", "close").body(text("bye")).unwrap() }).await;
    let scene = config().route("closed.test", route(&[endpoint(upstream.address)])).start();
    let mut client = Connection::plain(scene.http).await;
    for _ in 0..3 {
        let post = client.request("POST", "closed.test", "/").body(text("x")).unwrap();
        assert_eq!(answer(client.send(post).await.unwrap()).await.status, 200);
    }
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_passed_over() {
    let upstream = hello().await;
    let scene = config()
        .route("dead.test", route(&[endpoint(nobody()), endpoint(upstream.address), endpoint(nobody())]))
        .start();
    let mut client = Connection::plain(scene.http).await;
    for _ in 0..6 {
        assert_eq!(client.get("dead.test", "/").await.status, 200);
    }
    assert_eq!(upstream.seen().len(), 6);
}

#[tokio::test]
async fn access_lines_may_be_json() {
    let upstream = hello().await;
    let scene = config()
        .tls("json.test", Policy::Open)
        .route("json.test", route(&[endpoint(upstream.address)]))
        .start_logging(settings(), Format::Json);
    let mut client = Connection::secure(scene.https, "h2", "json.test", None).await;
    let agent = http::HeaderValue::from_bytes(b"a\"\xff").unwrap();
    let request = client.request("GET", "json.test:9443", "/a?b=%22").header("user-agent", agent).body(text(""));
    assert_eq!(answer(client.send(request.unwrap()).await.unwrap()).await.status, 200);
    let line: serde_json::Value = serde_json::from_str(&scene.access.with(&["json.test"]).await).unwrap();
    for (field, value) in [
        ("client", "127.0.0.1".into()),
        ("host", "json.test:9443".into()),
        ("method", "GET".into()),
        ("path", "/a?b=%22".into()),
        ("protocol", "HTTP/2.0".into()),
        ("status", 200.into()),
        ("bytes", 5.into()),
        ("user_agent", "a\"\u{fffd}".into()),
        ("referer", serde_json::Value::Null),
        ("route", "default/test/rule".into()),
        ("upstream", upstream.address.to_string().into()),
        ("upstream_status", 200.into()),
        ("sni", "json.test".into()),
        ("tls", "TLSv1.3".into()),
        ("aborted", false.into()),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    let time = line["ts"].as_str().unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
}

#[tokio::test]
async fn a_request_body_that_is_none_is_not_the_fault_of_the_upstream() {
    let upstream = serve(|request| async move {
        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        Response::new(text("got it"))
    })
    .await;
    let scene = config().route("chunks.test", route(&[endpoint(upstream.address)])).start();
    let head = "POST / HTTP/1.1\r\nHost: chunks.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = raw(scene.http, &format!("{head}2\r\nab\r\nno chunk\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let line = ERRORS.with(&["host: \"chunks.test\""]).await;
    assert!(line.contains(" INFO ") && line.contains("client sent an invalid request"), "{line}");
}

#[tokio::test]
async fn request_trailers_cannot_say_what_we_say() {
    let (sender, mut trailers) = tokio::sync::mpsc::unbounded_channel();
    let upstream = serve(move |request| {
        let sender = sender.clone();
        async move {
            let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap();
            sender.send(body.trailers().cloned()).unwrap();
            Response::new(text("got it"))
        }
    })
    .await;
    let scene = config().route("trailers.test", route(&[endpoint(upstream.address)])).start();
    for (sent, kept) in [
        ("X-Real-IP: 10.0.0.1\r\nX_Real_IP: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.1\r\nX-Sum: 1\r\n", Some("1")),
        ("X-Real-IP: 10.0.0.1\r\n", None),
    ] {
        let head = "POST / HTTP/1.1\r\nHost: trailers.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\
            Trailer: X-Real-IP, X_Real_IP, X-Forwarded-For, X-Sum\r\n\r\n";
        let answer = raw(scene.http, &format!("{head}2\r\nab\r\n0\r\n{sent}\r\n")).await;
        assert!(answer.ends_with("got it"), "{answer}");
        let seen = trailers.recv().await.unwrap().unwrap_or_default();
        assert_eq!(seen.get("x-sum").map(|value| value.to_str().unwrap()), kept);
        assert_eq!(seen.len(), usize::from(kept.is_some()), "{seen:?}");
    }
}

#[tokio::test]
async fn a_route_that_leads_back_to_us_ends() {
    let scene = config().start();
    scene.publish(config().route("loop.test", route(&[endpoint(scene.http)])));
    let mut client = Connection::plain(scene.http).await;
    // What a client adds must hide nothing.
    let request = client
        .request("GET", "loop.test", "/")
        .header("via", http::HeaderValue::from_bytes(b"1.1 \xff").unwrap())
        .header("connection", "via");
    let answer = tokio::time::timeout(Duration::from_secs(5), async {
        answer(client.send(request.body(text("")).unwrap()).await.unwrap()).await
    });
    let answer = answer.await.expect("it goes on");
    assert_eq!(answer.status, 508);
    assert_eq!(answer.body, "{\"error_msg\":\"508 Loop Detected\"}\n");
    let lines = scene.access.all();
    assert!(lines.len() <= 10, "{lines:#?}");
}
