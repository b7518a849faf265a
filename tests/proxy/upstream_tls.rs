//! TLS to upstreams: names, certificates both ways, and who shares a connection.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use portcullis::model::Kind;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::client::Connection;
use crate::objects::{reference, route_for_everything, secret};
use crate::pki::PKI;
use crate::stage::Stage;
use crate::tls_upstream::{TlsUpstream, certificate, serve, server_tls};
use crate::upstream::text;
use crate::websocket::{answer_with_echo, echoes, websocket};

async fn hello(names: &[&str], clients: Option<&crate::pki::Authority>) -> TlsUpstream {
    serve(server_tls(names, &["http/1.1"], clients), |_| async { Response::new(text("hello")) }).await
}

/// The ApisixUpstream of the Service that everything leads to.
#[expect(clippy::needless_pass_by_value, reason = "what `json!` makes is passed as it is")]
fn settings(spec: Value) -> Value {
    json!({
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixUpstream",
        "metadata": {"name": "upstream", "namespace": "default"}, "spec": spec,
    })
}

/// A proxy whose every route leads to `upstream`, as `spec` says.
async fn stage(upstream: &TlsUpstream, spec: Value) -> Stage {
    let stage = Stage::new([]).await;
    stage.apply(route_for_everything(upstream.address).into_iter().chain([settings(spec)]));
    stage
}

async fn status(stage: &Stage, host: &str) -> u16 {
    Connection::plain(stage.http).await.get(host, "/").await.status.as_u16()
}

fn problems(stage: &Stage) -> Vec<String> {
    stage.problems_of(Kind::ApisixUpstream, "upstream")
}

#[tokio::test]
async fn the_name_that_is_asked_for_is_that_of_the_host_that_is_sent() {
    let upstream = hello(&["a.test"], None).await;
    let address = upstream.address.to_string();
    let stage = stage(&upstream, json!({})).await;
    for (spec, host, sni, sent) in [
        (json!({}), "A.test:9443", Some("a.test"), "A.test:9443"),
        (json!({"passHost": "pass"}), "b.test", Some("b.test"), "b.test"),
        (json!({"passHost": "node"}), "b.test", None, address.as_str()),
        (json!({"passHost": "rewrite", "upstreamHost": "C.test:8443"}), "b.test", Some("c.test"), "C.test:8443"),
        (json!({}), "192.0.2.1", None, "192.0.2.1"),
    ] {
        let mut spec = spec;
        spec["scheme"] = "https".into();
        stage.apply([settings(spec.clone())]);
        assert_eq!(status(&stage, host).await, 200, "{spec}");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!((seen.sni.as_deref(), seen.host.as_str()), (sni, sent), "{spec}");
    }
}

#[tokio::test]
async fn a_certificate_is_verified_where_that_is_asked_for_and_a_condition_says_where_it_is_not() {
    let upstream = hello(&["a.test"], None).await;
    let stage = stage(&upstream, json!({"scheme": "https"})).await;
    stage.apply([secret("servers", &[("ca.crt", &PKI.servers.certificate.pem())])]);
    assert_eq!(status(&stage, "b.test").await, 200);
    let warning = "spec.tlsVerify: the endpoints' certificates are not verified; name their authorities";
    assert_eq!(problems(&stage), [warning]);

    let verified = |secret: &str| settings(json!({"scheme": "https", "tlsVerify": {"caSecret": reference(secret)}}));
    stage.apply([verified("servers")]);
    assert_eq!(problems(&stage), [""; 0]);
    assert_eq!(status(&stage, "a.test").await, 200);
    assert_eq!(status(&stage, "b.test").await, 502, "the certificate is for another name");
    stage.apply([verified("others")]);
    assert_eq!(status(&stage, "a.test").await, 502, "the certificate is of another authority");
    // What was said before about a name does not count any more.
    stage.apply([settings(json!({"scheme": "https"}))]);
    assert_eq!(status(&stage, "b.test").await, 200);
    stage.apply([verified("servers")]);
    assert_eq!(status(&stage, "b.test").await, 502);
}

#[tokio::test]
async fn an_address_is_verified_as_an_address() {
    let (good, bad) = (hello(&["127.0.0.1"], None).await, hello(&["a.test"], None).await);
    for (upstream, expected) in [(good, 200), (bad, 502)] {
        let verify = json!({"caSecret": reference("servers")});
        let stage = stage(&upstream, json!({"scheme": "https", "passHost": "node", "tlsVerify": verify})).await;
        stage.apply([secret("servers", &[("cert", &PKI.servers.certificate.pem())])]);
        assert_eq!(status(&stage, "a.test").await, expected);
    }
}

#[tokio::test]
async fn an_upstream_is_shown_our_certificate() {
    let upstream = hello(&["a.test"], Some(&PKI.clients)).await;
    let (good, bad) = (PKI.clients.client(), PKI.others.client());
    let stage = stage(&upstream, json!({"scheme": "https"})).await;
    stage.apply([certificate("good", &good), certificate("bad", &bad)]);
    assert_eq!(status(&stage, "a.test").await, 502, "no certificate");
    stage.apply([settings(json!({"scheme": "https", "tlsSecret": reference("bad")}))]);
    assert_eq!(status(&stage, "a.test").await, 502, "a stranger's certificate");
    stage.apply([settings(json!({"scheme": "https", "tlsSecret": reference("good")}))]);
    assert_eq!(status(&stage, "a.test").await, 200);
    assert_eq!(upstream.seen().pop().unwrap().client.as_ref(), good.chain.first());
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_backend_without_its_secrets_gets_nothing() {
    let upstream = hello(&["a.test"], None).await;
    let stage = stage(&upstream, json!({})).await;
    let (one, other) = (PKI.clients.client(), PKI.clients.client());
    let empty = secret("empty", &[]);
    let torn = secret("torn", &[("cert", &one.pem), ("key", &other.key.serialize_pem())]);
    let no_pem = secret("nopem", &[("ca.crt", "no PEM")]);
    stage.apply([empty, torn, no_pem]);
    for (spec, said) in [
        (json!({"tlsSecret": reference("gone")}), "spec.tlsSecret: Secret default/gone does not exist"),
        (json!({"tlsSecret": reference("empty")}), "spec.tlsSecret: Secret default/empty has neither `cert` and `key`"),
        (json!({"tlsSecret": reference("torn")}), "the key does not belong to the certificate"),
        (
            json!({"tlsVerify": {"caSecret": reference("gone")}}),
            "spec.tlsVerify.caSecret: Secret default/gone does not",
        ),
        (
            json!({"tlsVerify": {"caSecret": reference("empty")}}),
            "spec.tlsVerify.caSecret: Secret default/empty has none",
        ),
        (json!({"tlsVerify": {"caSecret": reference("nopem")}}), "`ca.crt` of Secret default/nopem holds no PEM"),
        (json!({"tlsVerify": {"systemRoots": true}}), "spec.tlsVerify: there is no authority"),
    ] {
        let mut spec = spec;
        spec["scheme"] = "https".into();
        stage.apply([settings(spec.clone())]);
        assert_eq!(status(&stage, "a.test").await, 503, "{spec}");
        let problems = problems(&stage);
        assert!(problems.first().is_some_and(|problem| problem.contains(said)), "{spec}: {problems:?}");
        let route = stage.problems_of(Kind::ApisixRoute, "upstream");
        assert!(route.iter().any(|problem| problem.contains("ApisixUpstream default/upstream")), "{spec}: {route:?}");
    }
    assert_eq!(upstream.accepted(), 0);
    // The Secret comes, and the backend with it.
    stage.apply([certificate("gone", &one), settings(json!({"scheme": "https", "tlsSecret": reference("gone")}))]);
    assert_eq!(status(&stage, "a.test").await, 200);
}

#[tokio::test]
async fn a_rotated_certificate_counts_for_new_connections_and_what_is_under_way_finishes() {
    let go = Arc::new(Semaphore::new(0));
    let held = go.clone();
    let tls = server_tls(&["a.test"], &["http/1.1"], Some(&PKI.clients));
    let upstream = serve(tls, move |request| {
        let held = held.clone();
        async move {
            if request.uri().path() == "/slow" {
                held.acquire().await.unwrap().forget();
            }
            Response::new(text("hello"))
        }
    })
    .await;
    let (one, two) = (PKI.clients.client(), PKI.clients.client());
    let stage = stage(&upstream, json!({"scheme": "https", "tlsSecret": reference("mine")})).await;
    stage.apply([certificate("mine", &one)]);
    let mut slow = Connection::plain(stage.http).await;
    let slow = tokio::spawn(async move { slow.get("a.test", "/slow").await.status });
    let shown = |at: usize| upstream.seen()[at].client.clone().unwrap();
    while upstream.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(status(&stage, "a.test").await, 200);
    stage.apply([certificate("mine", &two)]);
    assert_eq!(status(&stage, "a.test").await, 200);
    assert_eq!([shown(0), shown(1), shown(2)], [one.chain[0].clone(), one.chain[0].clone(), two.chain[0].clone()]);
    go.add_permits(1);
    assert_eq!(slow.await.unwrap(), 200);
    assert_eq!(status(&stage, "a.test").await, 200);
    let seen = upstream.seen();
    assert_eq!(
        seen[3].connection, seen[2].connection,
        "the new connection is kept, and the old ones are not used again"
    );
    assert_eq!(upstream.accepted(), 3);
}

/// Class O: a connection that was made for one name or identity serves no other.
#[tokio::test]
async fn class_o_a_connection_serves_one_name_and_one_identity() {
    let upstream = hello(&["a.test"], Some(&PKI.clients)).await;
    let (one, two) = (PKI.clients.client(), PKI.clients.client());
    let stage = stage(&upstream, json!({"scheme": "https", "tlsSecret": reference("one")})).await;
    stage.apply([certificate("one", &one), certificate("two", &two)]);
    // Another Service at the same endpoint, with another certificate of ours.
    let port = upstream.address.port();
    let mut second = route_for_everything(upstream.address);
    for object in &mut second {
        let name = object["metadata"]["name"].as_str().unwrap().replace("upstream", "second");
        object["metadata"]["name"] = name.into();
    }
    second[1]["metadata"]["labels"]["kubernetes.io/service-name"] = "second".into();
    second[2]["spec"]["http"][0]["match"]["hosts"] = json!(["second.test"]);
    second[2]["spec"]["http"][0]["backends"][0]["serviceName"] = "second".into();
    let mut other = settings(json!({
        "scheme": "https", "tlsSecret": reference("two"), "passHost": "rewrite", "upstreamHost": "a.test",
    }));
    other["metadata"]["name"] = "second".into();
    stage.apply(second.into_iter().chain([other]));
    let hosts = ["a.test", "b.test", "second.test"];
    for _ in 0..3 {
        for host in hosts {
            assert_eq!(status(&stage, host).await, 200, "{host} at port {port}");
        }
    }
    let seen = upstream.seen();
    for request in &seen {
        let (name, identity) = if request.host == "a.test" && request.client.as_ref() == two.chain.first() {
            ("a.test", &two)
        } else {
            (&*request.host, &one)
        };
        assert_eq!(request.sni.as_deref(), Some(name));
        assert_eq!(request.client.as_ref(), identity.chain.first());
    }
    assert_eq!(seen.len(), 9);
    assert_eq!(upstream.accepted(), 3, "each has a connection of its own, and uses it again");
}

#[tokio::test]
async fn a_websocket_goes_through_tls() {
    let upstream = serve(server_tls(&["ws.test"], &["h2", "http/1.1"], None), answer_with_echo).await;
    let stage = stage(&upstream, json!({"scheme": "https", "tlsVerify": {"caSecret": reference("servers")}})).await;
    stage.apply([secret("servers", &[("cert", &PKI.servers.certificate.pem())])]);
    echoes(websocket(Connection::plain(stage.http).await, "ws.test").await, 1_000_000).await;
}

#[tokio::test]
async fn an_endpoint_that_speaks_no_tls_gets_no_request() {
    let plain = crate::upstream::hello().await;
    let stage = Stage::new([]).await;
    stage.apply(route_for_everything(plain.address).into_iter().chain([settings(json!({"scheme": "https"}))]));
    assert_eq!(status(&stage, "a.test").await, 502);
    assert_eq!(plain.seen().len(), 0);
}

/// Cases 40 and 41 of APISIX's suite for routes.
#[tokio::test]
async fn a_service_says_by_its_app_protocol_that_tls_is_spoken() {
    let upstream = serve(server_tls(&["a.test"], &["http/1.1"], None), answer_with_echo).await;
    let stage = Stage::new([]).await;
    stage.apply(route_for_everything(upstream.address));
    let service = |app_protocol: &str| {
        let [mut service, ..] = route_for_everything(upstream.address);
        service["spec"]["ports"][0]["appProtocol"] = app_protocol.into();
        service
    };
    assert_eq!(status(&stage, "a.test").await, 502, "plain text");
    for app_protocol in ["https", "wss", "kubernetes.io/wss"] {
        stage.apply([service(app_protocol)]);
        assert_eq!(status(&stage, "a.test").await, 200, "{app_protocol}");
        assert_eq!(upstream.seen().pop().unwrap().sni.as_deref(), Some("a.test"));
        echoes(websocket(Connection::plain(stage.http).await, "a.test").await, 100_000).await;
        let problems = stage.problems_of(Kind::ApisixRoute, "upstream");
        assert!(problems.len() == 1 && problems[0].contains("certificates are not verified"), "{problems:?}");
    }
    stage.apply([settings(json!({"retries": 0}))]);
    assert_eq!(status(&stage, "a.test").await, 200, "an ApisixUpstream that says nothing of it");
    stage.apply([settings(json!({"scheme": "http"}))]);
    assert_eq!(status(&stage, "a.test").await, 502, "one that does comes first");
    stage.delete(Kind::ApisixUpstream, "upstream");
    for app_protocol in ["http", "kubernetes.io/ws", "example.com/other"] {
        stage.apply([service(app_protocol)]);
        assert_eq!(status(&stage, "a.test").await, 502, "{app_protocol}");
    }
}
