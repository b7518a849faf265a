//! Class L: references into other namespaces (Envoy Gateway CVE-2026-53718). They are allowed, as in APISIX, and mean what they
//! say: an object of the same name elsewhere never stands in.

use serde_json::json;

use crate::attacker::Attacker;
use crate::objects::{client_tls, secret, tls};
use crate::pki::PKI;
use crate::stage::Stage;

#[tokio::test]
async fn class_l_a_reference_means_the_namespace_that_it_names() {
    let of = |namespace: &str, pem: String| {
        let mut object = secret("ca", &[("cert", &pem)]);
        object["metadata"]["namespace"] = namespace.into();
        object
    };
    let theirs = json!({"caSecret": {"name": "ca", "namespace": "theirs"}});
    let stage = Stage::new([
        of("default", PKI.others.certificate.pem()),
        client_tls("mtls", &["mtls.test"], theirs),
        client_tls("own", &["own.test"], json!({"caSecret": {"name": "ca"}})),
    ])
    .await;
    let clients = [PKI.clients.client(), PKI.others.client()];
    let statuses = async |host: &str| {
        let [one, two] =
            [&clients[0], &clients[1]].map(|client| Attacker::new(&rustls::version::TLS13, "h2", Some(client)));
        [one.status(stage.https, host, host).await, two.status(stage.https, host, host).await]
    };
    assert_eq!(
        statuses("mtls.test").await,
        [None, None],
        "nobody, although the own namespace has a Secret of that name"
    );
    assert!(stage.problems("mtls")[0].contains("Secret theirs/ca does not exist"), "{:?}", stage.problems("mtls"));
    stage.apply([of("theirs", PKI.clients.certificate.pem())]);
    assert_eq!(statuses("mtls.test").await, [Some(200), Some(400)]);
    assert_eq!(statuses("own.test").await, [Some(400), Some(200)], "without a namespace it is the object's own");
}

#[tokio::test]
async fn class_l_what_the_admin_api_wrote_cannot_be_referred_to() {
    let theirs = json!({"name": "ssls/1", "namespace": "/apisix"});
    let mut shown = tls("shown", &["shown.test"]);
    shown["spec"]["secret"] = theirs.clone();
    let stage = Stage::new([shown, client_tls("asked", &["asked.test"], json!({"caSecret": theirs}))]).await;
    assert_eq!(
        stage.all_problems(),
        [
            "ApisixTls default/asked: spec.client.caSecret.namespace: `/apisix` is no namespace",
            "ApisixTls default/shown: spec.secret.namespace: `/apisix` is no namespace",
        ]
    );
}
