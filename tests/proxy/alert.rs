//! Hosts whose handshake fails for clients that are refused.

use std::sync::Arc;
use std::time::Duration;

use portcullis::model::{ClientSettings, Failure, Mode};
use portcullis::snapshot::Policy;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Connection, tls, tls_config, tls_config_of};
use crate::lines::ERRORS;
use crate::pki::{Certified, PKI};
use crate::scene::{config, endpoint, route};
use crate::upstream::hello;

fn alert(change: impl FnOnce(&mut ClientSettings)) -> Policy {
    let mut settings = ClientSettings { depth: 0, failure: Failure::Alert, ..ClientSettings::default() };
    change(&mut settings);
    PKI.clients.policy_of(settings)
}

/// What a client is told that sends a request as soon as its own side of the handshake is done.
async fn told(address: std::net::SocketAddr, host: &str, config: Arc<rustls::ClientConfig>) -> String {
    let mut stream = match tls(address, host, config).await {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let _ = stream.write_all(request.as_bytes()).await; // the proxy may have closed already
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(8), stream.read_to_string(&mut answer));
    match read.await.expect("the connection stays open") {
        Ok(_) => format!("answer: {answer}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_client_that_is_refused_gets_the_alert_for_it_and_the_log_says_why() {
    let upstream = hello().await;
    let host = "alert.test";
    let scene = config().tls(host, alert(|_| {})).route(host, route(&[endpoint(upstream.address)])).start();
    let other = PKI.others.client();
    let deep = PKI.clients.deep_client();
    let expired = PKI.clients.client_until(1);
    let server = PKI.clients.issue(&["client.test"], ExtendedKeyUsagePurpose::ServerAuth);
    let cases: [(Option<&Certified>, &str, &str); 5] = [
        (None, "CertificateRequired", "client certificate was not present"),
        (Some(&other), "UnknownCA", "FAILED:unknown issuer"),
        (Some(&deep), "UnknownCA", "FAILED:depth 1 exceeds 0"),
        (Some(&expired), "CertificateExpired", "FAILED:certificate has expired"),
        (Some(&server), "UnsupportedCertificate", "FAILED:extendedKeyUsage"),
    ];
    for version in [&TLS12, &TLS13] {
        for (certificate, alert, why) in cases {
            let told = told(scene.https, host, tls_config_of("http/1.1", certificate, &[version])).await;
            assert!(told.contains(alert), "{version:?} {why}: {told}");
            let subject = if certificate.is_some() { "subject: \"CN=" } else { "subject: \"\"" };
            ERRORS.with(&["ERROR", why, "client: 127.0.0.1, sni: \"alert.test\"", subject]).await;
        }
    }
    assert_eq!(scene.metric("portcullis_handshakes_total{result=\"refused\"}"), 10);
    assert_eq!(scene.metric("portcullis_handshakes_total{result=\"failed\"}"), 0);
    assert_eq!(upstream.seen().len(), 0);
    let mut good = Connection::secure(scene.https, "h2", host, Some(&PKI.clients.client())).await;
    assert_eq!(good.get(host, "/").await.status, 200);
}

#[tokio::test]
async fn no_alert_for_a_certificate_that_is_not_needed_and_none_under_observe() {
    let upstream = hello().await;
    let host = "alert-mode.test";
    for (mode, certificate, expected) in [
        (Mode::Optional, None, "answer: HTTP/1.1 200"),
        (Mode::Optional, Some(PKI.others.client()), "UnknownCA"),
        (Mode::Observe, None, "answer: HTTP/1.1 200"),
        (Mode::Observe, Some(PKI.others.client()), "answer: HTTP/1.1 200"),
    ] {
        let policy = alert(|settings| settings.mode = mode);
        let scene = config().tls(host, policy).route(host, route(&[endpoint(upstream.address)]));
        let scene = scene.start_with(portcullis::proxy::Settings {
            idle_timeout: Duration::from_millis(100),
            ..crate::scene::settings()
        });
        let told = told(scene.https, host, tls_config("http/1.1", certificate.as_ref())).await;
        assert!(told.contains(expected), "{mode:?}: {told}");
    }
}

#[tokio::test]
async fn a_resumed_session_whose_chain_fails_now_is_closed_without_an_answer() {
    let upstream = hello().await;
    let host = "alert-resumed.test";
    for version in [&TLS12, &TLS13] {
        let scene = config().tls(host, alert(|_| {})).route(host, route(&[endpoint(upstream.address)])).start();
        let before = upstream.seen().len();
        let brief = tls_config_of("http/1.1", Some(&PKI.clients.client_for(Duration::from_secs(2))), &[version]);
        let stream = tls(scene.https, host, brief.clone()).await.unwrap();
        let mut first = Connection::over(stream, false).await;
        assert_eq!(first.get(host, "/").await.status, 200);
        assert!(first.closes_within(Duration::from_secs(8)).await, "the certificate has expired");
        let told = told(scene.https, host, brief).await;
        assert!(!told.contains("HTTP/1.1"), "{version:?}: {told}");
        assert_eq!(scene.metric("portcullis_handshakes_total{result=\"resumed\"}"), 1, "{version:?}: {told}");
        assert_eq!(scene.metric("portcullis_handshakes_total{result=\"refused\"}"), 1);
        assert_eq!(upstream.seen().len(), before + 1);
    }
    ERRORS.with(&["FAILED:certificate has expired", "sni: \"alert-resumed.test\", object: default/"]).await;
}
