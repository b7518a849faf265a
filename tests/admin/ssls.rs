//! Certificates: what APISIX's own tests of them ask for (`t/admin/ssl.t`, `ssl2.t`, `ssl4.t`, `ssl5.t`), in our form.

use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};

use crate::pki::{Certified, PKI};
use crate::scene::{Scene, keyring};

const NONE: Value = Value::Null;

fn server() -> Certified {
    PKI.servers.issue(&["test.com"], ExtendedKeyUsagePurpose::ServerAuth)
}

/// A certificate's object with changes.
fn ssl(certified: &Certified, change: &Value) -> Value {
    let mut ssl = json!({ "cert": certified.pem, "key": certified.key.serialize_pem() });
    for (name, value) in change.as_object().unwrap() {
        ssl[name] = value.clone();
    }
    ssl
}

/// A certificate in PEM that is none.
fn broken(label: &str) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", "MIIEojCCAwqgAwIB".repeat(10))
}

#[tokio::test]
async fn certificates_are_kept_and_their_keys_never_shown() {
    let scene = Scene::start().await;
    let (one, other) = (server(), server());
    let key = one.key.serialize_pem();
    let both = json!({ "snis": ["*.foo.com", "bar.com"], "certs": [other.pem], "keys": [other.key.serialize_pem()] });
    let secret: String = key.lines().nth(1).unwrap().to_owned();
    for (path, change) in [
        ("/ssls/1", json!({ "sni": "test.com" })),
        ("/ssls/1", json!({ "sni": "*.foo.com", "labels": { "version": "v2", "build": "16" } })),
        ("/ssls/a-b-c-ABC_0123", json!({ "sni": "test.com" })),
        ("/ssls/2", both),
        ("/ssls/3", json!({ "type": "client" })),
        ("/ssls/4", json!({ "sni": "test.com", "ssl_protocols": ["TLSv1.2", "TLSv1.3"] })),
    ] {
        let put = scene.call("PUT", path, &ssl(&one, &change)).await;
        assert!(put.status.is_success(), "{}", put.body);
        let shown = scene.call("GET", path, &NONE).await;
        let patched = scene.call("PATCH", path, &json!({ "desc": "d" })).await;
        assert!(patched.status.is_success(), "{}", patched.body);
        for answer in [&put, &shown, &patched] {
            let value = &answer.json()["value"];
            assert!(value.get("key").is_none() && value.get("keys").is_none() && value["cert"] == one.pem, "{value}");
        }
    }
    let listed = scene.call("GET", "/ssls", &NONE).await;
    assert_eq!(listed.json()["total"], 5);
    for text in [&listed.body, &format!("{:?}", scene.memory.list(""))] {
        assert!(!text.contains("PRIVATE KEY") && !text.contains(&secret), "{text}");
    }
    let stored = scene.stored("ssls/1").unwrap();
    assert_eq!(keyring().open(stored["key"].as_str().unwrap()), Ok(key), "sealed in the store");
    assert_eq!(scene.call("DELETE", "/ssls/a-b-c-ABC_0123", &NONE).await.status, 200);
    assert_eq!(scene.call("DELETE", "/ssls/99999999999999", &NONE).await.status, 404);
    let pushed = scene.call("POST", "/ssls", &ssl(&one, &json!({ "sni": "foo.com" }))).await;
    assert_eq!(pushed.status, 201);
    let path = pushed.json()["key"].as_str().unwrap().replace("/apisix", "");
    assert_eq!(scene.call("DELETE", &path, &NONE).await.status, 200);
}

#[tokio::test]
async fn certificates_that_cannot_be_served_are_refused() {
    let scene = Scene::start().await;
    let (one, other) = (server(), server());
    let ca = PKI.clients.certificate.pem();
    let sni = |change: &Value| {
        let mut whole = json!({ "sni": "test.com" });
        whole.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        ssl(&one, &whole)
    };
    for (body, why) in [
        (json!({ "sni": "foo.com" }), "invalid configuration: then clause did not match"),
        (
            json!({ "sni": "test.com", "certs": [one.pem], "keys": [] }),
            "invalid configuration: then clause did not match",
        ),
        (
            ssl(&one, &json!({ "snis": [] })),
            "invalid configuration: property \"snis\" validation failed: expect array to have at least 1 items",
        ),
        (
            sni(&json!({ "labels": { "env": ["production", "release"] } })),
            "invalid configuration: property \"labels\" validation failed: failed to validate env (matching \".*\"): wrong type: expected \
             string, got table",
        ),
        (
            sni(&json!({ "client": {} })),
            "invalid configuration: property \"client\" validation failed: property \"ca\" is required",
        ),
        (
            sni(&json!({ "ssl_protocols": ["TLSv1.0"] })),
            "invalid configuration: property \"ssl_protocols\" validation failed: failed to validate item 1: matches none of the enum values",
        ),
        (sni(&json!({ "cert": broken("CERTIFICATE") })), "failed to parse cert: PEM_read_bio_X509_AUX() failed"),
        (sni(&json!({ "key": broken("RSA PRIVATE KEY") })), "failed to parse key: PEM_read_bio_PrivateKey() failed"),
        (
            sni(&json!({ "certs": [broken("CERTIFICATE")], "keys": [one.key.serialize_pem()] })),
            "failed to handle cert-key pair[1]: failed to parse cert: PEM_read_bio_X509_AUX() failed",
        ),
        (
            sni(&json!({ "certs": [one.pem], "keys": [broken("RSA PRIVATE KEY")] })),
            "failed to handle cert-key pair[1]: failed to parse key: PEM_read_bio_PrivateKey() failed",
        ),
        (sni(&json!({ "certs": [one.pem], "keys": [] })), "mismatched number of certs and keys"),
        (
            sni(&json!({ "client": { "ca": broken("CERTIFICATE") } })),
            "failed to validate client_cert: failed to parse cert: ",
        ),
        (sni(&json!({ "key": other.key.serialize_pem() })), "the key does not belong to the certificate"),
        (sni(&json!({ "client": { "ca": one.pem } })), "failed to validate client_cert: client.ca: "),
        (sni(&json!({ "cert": "$secret://vault/1/a/b" })), "cert: $secret:// is not supported"),
    ] {
        let (status, error) = scene.call("PUT", "/ssls/1", &body).await.error();
        assert!(status == 400 && error.starts_with(why), "{error}\n{why}");
    }
    assert!(scene.memory.list("").entries.is_empty());
    let good = sni(&json!({ "client": { "ca": ca, "depth": 10 } }));
    assert_eq!(scene.call("PUT", "/ssls/1", &good).await.status, 201);
}

#[tokio::test]
async fn a_certificate_is_patched_as_a_whole_and_in_part() {
    let scene = Scene::start().await;
    let (one, other) = (server(), server());
    scene.call("PUT", "/ssls/1", &ssl(&one, &json!({ "snis": ["test.com"] }))).await;
    let changed = scene.call("PATCH", "/ssls/1/snis", &json!(["update1.com", "update2.com"])).await;
    assert!(changed.body.contains("\"snis\":[\"update1.com\",\"update2.com\"]"), "{}", changed.body);
    let key = other.key.serialize_pem();
    let mismatch = scene.call("PATCH", "/ssls/1/key", &json!(key)).await.error();
    assert_eq!(mismatch, (400, "the key does not belong to the certificate".to_owned()));
    let rotated = scene.call("PATCH", "/ssls/1", &json!({ "cert": other.pem, "key": key })).await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    let sealed = scene.stored("ssls/1").unwrap()["key"].as_str().unwrap().to_owned();
    assert_eq!(keyring().open(&sealed), Ok(key.clone()));
    let more = json!({ "certs": [one.pem], "keys": [one.key.serialize_pem()] });
    assert_eq!(scene.call("PATCH", "/ssls/1", &more).await.status, 200);
    let keys = scene.call("PATCH", "/ssls/1/keys", &json!([one.key.serialize_pem()])).await;
    assert_eq!(keys.status, 200, "{}", keys.body);
    assert!(!scene.stored("ssls/1").unwrap().to_string().contains("PRIVATE KEY"));
}

#[tokio::test]
async fn an_upstream_is_given_a_certificate() {
    let scene = Scene::start().await;
    let client = PKI.clients.client();
    scene.call("PUT", "/upstreams/testmtls", &json!({ "nodes": { "127.0.0.1:443": 1 }, "scheme": "https" })).await;
    let tls = json!({ "tls": { "client_cert": client.pem, "client_key": client.key.serialize_pem() } });
    let patched = scene.call("PATCH", "/upstreams/testmtls", &tls).await;
    assert_eq!(patched.status, 200, "{}", patched.body);
    assert!(!patched.body.contains("client_key"), "{}", patched.body);
    let stored = scene.stored("upstreams/testmtls").unwrap();
    let sealed = stored["tls"]["client_key"].as_str().unwrap();
    assert_eq!(keyring().open(sealed), Ok(client.key.serialize_pem()));

    let by_id = json!({ "uri": "/", "upstream": { "scheme": "https", "nodes": {}, "tls": { "client_cert_id": "c" } } });
    scene.call("PUT", "/ssls/c", &ssl(&server(), &json!({ "sni": "test.com" }))).await;
    let wrong = (400, "failed to fetch ssl info by ssl id [c], wrong ssl type".to_owned());
    assert_eq!(scene.call("PUT", "/routes/1", &by_id).await.error(), wrong);
    scene.call("PUT", "/ssls/c", &ssl(&client, &json!({ "type": "client" }))).await;
    assert_eq!(scene.call("PUT", "/routes/1", &by_id).await.status, 201);
    let used = (400, "can not delete this ssl, route [1] is still using it now".to_owned());
    assert_eq!(scene.call("DELETE", "/ssls/c", &NONE).await.error(), used);
}

#[tokio::test]
async fn two_certificates_of_one_host_have_one_mind_about_its_clients() {
    let scene = Scene::start().await;
    let ca = json!({ "ca": PKI.servers.certificate.pem() });
    let open = ssl(&server(), &json!({ "sni": "test.com" }));
    let closed = ssl(&server(), &json!({ "snis": ["a.com", "Test.com"], "client": ca }));
    assert!(scene.call("PUT", "/ssls/open", &open).await.status.is_success());
    let refused = scene.call("PUT", "/ssls/closed", &closed).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("sni [test.com] belongs to ssls/open too"), "{}", refused.body);
    assert!(scene.call("PUT", "/ssls/again", &open).await.status.is_success(), "both let everyone in");
    for id in ["open", "again"] {
        assert!(scene.call("PATCH", &format!("/ssls/{id}"), &json!({ "status": 0 })).await.status.is_success());
    }
    assert!(scene.call("PUT", "/ssls/closed", &closed).await.status.is_success(), "the others are off");
    let created = scene.stored("ssls/closed").unwrap()["create_time"].clone();
    let patched = scene.call("PATCH", "/ssls/closed", &json!({ "create_time": 1 })).await;
    assert!(patched.status.is_success(), "{}", patched.body);
    assert_eq!(scene.stored("ssls/closed").unwrap()["create_time"], created, "age decides who owns a host");
}
