//! What an APISIX user relies on, M1 to M20. Where APISIX's answer and a better one differ, docs/architecture.md has decided.

use std::net::SocketAddr;
use std::sync::Arc;

use portcullis::model::Kind;
use portcullis::proxy::Settings;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::attacker::{Attacker, VERSIONS, ways};
use crate::client::Connection;
use crate::forger::{Forger, ends_in, starts_in};
use crate::lines::ERRORS;
use crate::objects::{born, client_tls, reference, secret, tls, trusts};
use crate::pki::{Certified, PKI};
use crate::s_client::{get, s_client};
use crate::sessions::Stolen;
use crate::stage::Stage;

const HOST: &str = "mtls.test";

fn ca(pem: &str) -> Value {
    secret("ca", &[("cert", pem)])
}

/// A stage with one host that trusts `ca`.
async fn trusting(pem: &str) -> Stage {
    Stage::new([ca(pem), client_tls("mtls", &[HOST], trusts("ca"))]).await
}

/// The status that the host gives, in every version of TLS and HTTP: the same one.
async fn status(stage: &Stage, certificate: Option<&Certified>, path: &str) -> Option<u16> {
    let mut found = Vec::new();
    for (version, alpn) in ways() {
        let attacker = Attacker::new(version, alpn, certificate);
        found.push(match attacker.stream(stage.https, HOST).await {
            Ok(stream) => Connection::over(stream, alpn == "h2").await.status(HOST, path).await,
            Err(_) => None,
        });
    }
    assert!(found.iter().all(|status| *status == found[0]), "{found:?}");
    found[0]
}

#[tokio::test]
async fn m01_a_valid_certificate_is_served() {
    let root = Forger::root("root");
    let stage = trusting(&root.pem).await;
    assert_eq!(status(&stage, Some(&root.client(|_| ())), "/").await, Some(200));
    let through = root.intermediate("intermediate").client(|_| ());
    assert_eq!(status(&stage, Some(&through), "/").await, Some(200));
    assert_eq!(stage.passed(), 8);
}

/// A client that does not verify gets a page, or an alert where that is asked for. (APISIX: an alert.)
async fn refused(root: &Forger, clients: &[Option<&Certified>]) {
    let stage = trusting(&root.pem).await;
    for (failure, expected) in [(json!({"type": "Http"}), Some(400)), (json!({"type": "Alert"}), None)] {
        let client = json!({"caSecret": reference("ca"), "failure": failure});
        stage.apply([client_tls("mtls", &[HOST], client)]);
        assert!(stage.problems("mtls").is_empty(), "{:?}", stage.problems("mtls"));
        for (index, client) in clients.iter().enumerate() {
            assert_eq!(status(&stage, *client, "/").await, expected, "client {index}");
        }
    }
    assert_eq!(stage.passed(), 0);
    assert_eq!(status(&stage, Some(&root.client(|_| ())), "/").await, Some(200));
}

#[tokio::test]
async fn m02_a_client_without_a_certificate_is_refused() {
    refused(&Forger::root("root"), &[None]).await;
}

#[tokio::test]
async fn m03_a_client_of_a_stranger_or_at_another_time_is_refused() {
    let root = Forger::root("root");
    let stranger = Forger::root("stranger").client(|_| ());
    let expired = root.client(|params| ends_in(params, -10));
    let early = root.client(|params| starts_in(params, 1000));
    let own = Forger::self_signed();
    refused(&root, &[&stranger, &expired, &early, &own].map(Some)).await;
}

#[tokio::test]
async fn m04_depth_counts_the_intermediates() {
    let root = Forger::root("root");
    let one = root.intermediate("one");
    let two = one.intermediate("two");
    let clients = [root.client(|_| ()), one.client(|_| ()), two.client(|_| ())];
    let stage = trusting(&root.pem).await;
    // Left out it is 1: APISIX's own default.
    for (depth, let_in) in [(Some(0), 1), (Some(1), 2), (None, 2), (Some(2), 3)] {
        stage.apply([client_tls("mtls", &[HOST], json!({"caSecret": reference("ca"), "depth": depth}))]);
        for (intermediates, client) in clients.iter().enumerate() {
            let expected = if intermediates < let_in { 200 } else { 400 };
            assert_eq!(status(&stage, Some(client), "/").await, Some(expected), "{depth:?} {intermediates}");
        }
    }
}

#[tokio::test]
async fn m05_every_authority_of_a_bundle_counts_and_is_named_in_the_handshake() {
    let (one, two) = (Forger::root("authority one"), Forger::root("authority two"));
    let stage = trusting(&format!("{}{}", one.pem, two.pem)).await;
    for authority in [&one, &two] {
        assert_eq!(status(&stage, Some(&authority.client(|_| ())), "/").await, Some(200));
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let output = s_client(stage.https, &[version, "-servername", HOST], &get(HOST)).await;
        for name in ["CN = authority one", "CN = authority two"] {
            assert!(output.contains("Acceptable client certificate CA names") && output.contains(name), "{output}");
        }
    }
}

#[tokio::test]
async fn m06_the_keys_of_a_ca_secret_have_an_order() {
    let [cert, ca_crt, tls_crt] = ["cert", "ca.crt", "tls.crt"].map(Forger::root);
    let stage = trusting(&cert.pem).await;
    for (entries, expected) in [
        (vec![("cert", &cert), ("ca.crt", &ca_crt), ("tls.crt", &tls_crt)], &cert),
        (vec![("ca.crt", &ca_crt), ("tls.crt", &tls_crt)], &ca_crt), // APISIX would take tls.crt: a leaf, as a rule
        (vec![("tls.crt", &tls_crt)], &tls_crt),
    ] {
        let entries: Vec<_> = entries.into_iter().map(|(key, authority)| (key, authority.pem.as_str())).collect();
        stage.apply([secret("ca", &entries)]);
        for authority in [&cert, &ca_crt, &tls_crt] {
            let expected = if std::ptr::eq(authority, expected) { 200 } else { 400 };
            assert_eq!(status(&stage, Some(&authority.client(|_| ())), "/").await, Some(expected), "{entries:?}");
        }
    }
}

fn skips(expressions: &[&str]) -> Value {
    client_tls("mtls", &[HOST], json!({"caSecret": reference("clients"), "skip_mtls_uri_regex": expressions}))
}

#[tokio::test]
async fn m07_paths_that_match_need_no_certificate_and_all_others_do() {
    let stage = Stage::new([skips(&["^/open/", "status$"])]).await;
    let (good, bad) = (PKI.clients.client(), PKI.others.client());
    for (path, free) in [("/open/x", true), ("/any/status", true), ("/", false), ("/opener", false), ("/open", false)] {
        assert_eq!(status(&stage, Some(&good), path).await, Some(200), "{path}");
        let before = stage.passed();
        let expected = if free { 200 } else { 400 };
        assert_eq!(status(&stage, None, path).await, Some(expected), "{path}");
        assert_eq!(status(&stage, Some(&bad), path).await, Some(expected), "{path}");
        assert_eq!(stage.passed() - before, if free { 8 } else { 0 }, "{path}");
    }
    ERRORS.with(&["client certificate was not present", "\"GET /opener HTTP/1.1\"", HOST]).await;
    ERRORS.with(&["client certificate verification is not passed: FAILED:unknown issuer", "GET /opener", HOST]).await;
    // Only the client is excused: the host still asks for a connection of its own.
    let open = Attacker::new(&rustls::version::TLS13, "h2", None);
    stage.apply([tls("open", &["open.test"])]);
    let mut connection = open.connect(stage.https, "open.test").await.connection;
    assert_eq!(connection.status(HOST, "/open/x").await, Some(421));
    assert_eq!(Connection::plain(stage.http).await.status(HOST, "/open/x").await, Some(421));
}

#[tokio::test]
async fn m08_the_path_that_is_checked_is_the_path_that_is_served() {
    let stage = Stage::new([skips(&["^/open/", "^/ip$"])]).await;
    let none = |alpn| Attacker::new(&rustls::version::TLS13, alpn, None);
    for path in [
        "/open/../admin",
        "/open/./../admin",
        "/open/%2e%2e/admin",
        "/open/%2E%2e/admin",
        "/open/.%2e/admin",
        "/open%2f..%2fadmin",
        "/open/..%2fadmin",
        "/open/%2e%2e%2fadmin",
        "/open/..%5cadmin",
        "/open/..;/admin",
        "/open/x/../../admin",
        "/open//../admin",
        "/open///../../admin",
        "/open/%252e%252e/admin",
        "/open/%c0%ae%c0%ae/admin",
        "//open/../admin",
        "/admin?x=/open/",
        "/admin?/open/",
        "/admin;/open/",
        "/admin%3f/open/",
        "/x/../admin",
        "//admin",
        "/ip/../admin",
        "/ip?/../admin",
        "/ip%00",
        "/ip%0a",
        "/%69p/",
    ] {
        for alpn in ["http/1.1", "h2"] {
            let before = stage.passed();
            let status = none(alpn).connect(stage.https, HOST).await.connection.status(HOST, path).await;
            if stage.passed() == before {
                assert!(matches!(status, Some(400) | None), "{alpn} {path}: {status:?}");
                continue;
            }
            // Served: then whatever an upstream makes of what it saw, it is still below /open/ or is /ip.
            let seen = stage.upstream.seen().last().unwrap().target.clone();
            let path = read_by_an_upstream(&seen);
            assert!(path.starts_with("/open/") || path == "/ip", "{alpn} {path} reached the upstream as {seen}");
        }
    }
    for path in ["/x/../ip", "/%69p", "/ip?a=b", "/./ip"] {
        assert_eq!(status(&stage, None, path).await, Some(200), "{path}: the same as /ip");
    }
}

/// The path as the most careless upstream would read it: decoded twice, `\` and `;` for ends of a segment, slashes merged.
fn read_by_an_upstream(target: &str) -> String {
    let decode = |text: &str| {
        let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::new(), 0);
        while let Some(byte) = bytes.get(at) {
            let hex = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
            let value = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
            decoded.push(value.unwrap_or(*byte));
            at += if value.is_some() { 3 } else { 1 };
        }
        String::from_utf8_lossy(&decoded).into_owned()
    };
    let path = decode(&decode(target.split('?').next().unwrap())).replace('\\', "/");
    let mut segments = Vec::new();
    for segment in path.split('/').map(|segment| segment.split(';').next().unwrap()) {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

#[tokio::test]
async fn m09_the_host_of_the_request_is_the_host_of_the_connection() {
    let other = client_tls("other", &["m09-other.test"], trusts("others"));
    let stage =
        Stage::new([tls("open", &["m09-open.test"]), client_tls("mtls", &["m09-mtls.test"], trusts("clients")), other])
            .await;
    let good = PKI.clients.client();
    for (version, alpn) in ways() {
        let attacker = Attacker::new(version, alpn, Some(&good));
        // APISIX answers 400, and lets the third one through.
        for (sni, host) in [
            ("m09-open.test", "m09-mtls.test"),
            ("m09-mtls.test", "m09-other.test"),
            ("m09-mtls.test", "m09-open.test"),
        ] {
            assert_eq!(attacker.status(stage.https, sni, host).await, Some(421), "{version:?} {alpn} {sni} {host}");
        }
    }
    assert_eq!(stage.passed(), 0);
    ERRORS.with(&["client certificate verified with SNI m09-mtls.test, but the host is m09-other.test"]).await;
}

/// In full: `class_a_resumption` and `class_b_trust_changed`.
#[tokio::test]
async fn m10_a_session_opens_no_other_host_and_outlives_no_authority() {
    let other = client_tls("other", &["other.test"], trusts("ca"));
    let stage =
        Stage::new([ca(&PKI.clients.certificate.pem()), client_tls("mtls", &[HOST], trusts("ca")), other]).await;
    let good = PKI.clients.client();
    for (version, alpn) in ways() {
        stage.apply([ca(&PKI.clients.certificate.pem())]);
        let saved = async || {
            let attacker = Attacker::resuming(version, alpn, Some(&good), Arc::new(Stolen::default()).resumption());
            assert_eq!(attacker.status(stage.https, HOST, HOST).await, Some(200), "{version:?} {alpn}");
            attacker.hide_certificate();
            attacker
        };
        let (one, two) = (saved().await, saved().await);
        assert_eq!(one.status(stage.https, "other.test", "other.test").await, Some(400), "{version:?} {alpn}");
        stage.apply([ca(&PKI.others.certificate.pem())]);
        assert_eq!(two.status(stage.https, HOST, HOST).await, Some(400), "{version:?} {alpn}");
    }
}

#[tokio::test]
async fn m11_the_plaintext_port_serves_no_host_that_asks_for_certificates() {
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    for (allow_plaintext_client_auth, expected) in [(false, 421), (true, 200)] {
        let settings = portcullis::proxy::Settings {
            allow_plaintext_client_auth,
            http: vec![loopback],
            https: vec![loopback],
            ..Default::default()
        };
        let stage = Stage::with(settings, [client_tls("mtls", &[HOST], trusts("clients"))]).await;
        assert_eq!(Connection::plain(stage.http).await.status(HOST, "/").await, Some(expected));
    }
}

#[tokio::test]
async fn m12_of_two_objects_for_a_host_the_oldest_wins_whatever_the_order() {
    let theirs = |namespace: &str, second| {
        let mut object = born(tls("copy", &[HOST]), second);
        object["metadata"]["namespace"] = namespace.into();
        object
    };
    let ours = || born(client_tls("mtls", &[HOST], trusts("clients")), 5);
    for objects in [
        vec![ours(), theirs("aaa", 6), theirs("zzz", 7)],
        vec![theirs("zzz", 7), theirs("aaa", 6), ours()],
        vec![theirs("aaa", 5), ours()], // of one age: the one that asks for certificates
    ] {
        let stage = Stage::new([]).await;
        for object in objects {
            stage.apply([object]);
        }
        for _ in 0..2 {
            assert_eq!(status(&stage, None, "/").await, Some(400));
            assert!(stage.problems("mtls").is_empty());
            stage.restart();
        }
    }
}

/// In full: `class_b_trust_changed`.
#[tokio::test]
async fn m13_open_connections_are_held_to_a_policy_that_is_added() {
    for (version, alpn) in ways() {
        let stage = Stage::new([tls("mtls", &[HOST])]).await;
        let mut open = Attacker::new(version, alpn, None).connect(stage.https, HOST).await.connection;
        assert_eq!(open.status(HOST, "/").await, Some(200), "{version:?} {alpn}");
        stage.apply([client_tls("mtls", &[HOST], trusts("clients"))]);
        let status = open.status(HOST, "/").await;
        assert!(matches!(status, None | Some(400)), "{version:?} {alpn}: {status:?}");
        assert_eq!(stage.passed(), 1);
    }
}

#[tokio::test]
async fn m14_a_lost_authority_refuses_and_a_lost_certificate_goes_on_serving() {
    let stage = trusting(&PKI.clients.certificate.pem()).await;
    let good = PKI.clients.client();
    assert_eq!(status(&stage, Some(&good), "/").await, Some(200));
    stage.delete(Kind::Secret, "server");
    assert_eq!(status(&stage, Some(&good), "/").await, Some(200), "the last good certificate");
    assert_eq!(status(&stage, None, "/").await, Some(400), "under the same policy");
    assert!(stage.problems("mtls")[0].starts_with("spec.secret: "), "{:?}", stage.problems("mtls"));
    stage.delete(Kind::Secret, "ca");
    let passed = stage.passed();
    assert_eq!(status(&stage, Some(&good), "/").await, None);
    assert_eq!(stage.passed(), passed);
}

/// In a cluster: `a_secret_created_after_its_tls_is_used` and `a_certificate_renewed_under_load_fails_no_request` of
/// e2e/lifecycle.rs.
#[tokio::test]
async fn m15_secrets_may_come_later_and_change_without_a_lost_connection() {
    let stage = Stage::new([client_tls("mtls", &[HOST], trusts("ca"))]).await;
    let good = PKI.clients.client();
    assert_eq!(status(&stage, Some(&good), "/").await, None);
    stage.apply([ca(&PKI.clients.certificate.pem())]);
    let client = Attacker::new(&rustls::version::TLS13, "h2", Some(&good));
    let mut open = client.connect(stage.https, HOST).await.connection;
    assert_eq!(open.status(HOST, "/").await, Some(200));

    let serial = |output: &str| output.split("-----BEGIN CERTIFICATE-----").nth(1).unwrap()[..200].to_owned();
    let before = serial(&s_client(stage.https, &["-servername", HOST], &get(HOST)).await);
    let renewed = PKI.servers.issue(&[HOST], rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    stage.apply([secret("server", &[("cert", &renewed.pem), ("key", &renewed.key.serialize_pem())])]);
    let after = serial(&s_client(stage.https, &["-servername", HOST], &get(HOST)).await);
    assert_ne!(before, after, "the next handshake has the new certificate");
    assert_eq!(open.status(HOST, "/").await, Some(200), "the open connection goes on");
}

#[tokio::test]
async fn m16_streams_over_tls_ask_for_certificates_too() {
    let loopback = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let settings = Settings {
        http: loopback.clone(),
        https: loopback.clone(),
        stream_tcp: loopback.clone(),
        stream_tls: loopback,
        ..Settings::default()
    };
    let stage = Stage::with(settings, [client_tls("m16", &[HOST], trusts("clients"))]).await;
    let rule = |name: &str, port: u16| {
        json!({
            "name": name, "protocol": "TCP", "match": {"ingressPort": port},
            "backend": {"serviceName": "upstream", "servicePort": 80},
        })
    };
    let [plain, secure] = stage.streams[..] else { panic!("two ports") };
    stage.apply([json!({
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute",
        "metadata": {"name": "stream", "namespace": "default"},
        "spec": {"stream": [rule("secure", secure.port()), rule("closed", stage.https.port())]},
    })]);
    let problems = stage.problems_of(Kind::ApisixRoute, "stream");
    assert!(problems.len() == 1 && problems[0].contains("is not opened"), "{problems:?}");
    for (version, alpn) in ways() {
        for (certificate, served) in
            [(None, false), (Some(PKI.others.client()), false), (Some(PKI.clients.client()), true)]
        {
            let status = Attacker::new(version, alpn, certificate.as_ref()).status(secure, HOST, HOST).await;
            assert_eq!(status, served.then_some(200), "{version:?} {alpn}");
        }
    }
    let seen = stage.upstream.seen().len();
    assert_eq!(Connection::plain(plain).await.status(HOST, "/").await, None, "the rule is not on the plain port");
    assert_eq!(Connection::plain(secure).await.status(HOST, "/").await, None, "nor is it reached without TLS");
    assert_eq!(stage.upstream.seen().len(), seen);
}

#[tokio::test]
async fn m17_the_most_specific_host_decides_in_the_handshake() {
    let stage = Stage::new([
        tls("wide", &["*.m17.test"]),
        client_tls("exact", &["exact.m17.test"], trusts("clients")),
        client_tls("deep", &["*.deep.m17.test"], trusts("clients")),
    ])
    .await;
    for (version, alpn) in ways() {
        let none = Attacker::new(version, alpn, None);
        for (host, expected) in [
            ("a.m17.test", Some(200)),
            ("exact.m17.test", Some(400)),
            ("deep.m17.test", Some(200)),
            ("a.deep.m17.test", Some(400)),
            ("b.a.deep.m17.test", None), // a wildcard's certificate covers one label
            ("m17.test", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(none.status(stage.https, host, host).await, expected, "{version:?} {alpn} {host}");
        }
    }
}

/// In a cluster: the class of the objects in e2e/cluster.rs.
#[tokio::test]
async fn m18_objects_of_another_class_are_left_alone() {
    let class = |name: &str, controller: &str| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": name},
            "spec": {"controller": controller},
        })
    };
    let of = |name: &str| {
        let mut object = client_tls("mtls", &[HOST], trusts("clients"));
        object["spec"]["ingressClassName"] = name.into();
        object
    };
    let stage = Stage::new([class("nginx", "k8s.io/ingress-nginx"), of("apisix")]).await;
    assert_eq!(status(&stage, Some(&PKI.clients.client()), "/").await, Some(200));
    stage.apply([of("nginx")]);
    assert_eq!(status(&stage, Some(&PKI.clients.client()), "/").await, None, "the host is withdrawn");
    assert_eq!(stage.problems_of(Kind::ApisixTls, "mtls"), Vec::<String>::new());
}

/// That a condition is written after the snapshot is served: src/app/control.rs. In a cluster:
/// `conditions_tell_good_objects_from_broken_ones` of e2e/api.rs.
#[tokio::test]
async fn m19_an_object_is_programmed_only_when_it_is_served_as_written() {
    let stage = trusting(&PKI.clients.certificate.pem()).await;
    let all_true = [("Accepted", true), ("ResolvedRefs", true), ("Programmed", true)];
    assert_eq!(stage.conditions("mtls"), all_true);
    stage.apply([client_tls("mtls", &[HOST], trusts("gone"))]);
    assert_eq!(stage.conditions("mtls"), [("Accepted", true), ("ResolvedRefs", false), ("Programmed", false)]);
    stage.apply([client_tls("mtls", &[HOST], json!({}))]);
    assert_eq!(stage.conditions("mtls")[0], ("Accepted", false));
    assert_eq!(stage.conditions("mtls")[2], ("Programmed", false));
}

#[tokio::test]
async fn m20_certificates_by_the_clients_algorithms_and_versions_by_host() {
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new([HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
    let rsa = secret("rsa", &[("cert", &certificate.pem()), ("key", &key.serialize_pem())]);
    let mut object = client_tls("mtls", &[HOST], trusts("clients"));
    object["spec"]["additionalSecrets"] = json!([reference("rsa")]);
    let stage = Stage::new([rsa, object.clone()]).await;
    assert!(stage.problems("mtls").is_empty(), "{:?}", stage.problems("mtls"));
    for version in ["-tls1_2", "-tls1_3"] {
        for (algorithms, expected) in [("RSA-PSS+SHA256", "RSA-PSS"), ("ECDSA+SHA256", "ECDSA")] {
            let arguments = [version, "-servername", HOST, "-sigalgs", algorithms];
            let output = s_client(stage.https, &arguments, &get(HOST)).await;
            assert!(output.contains(&format!("Peer signature type: {expected}")), "{version} {algorithms}: {output}");
            assert!(output.contains("HTTP/1.1 400"), "{version} {algorithms}: {output}");
        }
    }
    for (tls, served) in [
        (json!({"minVersion": "TLSv1.3"}), [false, true]),
        (json!({"maxVersion": "TLSv1.2"}), [true, false]),
        (json!({}), [true, true]),
    ] {
        object["spec"]["tls"] = tls;
        stage.apply([object.clone()]);
        assert!(stage.problems("mtls").is_empty(), "{:?}", stage.problems("mtls"));
        let good = PKI.clients.client();
        for (version, served) in VERSIONS.into_iter().zip(served) {
            let status = Attacker::new(version, "h2", Some(&good)).status(stage.https, HOST, HOST).await;
            assert_eq!(status.is_some(), served, "{version:?} {:?}", object["spec"]["tls"]);
        }
    }
}
