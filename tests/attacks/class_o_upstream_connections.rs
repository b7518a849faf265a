//! Class O: a connection to an upstream that was authenticated for one client serves another (`HAProxy` #3195). Connections to
//! upstreams carry no identity here, there is no TLS on them: a request says for itself whose it is. What must not happen is that
//! a client's identity stays behind on a connection that others use after it.

use serde_json::json;

use crate::attacker::Attacker;
use crate::forger::Forger;
use crate::objects::{client_tls, reference, secret, tls};
use crate::stage::Stage;

#[tokio::test]
async fn class_o_clients_that_share_an_upstream_connection_share_no_identity() {
    let root = Forger::root("root");
    let forward = json!({"clientCert": true, "headers": [{"name": "X-Who", "value": "Subject"}]});
    let stage = Stage::new([
        secret("ca", &[("cert", &root.pem)]),
        client_tls("mtls", &["mtls.test"], json!({"caSecret": reference("ca"), "forward": forward})),
        tls("open", &["open.test"]),
    ])
    .await;
    let named = |name: &str| {
        let certificate = root.client(|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        });
        Attacker::new(&rustls::version::TLS13, "h2", Some(&certificate))
    };
    let (one, two) = (named("one"), named("two"));
    for (attacker, host, who) in [
        (&one, "mtls.test", Some("CN=one")),
        (&two, "mtls.test", Some("CN=two")),
        (&one, "open.test", None),
        (&one, "mtls.test", Some("CN=one")),
    ] {
        assert_eq!(attacker.status(stage.https, host, host).await, Some(200));
        let seen = stage.upstream.seen().last().unwrap().clone();
        assert_eq!(seen.header("x-who"), who, "{host}");
        assert_eq!(seen.header("client-cert").is_some(), who.is_some(), "{host}");
    }
    assert_eq!(stage.upstream.connections(), 1, "one connection was used for all, or the test shows nothing");
}
