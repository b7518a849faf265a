//! Who is let in, over HTTP/1.1 and HTTP/2.

use std::sync::Arc;

use portcullis::model::{Invalid, Reason};
use portcullis::snapshot::Policy;

use crate::client::{Connection, tls, tls_config};
use crate::lines::ERRORS;
use crate::pki::PKI;
use crate::scene::{config, endpoint, route, settings};
use crate::upstream::{hello, text};

const PROTOCOLS: [&str; 2] = ["http/1.1", "h2"];

#[tokio::test]
async fn without_a_certificate_the_answer_is_400_and_the_log_says_why() {
    let upstream = hello().await;
    let scene = config()
        .tls("mtls-none.test", PKI.clients.policy())
        .route("mtls-none.test", route(&[endpoint(upstream.address)]))
        .start();
    for (alpn, protocol) in PROTOCOLS.into_iter().zip(["HTTP/1.1", "HTTP/2.0"]) {
        let mut client = Connection::secure(scene.https, alpn, "mtls-none.test", None).await;
        let host = format!("mtls-none.test:{}", scene.https.port());
        let answer = client.get(&host, "/ip?x=%22").await;
        assert_eq!(answer.status, 400, "{alpn}");
        assert_eq!(answer.headers["content-type"], "text/html");
        assert_eq!(answer.headers["server"], "portcullis");
        let body = String::from_utf8_lossy(&answer.body);
        assert!(body.contains("<title>400 Bad Request</title>") && body.contains("<h1>400 Bad Request</h1>"), "{body}");
        assert!(client.closes().await, "{alpn}");
        let line = format!(
            "client certificate was not present, client: 127.0.0.1, server: _, request: \"GET /ip?x=%22 {protocol}\", host: \"{host}\""
        );
        let logged = ERRORS.with(&[&line]).await;
        assert!(logged.contains("ERROR"), "{logged}");
        let line = format!("] {host} \"GET /ip?x=%22 {protocol}\" 400 {} 0.", answer.body.len());
        let logged = scene.access.with(&[&line]).await;
        assert!(logged.ends_with(&format!("\"-\" \"-\" - - - \"http://{host}\"")), "{logged}");
    }
    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(scene.metric("portcullis_client_auth_refused_total{reason=\"not_present\"}"), 2);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_and_a_good_one_is_served() {
    let upstream = hello().await;
    let scene = config()
        .tls("mtls-ca.test", PKI.clients.policy())
        .route("mtls-ca.test", route(&[endpoint(upstream.address)]))
        .start();
    let (good, bad) = (PKI.clients.client(), PKI.others.client());
    for alpn in PROTOCOLS {
        let mut client = Connection::secure(scene.https, alpn, "mtls-ca.test", Some(&bad)).await;
        assert_eq!(client.get("mtls-ca.test", "/").await.status, 400, "{alpn}");
        assert!(client.closes().await, "{alpn}");
        ERRORS.with(&["client certificate verification is not passed: FAILED:unknown issuer", "mtls-ca.test"]).await;

        let mut client = Connection::secure(scene.https, alpn, "mtls-ca.test", Some(&good)).await;
        for _ in 0..3 {
            let answer = client.get("mtls-ca.test", "/").await;
            assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"hello"[..]), "{alpn}");
        }
    }
    assert_eq!(upstream.seen().len(), 6);
}

#[tokio::test]
async fn tls_without_client_authentication_is_served() {
    let upstream = hello().await;
    let scene =
        config().tls("*.wild.test", Policy::Open).route("*.wild.test", route(&[endpoint(upstream.address)])).start();
    for alpn in PROTOCOLS {
        let mut client = Connection::secure(scene.https, alpn, "a.wild.test", None).await;
        assert_eq!(client.get("A.Wild.test.:9443", "/").await.status, 200, "{alpn}");
    }
    let seen = upstream.seen();
    assert_eq!(seen[0].header("host"), Some("A.Wild.test.:9443"));
    assert_eq!(seen[0].header("x-forwarded-host"), Some("a.wild.test"));
    assert_eq!(seen[1].header("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn a_handshake_for_an_unknown_or_unnamed_host_gets_an_alert() {
    let invalid = Invalid::new(Reason::RefNotFound, "spec.secret", "Secret default/gone does not exist");
    let scene = config().tls("known.test", Policy::Open).broken_tls("sni-broken.test", invalid).start();
    let config = tls_config("h2", None);
    let error = tls(scene.https, "sni-unknown.test", config.clone()).await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    ERRORS.with(&["WARN", "no TLS is configured for the host, client: 127.0.0.1, sni: \"sni-unknown.test\""]).await;

    let error = tls(scene.https, "127.0.0.1", config.clone()).await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    ERRORS.with(&["WARN", "the client named no host (SNI)"]).await;

    let error = tls(scene.https, "sni-broken.test", config).await.unwrap_err();
    assert!(error.to_string().contains("InternalError"), "{error}");
    ERRORS.with(&["Secret default/gone does not exist", "sni: \"sni-broken.test\""]).await;
    assert_eq!(scene.metric("portcullis_handshakes_total{result=\"unknown_sni\"}"), 1);
}

#[tokio::test]
async fn a_connection_of_one_host_does_not_reach_a_host_with_another_policy() {
    let upstream = hello().await;
    let names = ["sni-open.test", "sni-one.test", "sni-two.test", "sni-twin.test"];
    let mut scene = config()
        .tls(names[0], Policy::Open)
        .tls(names[1], PKI.clients.policy())
        .tls(names[2], PKI.others.policy())
        .tls(names[3], PKI.clients.policy());
    for name in names {
        scene = scene.route(name, route(&[endpoint(upstream.address)]));
    }
    let scene = scene.route("sni-none.test", route(&[endpoint(upstream.address)])).start();
    let good = PKI.clients.client();
    for alpn in PROTOCOLS {
        for (sni, host, expected) in [
            ("sni-open.test", "sni-one.test", 421),
            ("sni-open.test", "sni-none.test", 200), // neither asks for anything
            ("sni-one.test", "sni-open.test", 421),
            ("sni-one.test", "sni-two.test", 421),
            ("sni-one.test", "sni-twin.test", 200), // both ask for the same
            ("sni-one.test", "SNI-TWO.test.", 421),
        ] {
            let before = upstream.seen().len();
            let mut client = Connection::secure(scene.https, alpn, sni, Some(&good)).await;
            assert_eq!(client.get(sni, "/").await.status, 200, "{alpn} {sni}");
            let answer = client.get(host, "/").await;
            assert_eq!(answer.status, expected, "{alpn} {sni} {host}");
            if expected == 421 {
                assert_eq!(&answer.body[..], b"{\"error_msg\":\"421 Misdirected Request\"}\n");
                assert_eq!(upstream.seen().len(), before + 1, "the upstream saw the misdirected request");
            }
            assert_eq!(client.get(sni, "/").await.status, 200, "{alpn} {sni}: the connection goes on");
        }
    }
    ERRORS
        .with(&["client certificate verified with SNI sni-one.test, but the host is sni-two.test, client: 127.0.0.1"])
        .await;
}

#[tokio::test]
async fn a_protected_host_is_not_served_without_tls() {
    let upstream = hello().await;
    let start = |allow_plaintext_client_auth| {
        let refused = Arc::new(Invalid::spec("spec.client", "the CA is broken"));
        config()
            .tls("plain-mtls.test", PKI.clients.policy())
            .tls("plain-broken.test", Policy::Refuse(refused))
            .tls("plain-open.test", Policy::Open)
            .route("any", route(&[endpoint(upstream.address)]))
            .start_with(portcullis::proxy::Settings { allow_plaintext_client_auth, ..settings() })
    };
    for (allowed, expected) in [(false, [421, 421, 200]), (true, [200, 421, 200])] {
        let scene = start(allowed);
        let before = upstream.seen().len();
        for (host, expected) in ["plain-mtls.test", "plain-broken.test", "plain-open.test"].into_iter().zip(expected) {
            let mut client = Connection::plain(scene.http).await;
            assert_eq!(client.get(host, "/").await.status, expected, "{host} {allowed}");
        }
        assert_eq!(upstream.seen().len() - before, expected.iter().filter(|status| **status == 200).count());
    }
}

#[tokio::test]
async fn a_host_whose_policy_is_unusable_refuses_everyone() {
    let upstream = hello().await;
    let broken = Arc::new(Invalid::new(Reason::InvalidCaCertificate, "spec.client.caSecret", "no certificate in it"));
    let scene = config()
        .tls("refuse.test", Policy::Refuse(broken))
        .route("refuse.test", route(&[endpoint(upstream.address)]))
        .start();
    for alpn in PROTOCOLS {
        let mut client = Connection::secure(scene.https, alpn, "refuse.test", Some(&PKI.clients.client())).await;
        assert_eq!(client.get("refuse.test", "/").await.status, 400);
        assert!(client.closes().await);
    }
    ERRORS.with(&["spec.client.caSecret: no certificate in it, client: 127.0.0.1", "refuse.test"]).await;
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_live_connection_is_held_to_the_policy_of_now() {
    let upstream = hello().await;
    let with = |policy| config().tls("swap.test", policy).route("swap.test", route(&[endpoint(upstream.address)]));
    for alpn in PROTOCOLS {
        let scene = with(Policy::Open).start();
        let connect = || Connection::secure(scene.https, alpn, "swap.test", None);
        let mut early = connect().await;
        assert_eq!(early.get("swap.test", "/").await.status, 200);
        scene.publish(with(PKI.clients.policy()));
        assert!(refused(&mut early, "swap.test", 400).await, "{alpn}: connected before the host was protected");

        let good = PKI.clients.client();
        let mut client = Connection::secure(scene.https, alpn, "swap.test", Some(&good)).await;
        assert_eq!(client.get("swap.test", "/").await.status, 200);
        scene.publish(with(PKI.clients.policy()));
        assert_eq!(client.get("swap.test", "/").await.status, 200, "{alpn}: nothing has changed");
        scene.publish(with(PKI.others.policy()));
        assert!(refused(&mut client, "swap.test", 400).await, "{alpn}: the authority was replaced");

        scene.publish(with(PKI.clients.policy()));
        let mut client = Connection::secure(scene.https, alpn, "swap.test", Some(&good)).await;
        assert_eq!(client.get("swap.test", "/").await.status, 200);
        let before = upstream.seen().len();
        scene.publish(config().route("swap.test", route(&[endpoint(upstream.address)])));
        assert!(refused(&mut client, "swap.test", 421).await, "{alpn}: the TLS host is gone");
        assert_eq!(upstream.seen().len(), before);
    }
}

/// Whether a request right after a change is refused with `status`, or comes too late, and the connection ends.
async fn refused(client: &mut Connection, host: &str, status: u16) -> bool {
    let request = client.request("GET", host, "/").body(text("")).unwrap();
    let answer = client.send(request).await;
    !answer.is_ok_and(|answer| answer.status() != status) && client.closes().await
}

#[tokio::test]
async fn a_resumed_session_is_judged_like_a_new_one() {
    let upstream = hello().await;
    let with = |policy| config().tls("resume.test", policy).route("resume.test", route(&[endpoint(upstream.address)]));
    let scene = with(PKI.clients.policy()).start();
    let good = PKI.clients.client();
    let config = tls_config("http/1.1", Some(&good));
    for _ in 0..2 {
        let stream = tls(scene.https, "resume.test", config.clone()).await.unwrap();
        assert_eq!(Connection::over(stream, false).await.get("resume.test", "/").await.status, 200);
    }
    assert_eq!(scene.metric("portcullis_handshakes_total{result=\"full\"}"), 1);
    assert_eq!(scene.metric("portcullis_handshakes_total{result=\"resumed\"}"), 1);

    scene.publish(with(PKI.others.policy()));
    let stream = tls(scene.https, "resume.test", config).await.unwrap();
    assert_eq!(Connection::over(stream, false).await.get("resume.test", "/").await.status, 400);
    assert_eq!(scene.metric("portcullis_handshakes_total{result=\"full\"}"), 2, "another policy, another session");
}

#[tokio::test]
async fn hostile_input_does_not_break_the_log() {
    let scene = config().tls("hostile.test", PKI.clients.policy()).start();
    let mut client = Connection::secure(scene.https, "http/1.1", "hostile.test", None).await;
    let request = client
        .request("GET", "hostile.test", "/\"x")
        .header("user-agent", http::HeaderValue::from_bytes(b"a\"\\\t\xff").unwrap())
        .body(text(""));
    let request = request.unwrap();
    assert_eq!(client.send(request).await.unwrap().status(), 400);
    ERRORS.with(&["request: \"GET /\\x22x HTTP/1.1\", host: \"hostile.test\""]).await;
    scene.access.with(&["\"a\\x22\\x5C\\x09\\xFF\""]).await;
}
