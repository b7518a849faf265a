//! Conditions on bodies, and what the upstream receives of a body that was looked into.

use portcullis::model::{BodyArgument, Comparison, Conditions, Expression, Subject, Test};
use portcullis::snapshot::Route;

use crate::range::exchange;
use crate::recorder::{OK, Recorder, essence};
use crate::scene::{Scene, config, endpoint, route, settings};

/// A route for bodies whose `kind` is `a`, and one for those where it is none of `a` and `b`.
async fn scene() -> (Scene, Recorder) {
    let upstream = Recorder::new(OK).await;
    let kind = |text: &str, negated| {
        let subject = Subject::Body(BodyArgument::parse("kind").unwrap());
        let test = Test::In([text.into(), "b".into()].into());
        Expression::Comparison(Comparison { negated, subject, test })
    };
    let with = |expression| Route {
        conditions: Conditions { expressions: [expression].into(), ..Conditions::default() }.into(),
        ..route(&[endpoint(upstream.address)])
    };
    let routes = vec![("/is", with(kind("a", false))), ("/not", with(kind("a", true)))];
    let mut settings = settings();
    settings.body_timeout = std::time::Duration::from_millis(500);
    (config().routes("h.test", routes).start_with(settings), upstream)
}

async fn send(scene: &Scene, request: &str) -> String {
    exchange(tokio::net::TcpStream::connect(scene.http).await.unwrap(), request.as_bytes()).await
}

fn post(path: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_body_decides_and_is_passed_on_unchanged() {
    let (scene, mut upstream) = scene().await;
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"kind\"\r\n\r\na\r\n--x--\r\n";
    let large = format!("{{\"kind\": \"a\", \"rest\": \"{}\"}}", "x".repeat(60_000));
    for (content_type, body) in [
        ("application/x-www-form-urlencoded", "x=1&kind=a&kind=c"),
        ("application/json; charset=utf-8", "{\"kind\": \"a\"}"),
        ("application/json", &*large),
        ("multipart/form-data; boundary=x", multipart),
    ] {
        let answer = send(&scene, &post("/is", content_type, body)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{body} -> {answer}");
        let expected =
            format!("POST /is HTTP/1.1\ncontent-length: {}\ncontent-type: {content_type}\n\n{body}", body.len());
        assert_eq!(essence(&upstream.next().await), expected);
        assert!(send(&scene, &post("/not", content_type, body)).await.starts_with("HTTP/1.1 404 "));
    }
    let chunked = "POST /is HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
        Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n\r\n3\r\nkin\r\n3\r\nd=b\r\n0\r\n\r\n";
    let answer = send(&scene, chunked).await;
    assert!(answer.contains("HTTP/1.1 200 "), "{answer}");
    let expected = "POST /is HTTP/1.1\ncontent-length: 6\ncontent-type: application/x-www-form-urlencoded\n\nkind=b";
    assert_eq!(essence(&upstream.next().await), expected);
}

#[tokio::test]
async fn what_is_not_there_satisfies_only_what_is_negated() {
    let (scene, upstream) = scene().await;
    for (content_type, body) in [
        ("application/json", "{\"other\": 1}"),
        ("application/json", "no json"),
        ("text/plain", "kind=a"),
        ("application/x-www-form-urlencoded", ""),
    ] {
        let answer = send(&scene, &post("/is", content_type, body)).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{body} -> {answer}");
        assert_eq!(upstream.connections(), 0);
    }
    for (content_type, body) in [("application/json", "{\"kind\": \"c\"}"), ("text/plain", "kind=a")] {
        let answer = send(&scene, &post("/not", content_type, body)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{body} -> {answer}");
    }
}

/// Were it taken for one that does not match, a negated condition would let it pass.
#[tokio::test]
async fn a_body_that_is_too_large_to_look_into_is_refused() {
    let (scene, upstream) = scene().await;
    let body = format!("x={}&kind=a", "x".repeat(64 << 10));
    let form = "application/x-www-form-urlencoded";
    let chunked = format!(
        "POST /not HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\nContent-Type: {form}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    for request in [post("/is", form, &body), post("/not", form, &body), chunked] {
        let answer = send(&scene, &request).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    let slow = "POST /not HTTP/1.1\r\nHost: h.test\r\nContent-Length: 9\r\nContent-Type: application/json\r\n\r\n{";
    assert!(send(&scene, slow).await.starts_with("HTTP/1.1 408 "));
    assert_eq!(upstream.connections(), 0);
}
