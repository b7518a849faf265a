//! What a host's policy makes of a client that it refuses: modes, skipped paths, answers.

use std::sync::Arc;

use portcullis::model::{Failure, FailureAnswer, FailureBody, Mode};
use portcullis::snapshot::Policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Answer, Connection, answer, raw, tls, tls_config};
use crate::lines::ERRORS;
use crate::pki::PKI;
use crate::scene::{config, endpoint, route};
use crate::upstream::{hello, text};

const PROTOCOLS: [&str; 2] = ["http/1.1", "h2"];

fn mode(mode: Mode) -> Policy {
    PKI.clients.policy_with(|settings| settings.mode = mode)
}

fn skip(regexes: &[&str]) -> Policy {
    PKI.clients.policy_with(|settings| settings.skip = regexes.iter().map(|regex| Arc::from(*regex)).collect())
}

fn failing(status: u16, body: FailureBody) -> Policy {
    PKI.clients.policy_with(|settings| settings.failure = Failure::Answer(FailureAnswer { body, status }))
}

#[tokio::test]
async fn a_mode_decides_who_is_served() {
    let upstream = hello().await;
    let hosts = [
        ("mode-open.test", Policy::Open),
        ("mode-require.test", mode(Mode::Require)),
        ("mode-optional.test", mode(Mode::Optional)),
        ("mode-observe.test", mode(Mode::Observe)),
    ];
    let mut scene = config();
    for (host, policy) in hosts {
        scene = scene.tls(host, policy).route(host, route(&[endpoint(upstream.address)]));
    }
    let scene = scene.start();
    let (good, bad) = (PKI.clients.client(), PKI.others.client());
    for alpn in PROTOCOLS {
        for (host, expected) in [
            ("mode-open.test", [200, 200, 200]),
            ("mode-require.test", [400, 400, 200]),
            ("mode-optional.test", [200, 400, 200]),
            ("mode-observe.test", [200, 200, 200]),
        ] {
            for (certificate, expected) in [None, Some(&bad), Some(&good)].into_iter().zip(expected) {
                let mut client = Connection::secure(scene.https, alpn, host, certificate).await;
                let seen = upstream.seen().len();
                assert_eq!(client.get(host, "/").await.status, expected, "{alpn} {host}");
                assert_eq!(upstream.seen().len() - seen, usize::from(expected == 200), "{alpn} {host}");
            }
        }
        // Connections of another host: only one in the mode Observe does not mind.
        for (sni, host, expected) in [
            ("mode-open.test", "mode-optional.test", 421),
            ("mode-optional.test", "mode-open.test", 421),
            ("mode-optional.test", "mode-require.test", 421),
            ("mode-open.test", "mode-observe.test", 200),
            ("mode-observe.test", "mode-require.test", 421),
            ("mode-observe.test", "mode-open.test", 421),
        ] {
            let mut client = Connection::secure(scene.https, alpn, sni, Some(&good)).await;
            assert_eq!(client.get(host, "/").await.status, expected, "{alpn} {sni} {host}");
        }
    }
    let plain = [("mode-require.test", 421), ("mode-optional.test", 200), ("mode-observe.test", 200)];
    for (host, expected) in plain {
        assert_eq!(Connection::plain(scene.http).await.get(host, "/").await.status, expected, "{host} without TLS");
    }
}

#[tokio::test]
async fn observed_refusals_are_counted_and_logged() {
    let upstream = hello().await;
    let scene = config()
        .tls("observe-a.test", mode(Mode::Observe))
        .tls("observe-b.test", Policy::Open)
        .route("any", route(&[endpoint(upstream.address)]))
        .start();
    let bad = PKI.others.client();
    for (sni, certificate) in [("observe-a.test", None), ("observe-a.test", Some(&bad)), ("observe-b.test", None)] {
        let mut client = Connection::secure(scene.https, "h2", sni, certificate).await;
        assert_eq!(client.get("observe-a.test", "/x").await.status, 200);
        assert_eq!(client.get("observe-a.test", "/x").await.status, 200, "the connection goes on");
    }
    for (reason, expected) in [("not_present", 2), ("unknown_issuer", 2), ("misdirected", 2), ("expired", 0)] {
        let name = format!("portcullis_client_auth_observed_total{{reason=\"{reason}\"}}");
        assert_eq!(scene.metric(&name), expected, "{reason}");
    }
    assert_eq!(scene.metric("portcullis_client_auth_refused_total{reason=\"not_present\"}"), 0);
    assert_eq!(scene.metric("portcullis_misdirected_total"), 0);
    for why in [
        "client certificate was not present",
        "client certificate verification is not passed: FAILED:unknown issuer",
        "client certificate verified with SNI observe-b.test, but the host is observe-a.test",
    ] {
        let line = format!("would be refused, but is observed only: {why}, client: 127.0.0.1");
        let line = ERRORS.with(&[&line, "\"GET /x HTTP/2.0\", host: \"observe-a.test\""]).await;
        assert!(line.contains(" INFO "), "{line}");
    }
}

/// Sends `target` as it is, which no URL library would.
async fn secure_raw(address: std::net::SocketAddr, sni: &str, host: &str, target: &str) -> String {
    let mut stream = tls(address, sni, tls_config("http/1.1", None)).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn only_a_path_that_is_what_it_seems_is_skipped() {
    let upstream = hello().await;
    let scene = config()
        .tls("skip.test", skip(&["^/public", "^/(a|b)/health$", "^/[^/]+\\.ico$"]))
        .tls("skip-open.test", Policy::Open)
        .route("any", route(&[endpoint(upstream.address)]))
        .start();
    for (target, expected) in [
        ("/public", Some("/public")),
        ("/public/x?y=/../admin", Some("/public/x?y=/../admin")),
        ("/publicity", Some("/publicity")), // it matches anywhere, as in APISIX
        ("/%70ublic", Some("/public")),
        ("/x/../public/y", Some("/public/y")),
        ("/x/%2e%2E/public/y?z", Some("/public/y?z")),
        ("http://skip.test/public", Some("/public")),
        ("/b/health", Some("/b/health")),
        ("/favicon.ico", Some("/favicon.ico")),
        ("/public/../admin", None),
        ("/public/..", None),
        ("/public/%2e%2e/admin", None),
        ("/public/.%2e/admin", None),
        ("/public%2f..%2fadmin", None),
        ("/public/..%2fadmin", None),
        ("/public%5c..%5cadmin", None),
        ("/public\\..\\admin", None),
        ("/public/%252e%252e/admin", None),
        ("/public/..;/admin", None),
        ("/public/..%3b/admin", None),
        ("/public;/x", None),
        ("/public/%c0%ae%c0%ae/admin", None),
        ("/public/..%09/admin", None),
        ("/public//../admin", Some("/public/admin")), // and no other path reaches the upstream
        ("/public//admin", None),
        ("//public", None),
        ("/./public/.", Some("/public/")),
        ("/admin?x=/public", None),
        ("/admin#/public", None),
        ("/admin/public", None),
        ("/PUBLIC", None),
        ("/public%00/x", None),
        ("/public%0", None),
        ("/../public", None),
        ("/a/health/", None),
        ("/c/health", None),
        ("/x%2Ffavicon.ico", None),
    ] {
        let before = upstream.seen().len();
        let answer = secure_raw(scene.https, "skip.test", "skip.test", target).await;
        let status = if expected.is_some() { "HTTP/1.1 200 " } else { "HTTP/1.1 400 " };
        assert!(answer.starts_with(status), "{target} -> {answer}");
        let seen: Vec<_> = upstream.seen()[before..].iter().map(|seen| seen.target.clone()).collect();
        assert_eq!(seen, Vec::from_iter(expected.map(str::to_owned)), "{target}");
    }
    // The connection has to be one of the host's own policy, whatever the path.
    let before = upstream.seen().len();
    let answer = secure_raw(scene.https, "skip-open.test", "skip.test", "/public").await;
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    let request = "GET /public HTTP/1.1\r\nHost: skip.test\r\nConnection: close\r\n\r\n";
    assert!(raw(scene.http, request).await.starts_with("HTTP/1.1 421 "));
    assert_eq!(upstream.seen().len(), before);

    let mut client = Connection::secure(scene.https, "h2", "skip.test", None).await;
    assert_eq!(client.get("skip.test", "/public").await.status, 200);
    assert_eq!(client.get("skip.test", "/public/%2e%2e/admin").await.status, 400);
    assert!(client.closes().await);
    let mut client = Connection::secure(scene.https, "h2", "skip.test", Some(&PKI.others.client())).await;
    assert_eq!(client.get("skip.test", "/public").await.status, 200, "whatever the certificate");
}

#[tokio::test]
async fn routes_and_upstreams_see_one_form_of_a_path() {
    let upstream = hello().await;
    let to = || route(&[endpoint(upstream.address)]);
    let scene = config()
        .routes("path.test", vec![("/a/b", to()), ("/ä/*", to()), ("/keys/*", to()), ("/fetch/*", to())])
        .start();
    for (target, expected) in [
        ("/a/x/../b", Some("/a/b")),
        ("/a/%62?c=%62", Some("/a/b?c=%62")),
        ("/%c3%a4/x", Some("/%C3%A4/x")),
        ("/keys/a%2bb%2Fc%20d+e", Some("/keys/a%2Bb%2Fc%20d+e")),
        ("/fetch/https://a.test/", Some("/fetch/https://a.test/")),
        ("/keys/../x", None),
        ("/keys%2fx", None),
    ] {
        let before = upstream.seen().len();
        let request = format!("GET {target} HTTP/1.1\r\nHost: path.test\r\nConnection: close\r\n\r\n");
        let answer = raw(scene.http, &request).await;
        assert!(answer.starts_with(if expected.is_some() { "HTTP/1.1 200 " } else { "HTTP/1.1 404 " }), "{answer}");
        let seen: Vec<_> = upstream.seen()[before..].iter().map(|seen| seen.target.clone()).collect();
        assert_eq!(seen, Vec::from_iter(expected.map(str::to_owned)), "{target}");
        scene.access.with(&[&format!("\"GET {target} HTTP/1.1\"")]).await;
    }
}

async fn ask(client: &mut Connection, method: &str, host: &str) -> Answer {
    let request = client.request(method, host, "/").body(text("")).unwrap();
    answer(client.send(request).await.unwrap()).await
}

#[tokio::test]
async fn a_refused_client_gets_the_answer_that_is_configured() {
    let upstream = hello().await;
    let text =
        FailureBody::Text { content_type: "application/json".into(), text: "{\"error\":\"certificate\"}".into() };
    let scene = config()
        .tls("fail-text.test", failing(403, text))
        .tls("fail-problem.test", failing(401, FailureBody::Problem))
        .tls("fail-redirect.test", failing(302, FailureBody::Redirect("https://help.test/certificates".into())))
        .route("any", route(&[endpoint(upstream.address)]))
        .start();
    let bad = PKI.others.client();
    for alpn in PROTOCOLS {
        for (host, status, field, value, body) in [
            ("fail-text.test", 403, "content-type", "application/json", "{\"error\":\"certificate\"}"),
            (
                "fail-problem.test",
                401,
                "content-type",
                "application/problem+json",
                "{\"detail\":\"client certificate verification is not passed: FAILED:unknown issuer\",\
                 \"status\":401,\"title\":\"Unauthorized\"}",
            ),
            ("fail-redirect.test", 302, "location", "https://help.test/certificates", ""),
        ] {
            for method in ["GET", "POST", "HEAD"] {
                let mut client = Connection::secure(scene.https, alpn, host, Some(&bad)).await;
                let answer = ask(&mut client, method, host).await;
                assert_eq!(answer.status, status, "{alpn} {method} {host}");
                assert_eq!(answer.headers[field], value, "{alpn} {method} {host}");
                let length = answer.headers.get("content-length").map_or("0", |length| length.to_str().unwrap());
                assert_eq!(length, body.len().to_string(), "{alpn} {method} {host}");
                assert_eq!(answer.body, if method == "HEAD" { "" } else { body }, "{alpn} {method} {host}");
                assert!(client.closes().await, "{alpn} {method} {host}");
            }
        }
    }
    assert_eq!(Connection::plain(scene.http).await.get("fail-text.test", "/").await.status, 421);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_client_that_is_to_get_an_alert_gets_no_answer() {
    let upstream = hello().await;
    let with = |failure| {
        let policy = PKI.clients.policy_with(|settings| settings.failure = failure);
        config().tls("alert.test", policy).route("alert.test", route(&[endpoint(upstream.address)]))
    };
    for alpn in PROTOCOLS {
        // The handshake was completed before the policy asked for an alert.
        let scene = with(Failure::Page).start();
        let mut client = Connection::secure(scene.https, alpn, "alert.test", Some(&PKI.others.client())).await;
        scene.publish(with(Failure::Alert));
        let request = client.request("GET", "alert.test", "/late").body(text("")).unwrap();
        assert!(client.send(request).await.is_err(), "{alpn}: no answer");
        assert!(client.closes().await, "{alpn}");
        scene.access.with(&["GET /late ", "\" 444 0 "]).await;
        assert_eq!(scene.metric("portcullis_client_auth_refused_total{reason=\"unknown_issuer\"}"), 1);
    }
    assert_eq!(upstream.seen().len(), 0);
    ERRORS.with(&["FAILED:unknown issuer", "GET /late HTTP/2.0", "alert.test"]).await;
}
