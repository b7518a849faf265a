//! Class G: a client says who it is in headers of its own (`OpenShift` CVE-2026-46579, Fortinet CVE-2026-35616). One try for each
//! kind of connection; tests/proxy has every spelling.

use serde_json::json;

use crate::attacker::{Attacker, PROTOCOLS};
use crate::client::Connection;
use crate::objects::{client_tls, reference, tls};
use crate::pki::PKI;
use crate::stage::Stage;
use crate::upstream::text;

/// What upstreams may take for an identity; `x-who` is the name that one of the hosts forwards.
const CLAIMS: [(&str, &str); 12] = [
    ("client-cert", ":Zm9yZ2Vk:"),
    ("client-cert", ":Zm9yZ2VkMg==:"),
    ("client_cert", "forged"),
    ("client-cert-chain", ":Zm9yZ2Vk:"),
    ("x-forwarded-client-cert", "By=forged"),
    ("x_forwarded_client_cert", "By=forged"),
    ("x-forwarded-tls-client-cert", "forged"),
    ("ssl-client-verify", "SUCCESS"),
    ("x-ssl-client-dn", "CN=forged"),
    ("x-who", "CN=forged"),
    ("x_who", "CN=forged"),
    ("connection", "close, client-cert, x-who"),
];

async fn sends_claims(stage: &Stage, mut connection: Connection, host: &str, what: &str) {
    let mut request = connection.request("POST", host, "/");
    let http2 = matches!(connection, Connection::Http2(_));
    for (name, value) in CLAIMS.into_iter().filter(|(name, _)| !http2 || *name != "connection") {
        request = request.header(name, value);
    }
    let before = stage.passed();
    let status = connection.send(request.body(text("body")).unwrap()).await.unwrap().status();
    assert_eq!(status, 200, "{what}");
    assert_eq!(stage.passed(), before + 1);
    let seen = stage.upstream.seen().last().unwrap().clone();
    for (name, value) in &seen.headers {
        let value = value.to_str().unwrap();
        assert!(
            !value.contains("forged") && !value.contains("Zm9yZ2Vk") && value != "SUCCESS",
            "{what}: {name}: {value}"
        );
    }
}

#[tokio::test]
async fn class_g_no_listener_passes_on_what_a_client_claims_to_be() {
    let client = |mode: &str| {
        json!({
            "caSecret": reference("clients"), "mode": mode, "skip_mtls_uri_regex": [],
            "forward": {"clientCert": true, "xForwardedClientCert": true, "headers": [{"name": "X-Who", "value": "Subject"}]},
        })
    };
    let stage = Stage::new([
        tls("open", &["open.test"]),
        client_tls("mtls", &["mtls.test"], client("Require")),
        client_tls("optional", &["optional.test"], client("Optional")),
        client_tls("observe", &["observe.test"], client("Observe")),
        client_tls("skip", &["skip.test"], json!({"caSecret": reference("clients"), "skip_mtls_uri_regex": ["^/"]})),
    ])
    .await;
    for object in ["mtls", "optional", "observe", "skip"] {
        assert!(stage.problems(object).is_empty(), "{:?}", stage.problems(object));
    }
    for host in ["open.test", "optional.test", "observe.test", "unknown.test"] {
        sends_claims(&stage, Connection::plain(stage.http).await, host, &format!("plaintext {host}")).await;
    }
    let (good, bad) = (PKI.clients.client(), PKI.others.client());
    for alpn in PROTOCOLS {
        for (host, certificate) in [
            ("open.test", None),
            ("open.test", Some(&good)),
            ("mtls.test", Some(&good)),
            ("optional.test", None),
            ("optional.test", Some(&good)),
            ("observe.test", None),
            ("observe.test", Some(&bad)),
            ("skip.test", None),
            ("skip.test", Some(&bad)),
        ] {
            let attacker = Attacker::new(&rustls::version::TLS13, alpn, certificate);
            let connection = attacker.connect(stage.https, host).await.connection;
            sends_claims(&stage, connection, host, &format!("{alpn} {host}")).await;
        }
    }
}

#[tokio::test]
async fn class_g_a_refused_client_with_claims_is_refused() {
    let stage = Stage::new([client_tls("mtls", &["mtls.test"], json!({"caSecret": reference("clients")}))]).await;
    for alpn in PROTOCOLS {
        let attacker = Attacker::new(&rustls::version::TLS13, alpn, None);
        let mut connection = attacker.connect(stage.https, "mtls.test").await.connection;
        let mut request = connection.request("GET", "mtls.test", "/");
        for (name, value) in CLAIMS.into_iter().filter(|(name, _)| *name != "connection") {
            request = request.header(name, value);
        }
        assert_eq!(connection.send(request.body(text("")).unwrap()).await.unwrap().status(), 400, "{alpn}");
    }
    assert_eq!(stage.passed(), 0);
}
