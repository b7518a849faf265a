//! Bad input of every kind: the host refuses, and the report names object and field. (Authorities: `class_f_bad_configuration`;
//! revocation lists: `class_j_revocation`; sizes: `class_p_size`.)

use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::attacker::Attacker;
use crate::forger::Forger;
use crate::objects::{client_tls, reference, secret, tls};
use crate::pki::PKI;
use crate::stage::Stage;

const HOST: &str = "bad.test";

/// What the report says of the ApisixTls; nobody is let in.
async fn refused(objects: Vec<Value>) -> Vec<String> {
    let stage = Stage::new(objects).await;
    for _ in 0..2 {
        for certificate in [None, Some(&PKI.clients.client())] {
            let status =
                Attacker::new(&rustls::version::TLS13, "h2", certificate).status(stage.https, HOST, HOST).await;
            assert!(matches!(status, None | Some(400)), "{status:?} {:?}", stage.problems("bad"));
        }
        stage.restart();
    }
    assert_eq!(stage.passed(), 0);
    stage.problems("bad")
}

#[tokio::test]
async fn a_bad_certificate_of_a_host_is_named() {
    let good = PKI.servers.issue(&[HOST], rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let (key, other) = (good.key.serialize_pem(), KeyPair::generate().unwrap().serialize_pem());
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (cert, key, says) in [
        ("", &*key, "the certificate"),
        ("garbage", &key, "the certificate"),
        (garbage, &key, "certificate"),
        (&good.pem, "", "the key"),
        (&good.pem, "garbage", "the key"),
        (&good.pem, &good.pem, "the key"),
        (&good.pem, &other, "the key does not belong to the certificate"),
        (&good.pem[..300], &key, "the certificate"),
    ] {
        let mut object = tls("bad", &[HOST]);
        object["spec"]["secret"] = reference("own");
        let problems = refused(vec![secret("own", &[("cert", cert), ("key", key)]), object]).await;
        let found = problems
            .iter()
            .any(|problem| problem.starts_with("spec.secret: Secret default/own: ") && problem.contains(says));
        assert!(found, "{says}: {problems:?}");
        let secret = good.key.serialize_pem().lines().nth(1).unwrap().to_owned();
        assert!(problems.iter().all(|problem| !problem.contains(&secret)), "{problems:?}");
    }
}

#[tokio::test]
async fn a_bad_field_of_the_client_section_is_named() {
    let with = |field: &str, value: Value| {
        let mut client = json!({"caSecret": reference("clients")});
        client[field] = value;
        vec![client_tls("bad", &[HOST], client)]
    };
    for (field, value, says) in [
        ("skip_mtls_uri_regex", json!(["("]), "spec.client.skip_mtls_uri_regex"),
        ("skip_mtls_uri_regex", json!(["(a{1000}){1000}"]), "spec.client.skip_mtls_uri_regex"),
        ("skip_mtls_uri_regex", json!(["\\p{L}{500}".repeat(50)]), "spec.client.skip_mtls_uri_regex"),
        ("skip_mtls_uri_regex", json!("^/"), "spec.client.skip_mtls_uri_regex"),
        ("mode", json!("None"), "spec.client.mode"),
        ("mode", json!("optional"), "spec.client.mode"),
        ("failure", json!({"type": "Silent"}), "spec.client.failure.type"),
        ("failure", json!({"statusCode": 200}), "spec.client.failure.statusCode"),
        ("failure", json!({"redirect": "https://a.test\r\nX-Admin: 1"}), "spec.client.failure.redirect"),
        ("failure", json!({"body": "x", "contentType": "text/html\r\nX-Admin: 1"}), "spec.client.failure.contentType"),
        (
            "forward",
            json!({"headers": [{"name": "X-A\r\nX-B", "value": "Subject"}]}),
            "spec.client.forward.headers[0].name",
        ),
        ("forward", json!({"headers": [{"name": "Host", "value": "Subject"}]}), "spec.client.forward.headers[0].name"),
        ("forward", json!({"headers": [{"name": "X-A", "value": "Password"}]}), "spec.client.forward.headers[0].value"),
        ("identities", json!([{}]), "spec.client.identities[0]"),
        ("identities", json!([{"dns": [{}]}]), "spec.client.identities[0].dns[0]"),
        ("identities", json!([{"dns": [{"regex": "("}]}]), "spec.client.identities[0].dns[0]"),
        ("identities", json!([{"dns": [{"regex": "((a{100}){100}){100}"}]}]), "spec.client.identities"),
        ("identities", json!([{"dns": [{"exact": "a", "prefix": "b"}]}]), "spec.client.identities[0].dns[0]"),
        ("identities", json!([{"ip": ["10.0.0.0/33"]}]), "spec.client.identities[0].ip[0]"),
        ("identities", json!([{"certificateSha256": ["ab"]}]), "spec.client.identities[0].certificateSha256[0]"),
        ("revocation", json!({}), "spec.client.revocation.crlRefs"),
        ("revocation", json!({"crlRefs": []}), "spec.client.revocation.crlRefs"),
        ("revocation", json!({"crlRefs": [{"name": "gone"}]}), "spec.client.revocation.crlRefs[0]"),
        ("revocation", json!({"crlRefs": [{"name": "clients"}], "unknown": "Maybe"}), "spec.client.revocation.unknown"),
        ("caCertificateRefs", json!([{"kind": "Pod", "name": "x"}]), "spec.client.caCertificateRefs[0].kind"),
    ] {
        let problems = refused(with(field, value.clone())).await;
        assert!(problems.iter().any(|problem| problem.starts_with(says)), "{field} {value}: {problems:?}");
    }
}

#[tokio::test]
async fn a_bad_authority_among_good_ones_is_left_out_and_named() {
    let leaf = PKI.servers.issue(&[HOST], rcgen::ExtendedKeyUsagePurpose::ServerAuth).pem;
    let with = |references: Value| {
        client_tls("bad", &[HOST], json!({"caSecret": reference("clients"), "caCertificateRefs": references}))
    };
    let stage = Stage::new([secret("leaf", &[("cert", &leaf)])]).await;
    for (references, says) in [
        (json!([{"name": "gone"}]), "spec.client.caCertificateRefs[0]: Secret default/gone does not exist"),
        (
            json!([{"name": "others"}, {"name": "leaf"}]),
            "spec.client.caCertificateRefs[1]: `cert` of Secret default/leaf",
        ),
        (
            json!([{"kind": "ConfigMap", "name": "others"}]),
            "spec.client.caCertificateRefs[0]: ConfigMap default/others does not exist",
        ),
    ] {
        stage.apply([with(references.clone())]);
        let problems = stage.problems("bad");
        assert!(problems.iter().any(|problem| problem.starts_with(says)), "{references}: {problems:?}");
        let others = references.to_string().contains("leaf");
        for (certificate, expected) in [
            (PKI.clients.client(), 200),
            (PKI.others.client(), if others { 200 } else { 400 }),
            (PKI.servers.client(), 400),
        ] {
            let attacker = Attacker::new(&rustls::version::TLS13, "h2", Some(&certificate));
            assert_eq!(attacker.status(stage.https, HOST, HOST).await, Some(expected), "{references}");
        }
    }
}

#[tokio::test]
async fn names_with_control_characters_stay_on_one_line() {
    let root = Forger::root("evil\r\nX-Admin: 1\0");
    let stage = Stage::new([
        secret("ca", &[("cert", &root.pem)]),
        client_tls("bad", &[HOST], json!({"caSecret": {"name": "ca\r\nevil", "namespace": "default"}})),
    ])
    .await;
    let problems = stage.problems("bad");
    assert!(problems[0].starts_with("spec.client.caSecret"), "{problems:?}");
    let attacker = Attacker::new(&rustls::version::TLS13, "h2", Some(&root.client(|_| ())));
    assert_eq!(attacker.status(stage.https, HOST, HOST).await, None);
}

#[tokio::test]
async fn a_catastrophic_expression_takes_linear_time() {
    let client =
        json!({"caSecret": reference("clients"), "skip_mtls_uri_regex": ["^/(a+)+$", "^/(a|a)*$", "^/(.*a){20}$"]});
    let stage = Stage::new([client_tls("bad", &[HOST], client)]).await;
    let attacker = Attacker::new(&rustls::version::TLS13, "http/1.1", None);
    let path = format!("/{}!", "a".repeat(8000));
    let status = async { attacker.connect(stage.https, HOST).await.connection.status(HOST, &path).await };
    let status = tokio::time::timeout(std::time::Duration::from_secs(5), status).await.expect("it took too long");
    assert_eq!(status, Some(400));
    assert_eq!(stage.passed(), 0);
}
