//! The table of Gateway API's conformance test `GatewayHTTPSListenerDetectMisdirectedRequests`, its hosts as ApisixTls objects.
//! What is a listener there, a set of hosts with settings of their own, is a client policy here: each has another one, so
//! that another listener is another policy.

use serde_json::json;

use crate::attacker::{Attacker, ways};
use crate::objects::{client_tls, reference, tls};
use crate::pki::PKI;
use crate::stage::Stage;

/// SNI, host, Gateway API's status.
const TABLE: [(&str, &str, u16); 15] = [
    ("example.test", "example.test", 200),
    ("example.test", "second-example.test", 421),
    ("example.test", "unknown-example.test", 404),
    ("second-example.test", "second-example.test", 200),
    ("second-example.test", "example.test", 421),
    ("second-example.test", "unknown-example.test", 421),
    ("third-example.wildcard.test", "third-example.wildcard.test", 200),
    ("third-example.wildcard.test", "fifth-example.wildcard.test", 200),
    ("third-example.wildcard.test", "fourth-example.wildcard.test", 421),
    ("third-example.wildcard.test", "second-example.test", 421),
    ("third-example.wildcard.test", "unknown-example.test", 421),
    ("fourth-example.wildcard.test", "fourth-example.wildcard.test", 200),
    ("fourth-example.wildcard.test", "fifth-example.wildcard.test", 421),
    ("unknown-example.test", "example.test", 200),
    ("unknown-example.test", "unknown-example.test", 404),
];

#[tokio::test]
async fn gateway_api_sni_and_host() {
    let depth = |name: &str, host: &str, depth: u32| {
        client_tls(name, &[host], json!({"caSecret": reference("clients"), "depth": depth}))
    };
    let stage = Stage::new([
        // The listener without a host name owns example.test: it asks for nothing.
        tls("any", &["example.test"]),
        depth("second", "second-example.test", 1),
        depth("wildcard", "*.wildcard.test", 2),
        depth("fourth", "fourth-example.wildcard.test", 3),
    ])
    .await;
    for (version, alpn) in ways() {
        let attacker = Attacker::new(version, alpn, Some(&PKI.clients.client()));
        for (sni, host, theirs) in TABLE {
            let before = stage.passed();
            let status = attacker.status(stage.https, sni, host).await;
            let ours = match (sni, theirs) {
                // Their listener without a host name takes every SNI. We have no such thing: no TLS is configured for it.
                ("unknown-example.test", _) => None,
                // Their table has no route for this host, ours leads every host to the upstream. It asks for nothing, like
                // the host of the connection.
                (_, 404) => Some(200),
                (_, status) => Some(status),
            };
            assert_eq!(status, ours, "{version:?} {alpn} {sni} {host}");
            assert_eq!(stage.passed() - before, usize::from(ours == Some(200)));
        }
    }
}
