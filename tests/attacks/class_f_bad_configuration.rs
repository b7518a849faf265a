//! Class F: configuration that cannot be honoured opens a host (Traefik CVE-2022-46153, Caddy CVE-2026-27586, kgateway #14280).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::model::Kind;
use portcullis::source::manifests::Manifests;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};

use crate::attacker::{Attacker, ways};
use crate::client::Connection;
use crate::objects::{born, client_tls, reference, secret, tls, trusts};
use crate::pki::PKI;
use crate::stage::Stage;

const HOST: &str = "mtls.test";

/// The object in order.
fn good() -> Value {
    client_tls("mtls", &[HOST], trusts("ca"))
}

fn good_ca() -> Value {
    secret("ca", &[("cert", &PKI.clients.certificate.pem())])
}

/// Nobody is let in, by no way: with the best certificate, without one, without TLS, and on another host's connection.
async fn refuses_everyone(stage: &Stage, name: &str) {
    let before = stage.passed();
    for (version, alpn) in ways() {
        for certificate in [None, Some(&PKI.clients.client())] {
            let attacker = Attacker::new(version, alpn, certificate);
            let status = attacker.status(stage.https, HOST, HOST).await;
            assert!(matches!(status, None | Some(400)), "{name}: {version:?} {alpn} {status:?}");
            assert_eq!(attacker.status(stage.https, "open.test", HOST).await, Some(421), "{name}: {version:?} {alpn}");
        }
    }
    let plain = Connection::plain(stage.http).await.status(HOST, "/").await;
    assert_eq!(plain, Some(421), "{name}");
    assert_eq!(stage.passed(), before, "{name}");
    let open = Attacker::new(&rustls::version::TLS13, "h2", None).status(stage.https, "open.test", "open.test").await;
    assert_eq!(open, Some(200), "{name}: another host is not concerned");
}

/// The bad objects are served to a proxy that served good ones before, and to one that has just started. `says` is what the
/// report says of the ApisixTls, with the field first.
async fn fails_closed(name: &str, bad: Vec<Value>, says: &str) {
    let stage = Stage::new([tls("open", &["open.test"]), good_ca(), good()]).await;
    let client = Attacker::new(&rustls::version::TLS13, "h2", Some(&PKI.clients.client()));
    let mut early = client.connect(stage.https, HOST).await.connection;
    assert_eq!(early.status(HOST, "/").await, Some(200), "{name}");
    stage.apply(bad);
    assert_eq!(early.status(HOST, "/").await.filter(|status| *status != 400), None, "{name}: an open connection");
    for start in ["warm", "cold"] {
        let problems = stage.problems("mtls");
        assert!(problems.iter().any(|problem| problem.contains(says)), "{name} {start}: {problems:?}");
        refuses_everyone(&stage, name).await;
        stage.restart();
    }
    stage.apply([good_ca(), good()]);
    assert_eq!(client.status(stage.https, HOST, HOST).await, Some(200), "{name}: it heals");
}

fn client(client: Value) -> Vec<Value> {
    vec![client_tls("mtls", &[HOST], client)]
}

fn ca(text: &str) -> Vec<Value> {
    vec![secret("ca", &[("cert", text)])]
}

#[tokio::test]
async fn class_f_a_ca_secret_that_holds_no_usable_authority_refuses_everyone() {
    let leaf = PKI.clients.issue(&["leaf.test"], ExtendedKeyUsagePurpose::ClientAuth).pem;
    let good = PKI.clients.certificate.pem();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cut = &good[..good.len() / 2];
    let key = PKI.clients.client().key.serialize_pem();
    for (name, text) in
        [("empty", ""), ("text", "hello"), ("garbage", garbage), ("a leaf", &leaf), ("cut", cut), ("a key", &key)]
    {
        fails_closed(name, ca(text), "spec.client.caSecret: `cert` of Secret default/ca").await;
    }
    fails_closed(
        "other keys",
        vec![secret("ca", &[("key", &good)])],
        "spec.client.caSecret: Secret default/ca has none",
    )
    .await;
}

#[tokio::test]
async fn class_f_a_missing_ca_secret_refuses_everyone() {
    fails_closed("none", client(trusts("gone")), "spec.client.caSecret: Secret default/gone does not exist").await;

    let stage = Stage::new([tls("open", &["open.test"]), good_ca(), good()]).await;
    stage.delete(Kind::Secret, "ca");
    let problems = stage.problems("mtls");
    assert!(problems[0].starts_with("spec.client.caSecret: Secret default/ca does not exist"), "{problems:?}");
    refuses_everyone(&stage, "deleted").await;
    stage.restart();
    refuses_everyone(&stage, "deleted, then restarted").await;
}

#[tokio::test]
async fn class_f_a_client_section_that_cannot_be_read_refuses_everyone() {
    let ca = || reference("ca");
    for (name, section, says) in [
        ("nothing below it", Value::Null, "spec.client"),
        ("empty", json!({}), "spec.client.caSecret"),
        ("a text", json!("on"), "spec.client"),
        ("no name", json!({"caSecret": {}}), "spec.client.caSecret.name"),
        ("a list", json!({"caSecret": []}), "spec.client.caSecret"),
        ("a negative depth", json!({"caSecret": ca(), "depth": -1}), "spec.client.depth"),
        ("a huge depth", json!({"caSecret": ca(), "depth": 1_000_000}), "spec.client.depth"),
        ("depth as a text", json!({"caSecret": ca(), "depth": "1"}), "spec.client.depth"),
    ] {
        fails_closed(name, client(section), says).await;
    }
}

#[tokio::test]
async fn class_f_an_object_that_cannot_be_read_keeps_its_hosts_closed() {
    let stage = Stage::new([tls("open", &["open.test"]), good_ca(), good()]).await;
    let mut unreadable = good();
    unreadable["spec"] = json!("hosts");
    stage.apply([unreadable]);
    refuses_everyone(&stage, "unreadable").await;
    assert!(stage.problems("mtls")[0].starts_with("spec: "), "{:?}", stage.problems("mtls"));

    let mut stranger = good();
    stranger["spec"]["ingressClassName"] = "mistyped".into();
    stage.apply([stranger]);
    for _ in 0..2 {
        refuses_everyone(&stage, "a class that does not exist").await;
        assert!(stage.problems("mtls")[0].starts_with("spec.ingressClassName: "), "{:?}", stage.problems("mtls"));
        stage.restart();
    }
}

#[tokio::test]
async fn class_f_of_two_objects_for_one_host_the_later_opens_nothing() {
    let theirs = |name: &str, second| born(tls(name, &[HOST]), second);
    // Older or younger, and whatever its name.
    let stage = Stage::new([born(good(), 1), theirs("a", 2), theirs("z", 3), theirs("same-age", 1), good_ca()]).await;
    stage.apply([tls("open", &["open.test"])]);
    let none = Attacker::new(&rustls::version::TLS13, "h2", None);
    for _ in 0..2 {
        assert_eq!(none.status(stage.https, HOST, HOST).await, Some(400));
        for name in ["a", "z", "same-age"] {
            let problems = stage.problems(name);
            assert!(problems[0].contains("belongs to ApisixTls default/mtls"), "{problems:?}");
        }
        assert!(stage.problems("mtls").is_empty());
        stage.restart();
    }
    // A broken older object is still the owner: it refuses, and the younger one does not step in.
    stage.apply([secret("ca", &[("cert", "")])]);
    refuses_everyone(&stage, "the owner is broken").await;
    assert_eq!(stage.passed(), 1, "only the open host was served");
}

#[tokio::test(flavor = "multi_thread")]
async fn class_f_a_host_is_never_open_while_objects_change() {
    let stage = Stage::new([tls("open", &["open.test"]), good_ca(), good()]).await;
    let stop = AtomicBool::new(false);
    let change = async {
        for round in 0..60u8 {
            match round % 6 {
                0 => stage.delete(Kind::Secret, "ca"),
                1 => stage.apply([good_ca()]),
                2 => stage.apply([client_tls("mtls", &[HOST], trusts("others"))]),
                // In one step from one object to another.
                3 => stage.apply([good(), client_tls("second", &[HOST], trusts("clients"))]),
                4 => stage.delete(Kind::ApisixTls, "second"),
                _ => stage.apply([good()]),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let attack = async |alpn: &str| {
        let mut tries = 0;
        while !stop.load(Ordering::Relaxed) {
            let attacker = Attacker::new(&rustls::version::TLS13, alpn, None);
            for sni in [HOST, "open.test"] {
                let status = attacker.status(stage.https, sni, HOST).await;
                assert!(matches!(status, None | Some(400 | 421)), "{alpn} {sni}: {status:?}");
                tries += 1;
            }
            assert_eq!(Connection::plain(stage.http).await.status(HOST, "/").await, Some(421), "plaintext");
        }
        tries
    };
    let ((), one, two) = tokio::join!(change, attack("http/1.1"), attack("h2"));
    assert!(one > 10 && two > 10, "{one} {two}: too few tries to show anything");
    assert_eq!(stage.passed(), 0);
}

#[test]
fn class_f_a_directory_of_manifests_with_a_mistake_is_not_served_at_all() {
    for (line, mistake, says) in [
        (11, "  client: {}", "spec.client"),
        (11, "  client:", "spec.client"),
        (11, "  client: {caSecret: {name: ca}, mode: Off}", "spec.client.mode"),
        (11, "  client: {caSecrets: {name: ca}}", "spec.client.caSecrets"),
        (11, "  cilent: {caSecret: {name: ca}}", "spec.cilent"),
        (11, "  Client: {caSecret: {name: ca}}", "spec.Client"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "apiVersion: apisix.apache.org/v2\nkind: ApisixTls\nmetadata:\n  name: mtls\n  namespace: default\nspec:\n  \
             hosts:\n  - {HOST}\n  secret: {{name: server, namespace: default}}\n  # Clients:\n{mistake}\n"
        );
        std::fs::write(folder.path().join("tls.yaml"), text).unwrap();
        let wrong = Manifests::open(vec![folder.path().to_owned()]).map(|_| ()).unwrap_err();
        let found = wrong.iter().any(|wrong| {
            wrong.line.abs_diff(line) <= 5 && wrong.message.contains("default/mtls") && wrong.message.contains(says)
        });
        assert!(found, "{mistake}: {wrong:?}");
    }
}
