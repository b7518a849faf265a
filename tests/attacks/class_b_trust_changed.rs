//! Class B: a session is resumed after the trust that it was made under has changed (Go CVE-2025-68121, Traefik
//! GHSA-gv8r-9rw9-9697, Envoy CVE-2022-21654). Every way to change it is tried on a session, and on a connection that is open.

use std::sync::Arc;
use std::time::Duration;

use portcullis::model::Kind;
use serde_json::{Value, json};

use crate::attacker::{Attacker, Session, ways};
use crate::forger::{Forger, ends_in};
use crate::objects::{client_tls, reference, secret, tls, trusts};
use crate::pki::{Certified, PKI};
use crate::sessions::Stolen;
use crate::stage::Stage;

const HOST: &str = "mtls.test";

fn ca(pem: &[&str]) -> Value {
    secret("ca", &[("cert", &pem.concat())])
}

fn both() -> Value {
    ca(&[&PKI.clients.certificate.pem(), &PKI.others.certificate.pem()])
}

/// After `change`, neither an open connection nor a session lets the holder of `certificate` in.
async fn ends(name: &str, certificate: &Certified, before: Vec<Value>, change: impl Fn(&Stage)) {
    for (version, alpn) in ways() {
        let stage = Stage::new(before.clone()).await;
        let sessions = Arc::new(Stolen::default());
        let attacker = Attacker::resuming(version, alpn, Some(certificate), sessions.resumption());
        let Session { connection: mut open, .. } = attacker.connect(stage.https, HOST).await;
        assert_eq!(open.status(HOST, "/").await, Some(200), "{name}: {version:?} {alpn}");
        assert!(!sessions.is_empty());
        change(&stage);
        let passed = stage.passed();
        let later = open.status(HOST, "/").await;
        assert!(matches!(later, None | Some(400 | 421)), "{name}: {version:?} {alpn}: the open connection, {later:?}");
        for _ in 0..2 {
            let resumed = attacker.status(stage.https, HOST, HOST).await;
            assert!(matches!(resumed, None | Some(400)), "{name}: {version:?} {alpn}: the session, {resumed:?}");
        }
        assert_eq!(stage.passed(), passed, "{name}: {version:?} {alpn}");
    }
}

#[tokio::test]
async fn class_b_a_session_ends_with_the_authority_that_vouched_for_it() {
    let certificate = PKI.clients.client();
    let objects = || vec![both(), client_tls("mtls", &[HOST], trusts("ca"))];
    ends("one of two authorities is removed", &certificate, objects(), |stage| {
        stage.apply([ca(&[&PKI.others.certificate.pem()])]);
    })
    .await;
    ends("the Secret is replaced", &certificate, objects(), |stage| {
        stage.apply([client_tls("mtls", &[HOST], trusts("others"))]);
    })
    .await;
    ends("the Secret is emptied", &certificate, objects(), |stage| stage.apply([ca(&[])])).await;
    ends("the Secret is deleted", &certificate, objects(), |stage| stage.delete(Kind::Secret, "ca")).await;
}

#[tokio::test]
async fn class_b_a_session_ends_when_its_host_begins_to_ask_for_certificates() {
    for (version, alpn) in ways() {
        let stage = Stage::new([tls("mtls", &[HOST])]).await;
        let sessions = Arc::new(Stolen::default());
        let attacker = Attacker::resuming(version, alpn, None, sessions.resumption());
        let mut open = attacker.connect(stage.https, HOST).await.connection;
        assert_eq!(open.status(HOST, "/").await, Some(200));
        stage.apply([client_tls("mtls", &[HOST], trusts("clients"))]);
        let passed = stage.passed();
        assert!(matches!(open.status(HOST, "/").await, None | Some(400)), "{version:?} {alpn}: the open connection");
        assert_eq!(attacker.status(stage.https, HOST, HOST).await, Some(400), "{version:?} {alpn}: the session");
        assert_eq!(stage.passed(), passed);
    }
}

#[tokio::test]
async fn class_b_a_session_ends_when_the_depth_is_tightened() {
    let root = Forger::root("root");
    let certificate = root.intermediate("intermediate").client(|_| ());
    let with = |depth| client_tls("mtls", &[HOST], json!({"caSecret": reference("ca"), "depth": depth}));
    let before = vec![ca(&[&root.pem]), with(1)];
    ends("depth 0", &certificate, before, |stage| stage.apply([with(0)])).await;
}

#[tokio::test]
async fn class_b_a_session_ends_when_a_rule_is_tightened() {
    let root = Forger::root("root");
    let with = |name: &str| {
        let rule = json!({"dns": [{"exact": name}]});
        client_tls("mtls", &[HOST], json!({"caSecret": reference("ca"), "identities": [rule]}))
    };
    let before = || vec![ca(&[&root.pem]), with("client.test")];
    ends("another name", &root.client(|_| ()), before(), |stage| stage.apply([with("other.test")])).await;
    ends("no name is allowed any more: the rule cannot be read", &root.client(|_| ()), before(), |stage| {
        stage.apply([with("")]);
    })
    .await;
}

#[tokio::test]
async fn class_b_a_session_ends_with_the_revocation_of_its_certificate() {
    let root = Forger::root("root");
    let intermediate = root.intermediate_with("intermediate", |params| params.serial_number = Some(8.into()));
    let certificate = intermediate.client(|params| params.serial_number = Some(9.into()));
    let policy =
        |revocation: Value| client_tls("mtls", &[HOST], json!({"caSecret": reference("ca"), "revocation": revocation}));
    let lists = json!({"crlRefs": [{"name": "crls"}]});
    let crls = |of_root: &[u64], of_intermediate: &[u64]| {
        let text = format!("{}{}", root.crl(of_root, 3600), intermediate.crl(of_intermediate, 3600));
        secret("crls", &[("ca.crl", &text)])
    };
    let before = || vec![ca(&[&root.pem]), crls(&[], &[]), policy(lists.clone())];
    ends("the client is revoked", &certificate, before(), |stage| stage.apply([crls(&[], &[9])])).await;
    ends("its intermediate is revoked", &certificate, before(), |stage| stage.apply([crls(&[8], &[])])).await;
    ends("the lists are gone", &certificate, before(), |stage| stage.delete(Kind::Secret, "crls")).await;
    let before = vec![ca(&[&root.pem]), crls(&[], &[9]), policy(Value::Null)];
    ends("revocation is looked at", &certificate, before, |stage| stage.apply([policy(lists.clone())])).await;
}

#[tokio::test]
async fn class_b_a_session_ends_where_the_handshake_itself_would_fail() {
    let alert = |ca: &str| json!({"caSecret": reference(ca), "failure": {"type": "Alert"}});
    let before = vec![client_tls("mtls", &[HOST], alert("clients"))];
    ends("another authority", &PKI.clients.client(), before, |stage| {
        stage.apply([client_tls("mtls", &[HOST], alert("others"))]);
    })
    .await;
}

/// Without any change, within seconds, neither an open connection nor a session lets the holder of `certificate` in.
async fn ends_by_itself(stage: &Stage, certificate: &Certified) {
    let mut clients = Vec::new();
    for (version, alpn) in ways() {
        let sessions = Arc::new(Stolen::default());
        let attacker = Attacker::resuming(version, alpn, Some(certificate), sessions.resumption());
        let mut open = attacker.connect(stage.https, HOST).await.connection;
        assert_eq!(open.status(HOST, "/").await, Some(200), "{version:?} {alpn}");
        assert!(!sessions.is_empty());
        clients.push((attacker, open));
    }
    for (attacker, mut open) in clients {
        tokio::time::timeout(Duration::from_secs(6), async {
            while open.status(HOST, "/").await == Some(200) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("its time is over, and the connection goes on");
        let passed = stage.passed();
        assert_eq!(attacker.status(stage.https, HOST, HOST).await, Some(400), "the session");
        assert_eq!(stage.passed(), passed);
    }
}

#[tokio::test]
async fn class_b_a_session_ends_with_the_certificate_that_it_was_made_with() {
    let root = Forger::root("root");
    let stage = Stage::new([ca(&[&root.pem]), client_tls("mtls", &[HOST], trusts("ca"))]).await;
    ends_by_itself(&stage, &root.client(|params| ends_in(params, 2))).await;
}

#[tokio::test]
async fn class_b_a_session_ends_with_the_revocation_list_that_it_relied_on() {
    let root = Forger::root("root");
    let client = json!({"caSecret": reference("ca"), "revocation": {"crlRefs": [{"name": "crls"}]}});
    let stage = Stage::new([ca(&[&root.pem]), client_tls("mtls", &[HOST], client)]).await;
    stage.apply([secret("crls", &[("ca.crl", &root.crl(&[], 2))])]);
    ends_by_itself(&stage, &root.client(|_| ())).await;
}
