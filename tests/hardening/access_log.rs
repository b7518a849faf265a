//! What the access log tells, and what it may leave out.

use portcullis::log::Format;
use portcullis::snapshot::Policy;

use crate::client::Connection;
use crate::range::{Range, Way};
use crate::recorder::OK;
use crate::scene::{config, endpoint, route, settings};
use crate::upstream::hello;

/// hyper answers them by itself.
#[tokio::test]
async fn a_request_that_cannot_be_read_is_logged_and_counted() {
    let range = Range::new(OK).await;
    let long = "x".repeat(70_000);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost : h.test\r\n\r\n".to_owned(), 400),
        (format!("GET /{long} HTTP/1.1\r\nHost: h.test\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: h.test\r\nX-A: {}\r\n\r\n", long.repeat(8)), 431),
    ] {
        let answer = range.send(Way::Plaintext, request.as_bytes()).await;
        let answered: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(answered == status || (status == 431 && answered == 414), "{answer}");
        range
            .scene
            .access
            .with(&["127.0.0.1 - - [", &format!("] - \"\" {answered} 0 0.000 \"-\" \"-\" - - - \"-\"")])
            .await;
    }
    range.scene.metric_becomes("portcullis_requests_total{class=\"4xx\",protocol=\"http1\"}", 3).await;
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_logged_as_json() {
    let scene = config().start_logging(settings(), Format::Json);
    let answer = crate::client::raw(scene.http, "GET\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let line = scene.access.with(&["\"status\":400"]).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["client"], &line["scheme"]), (&"127.0.0.1".into(), &"http".into()));
}

#[tokio::test]
async fn a_sample_leaves_out_what_went_well() {
    let upstream = hello().await;
    for (access_log_sample, expected) in [(0.0, 0), (0.5, 3), (1.0, 6)] {
        let scene = config()
            .tls("sample.test", Policy::Open)
            .route("sample.test", route(&[endpoint(upstream.address)]))
            .start_with(portcullis::proxy::Settings { access_log_sample, ..settings() });
        let mut client = Connection::plain(scene.http).await;
        for _ in 0..6 {
            assert_eq!(client.get("sample.test", "/").await.status, 200);
        }
        assert_eq!(client.get("none.test", "/").await.status, 404);
        scene.access.with(&["\" 404 "]).await;
        let lines = scene.access.all();
        assert_eq!(lines.iter().filter(|line| line.contains("\" 200 ")).count(), expected, "{lines:?}");
    }
}
