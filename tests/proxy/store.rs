//! Resources of the Admin API in a store, and what becomes of requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use portcullis::keyring::Keyring;
use portcullis::model::Kind;
use portcullis::proxy::Settings;
use portcullis::source::apisix;
use portcullis::store::{Committed, Memory, Operation, Store, Transaction};
use portcullis::world::Change;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::Connection;
use crate::objects;
use crate::pki::{Certified, PKI};
use crate::stage::Stage;
use crate::tls_upstream::{certificate, serve, server_tls};
use crate::upstream::{self, Recorder, text};

/// A proxy that serves what is in a store, and nothing else.
struct Served {
    changes: mpsc::Receiver<Change>,
    keyring: Arc<Keyring>,
    memory: Memory,
    stage: Stage,
}

impl Served {
    async fn new() -> Self {
        Self::on(Stage::new([]).await).await
    }

    async fn on(stage: Stage) -> Self {
        stage.delete(Kind::ApisixRoute, "upstream");
        let (sender, changes) = mpsc::channel(8);
        let (keyring, memory) = (Arc::new(Keyring::new(&["0123456789abcdef".into()]).unwrap()), Memory::default());
        tokio::spawn(apisix::run(Store::Memory(memory.clone()), keyring.clone(), "/apisix".into(), sender));
        let mut served = Self { changes, keyring, memory, stage };
        served.follow().await;
        served
    }

    /// Takes in what the store tells next.
    async fn follow(&mut self) {
        let change = timeout(Duration::from_secs(30), self.changes.recv()).await.expect("the store says nothing");
        self.stage.change(change);
    }

    async fn commit(&mut self, operations: Vec<Operation>) {
        let transaction = Transaction { guards: vec![], operations };
        assert!(matches!(self.memory.commit(&transaction), Committed::Done(_)));
        self.follow().await;
    }

    /// Writes these in one transaction.
    async fn put(&mut self, resources: &[(&str, Value)]) {
        let put = |(key, value): &(&str, Value)| Operation::Put {
            key: (*key).into(),
            ttl: None,
            value: value.to_string().into(),
        };
        self.commit(resources.iter().map(put).collect()).await;
    }

    async fn delete(&mut self, key: &str) {
        self.commit(vec![Operation::Delete(key.into())]).await;
    }

    /// What a new plain connection gets: the body of a 200, else the status.
    async fn get(&self, host: &str, target: &str) -> String {
        shown(&Connection::plain(self.stage.http).await.get(host, target).await)
    }

    /// As [`Self::get`], over TLS.
    async fn get_tls(&self, host: &str, target: &str, certificate: Option<&Certified>) -> String {
        shown(&Connection::secure(self.stage.https, "http/1.1", host, certificate).await.get(host, target).await)
    }
}

fn shown(answer: &crate::client::Answer) -> String {
    if answer.status == 200 {
        String::from_utf8(answer.body.to_vec()).unwrap()
    } else {
        answer.status.as_str().to_owned()
    }
}

/// An upstream that answers with its name.
async fn named(name: &'static str) -> Recorder {
    upstream::serve(move |_| async move { Response::new(text(name)) }).await
}

fn nodes(address: SocketAddr) -> Value {
    json!({"type": "roundrobin", "nodes": {address.to_string(): 1}})
}

fn ssl(hosts: &[&str]) -> Value {
    let server = PKI.servers.issue(hosts, ExtendedKeyUsagePurpose::ServerAuth);
    json!({"snis": hosts, "cert": server.pem, "key": server.key.serialize_pem()})
}

#[tokio::test]
async fn a_change_in_the_store_is_served() {
    let (one, other) = (named("one").await, named("other").await);
    let mut served = Served::new().await;
    assert_eq!(served.get("a.test", "/").await, "404");
    served.put(&[("routes/1", json!({"uri": "/*", "host": "a.test", "upstream_id": 1}))]).await;
    assert_eq!(served.get("a.test", "/").await, "503");
    assert_eq!(served.stage.all_problems(), ["/apisix/routes/1: upstream_id: /apisix/upstreams/1 does not exist"]);
    served.put(&[("upstreams/1", nodes(one.address))]).await;
    assert_eq!(served.get("a.test", "/").await, "one");
    assert_eq!(served.stage.all_problems(), [""; 0]);
    served.put(&[("upstreams/1", nodes(other.address))]).await;
    assert_eq!(served.get("a.test", "/").await, "other");
    assert!(
        served.stage.snapshot().dump().routes[0].starts_with("a.test /* -> /apisix/routes/1 1*/apisix/upstreams/1[")
    );
    served.delete("routes/1").await;
    assert_eq!(served.get("a.test", "/").await, "404");
}

#[tokio::test]
async fn a_bad_resource_beside_good_ones_is_reported_and_blocks_none() {
    let one = named("one").await;
    let mut served = Served::new().await;
    served
        .put(&[
            ("routes/good", json!({"uri": "/good", "upstream": nodes(one.address)})),
            ("routes/bad", json!({"uri": "/bad", "plugins": {"key-auth": {}}, "upstream": nodes(one.address)})),
            ("upstreams/bad", json!({"nodes": {"127.0.0.1:80": 1}, "scheme": "kafka"})),
            ("ssls/good", ssl(&["good.test"])),
            ("ssls/bad", json!({"sni": "bad.test", "cert": "-----", "key": "-----"})),
        ])
        .await;
    served.put(&[("routes/worse", json!("no object"))]).await;
    assert_eq!(served.get("x.test", "/good").await, "one");
    assert_eq!(served.get("x.test", "/bad").await, "404");
    assert_eq!(served.get_tls("good.test", "/good", None).await, "one");
    let problems = served.stage.all_problems().join("\n");
    for said in [
        "/apisix/routes/bad: plugins: unknown plugin [key-auth]",
        "/apisix/routes/worse: value: must be an object",
        "/apisix/upstreams/bad: scheme: `kafka` is not served",
        "/apisix/ssls/bad: cert: ",
    ] {
        assert!(problems.contains(said), "{said} is not in\n{problems}");
    }
    assert!(!problems.contains("good"), "{problems}");
}

#[tokio::test]
async fn a_service_gives_its_routes_hosts_and_a_prefix_that_may_be_taken_off() {
    let upstream = named("up").await;
    let mut served = Served::new().await;
    let service = |strip| json!({"hosts": ["s.test"], "path_prefix": "/v1", "strip_path_prefix": strip, "upstream": nodes(upstream.address)});
    served
        .put(&[
            ("services/1", service(true)),
            ("routes/exact", json!({"uri": "/anything", "methods": ["GET"], "service_id": 1})),
            ("routes/below", json!({"uri": "/below/*", "service_id": "1"})),
        ])
        .await;
    for (host, target, answer) in [
        ("s.test", "/v1/anything", "up"),
        ("s.test", "/v1/anything?a=/v1/b", "up"),
        ("s.test", "/v1/below/x%2fy", "up"),
        ("s.test", "/v1/below//x", "up"),
        ("s.test", "/anything", "404"),
        ("s.test", "/v1/anything/", "404"),
        ("s.test", "/v1anything", "404"),
        ("other.test", "/v1/anything", "404"),
    ] {
        assert_eq!(served.get(host, target).await, answer, "{host}{target}");
    }
    let targets = || upstream.seen().into_iter().map(|seen| seen.target).collect::<Vec<_>>();
    assert_eq!(targets(), ["/anything", "/anything?a=/v1/b", "/below/x%2Fy", "/below//x"]);
    served.put(&[("services/1", service(false))]).await;
    assert_eq!(served.get("s.test", "/v1/anything").await, "up");
    assert_eq!(targets().pop().unwrap(), "/v1/anything");
}

#[tokio::test]
async fn routes_are_told_apart_by_their_conditions() {
    let (json_, text_, rest) = (named("json").await, named("text").await, named("rest").await);
    let mut served = Served::new().await;
    let route = |vars: Value, priority: i64, upstream: &Recorder| json!({"uri": "/*", "priority": priority, "vars": vars, "upstream": nodes(upstream.address)});
    served
        .put(&[
            (
                "routes/1",
                route(json!([["arg_f", "==", "json"], ["remote_addr", "ipmatch", ["127.0.0.0/8"]]]), 2, &json_),
            ),
            (
                "routes/2",
                route(
                    json!(["OR", ["arg_f", "in", ["text", "txt"]], ["!AND", ["arg_n", "<", 5], ["http_x", "~~", "."]]]),
                    1,
                    &text_,
                ),
            ),
            ("routes/3", route(json!([]), 0, &rest)),
        ])
        .await;
    assert_eq!(served.get("a.test", "/?f=json").await, "json");
    assert_eq!(served.get("a.test", "/?f=txt").await, "text");
    assert_eq!(served.get("a.test", "/?n=9").await, "text");
    let mut client = Connection::plain(served.stage.http).await;
    let request = client.request("GET", "a.test", "/?n=4").header("x", "1").body(text("")).unwrap();
    assert_eq!(shown(&crate::client::answer(client.send(request).await.unwrap()).await), "rest");
}

#[tokio::test]
async fn nodes_of_a_lower_priority_wait_for_those_above() {
    let (first, second) = (named("first").await, named("second").await);
    let mut served = Served::new().await;
    let node = |address: SocketAddr, priority: i32| json!({"host": address.ip().to_string(), "port": address.port(), "weight": 1, "priority": priority});
    let dead = SocketAddr::from(([127, 0, 0, 1], 1));
    let route = |nodes: Value| json!({"uri": "/*", "upstream": {"nodes": nodes}});
    served.put(&[("routes/1", route(json!([node(first.address, 0), node(second.address, -1)])))]).await;
    for _ in 0..4 {
        assert_eq!(served.get("a.test", "/").await, "first");
    }
    served.put(&[("routes/1", route(json!([node(dead, 1), node(second.address, -1)])))]).await;
    assert_eq!(served.get("a.test", "/").await, "second");
}

#[tokio::test]
async fn an_ssl_lets_in_clients_of_its_authority_as_deep_as_it_says() {
    let upstream = named("up").await;
    let mut served = Served::new().await;
    let with_clients = |depth: i64| {
        let mut ssl = ssl(&["m.test"]);
        ssl["key"] = served.keyring.seal(ssl["key"].as_str().unwrap()).into();
        ssl["client"] =
            json!({"ca": PKI.clients.certificate.pem(), "depth": depth, "skip_mtls_uri_regex": ["^/open$"]});
        ssl
    };
    let (shallow, deep) = (with_clients(0), with_clients(10));
    let route = json!({"uri": "/*", "upstream": nodes(upstream.address)});
    served.put(&[("ssls/1", shallow), ("ssls/2", ssl(&["open.test"])), ("routes/1", route)]).await;
    let (client, stranger, deep_client) = (PKI.clients.client(), PKI.others.client(), PKI.clients.deep_client());
    assert_eq!(served.get_tls("m.test", "/", Some(&client)).await, "up");
    assert_eq!(served.get_tls("m.test", "/", None).await, "400");
    assert_eq!(served.get_tls("m.test", "/open", None).await, "up");
    assert_eq!(served.get_tls("m.test", "/", Some(&stranger)).await, "400");
    assert_eq!(served.get_tls("m.test", "/", Some(&deep_client)).await, "400");
    assert_eq!(served.get_tls("open.test", "/", None).await, "up");
    served.put(&[("ssls/1", deep)]).await;
    assert_eq!(served.get_tls("m.test", "/", Some(&deep_client)).await, "up");
    // The host stays claimed by an ssl that cannot be read any more, and refuses everyone.
    served.put(&[("ssls/1", json!({"snis": ["m.test"], "nonsense": 1}))]).await;
    let config = crate::client::tls_config("http/1.1", Some(&client));
    assert!(crate::client::tls(served.stage.https, "m.test", config).await.is_err());
    assert_ne!(served.get("m.test", "/").await, "up");
    assert_eq!(served.get_tls("open.test", "/", None).await, "up");
}

#[tokio::test]
async fn an_upstream_is_shown_our_certificate_from_its_own_fields_or_from_an_ssl() {
    let tls = server_tls(&["u.test"], &["http/1.1"], Some(&PKI.clients));
    let upstream = serve(tls, |_| async { Response::new(text("mtls upstream")) }).await;
    let mut served = Served::new().await;
    let client = PKI.clients.client();
    let key = served.keyring.seal(&client.key.serialize_pem());
    let to = |tls: Value| {
        json!({"uri": "/*", "upstream": {
            "scheme": "https", "nodes": {upstream.address.to_string(): 1}, "tls": tls,
        }})
    };
    served.put(&[("routes/1", to(json!({"client_cert": client.pem, "client_key": key})))]).await;
    assert_eq!(served.get("a.test", "/").await, "mtls upstream");
    served.put(&[("routes/1", to(json!({})))]).await;
    assert_eq!(served.get("a.test", "/").await, "502", "the upstream asks for a certificate");
    served.put(&[("routes/1", to(json!({"client_cert_id": "c"})))]).await;
    assert_eq!(served.get("a.test", "/").await, "503");
    let problems = served.stage.all_problems().join("\n");
    assert!(
        problems.contains("/apisix/routes/1: upstream.tls.client_cert: /apisix/ssls/c does not exist"),
        "{problems}"
    );
    served.put(&[("ssls/c", json!({"type": "client", "cert": client.pem, "key": client.key.serialize_pem()}))]).await;
    assert_eq!(served.get("a.test", "/").await, "mtls upstream");
    let other = PKI.clients.client();
    served.put(&[("ssls/c", json!({"type": "client", "cert": other.pem, "key": other.key.serialize_pem()}))]).await;
    assert_eq!(served.get("a.test", "/").await, "mtls upstream");
    let shown: Vec<_> = upstream.seen().into_iter().filter_map(|seen| seen.client).collect();
    assert_eq!(shown, [client.chain[0].clone(), client.chain[0].clone(), other.chain[0].clone()]);
}

#[tokio::test]
async fn a_stream_route_leads_a_port_to_its_upstream() {
    let (upstream, other) = (named("up").await, named("other").await);
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings {
        http: vec![loopback],
        https: vec![loopback],
        stream_tcp: vec![loopback],
        stream_tls: vec![loopback],
        ..Settings::default()
    };
    let mut served = Served::on(Stage::with(settings, []).await).await;
    let (tcp, tls) = (served.stage.streams[0], served.stage.streams[1]);
    served
        .put(&[
            ("stream_routes/0", json!({"server_port": tcp.port(), "upstream": nodes(other.address)})),
            (
                "stream_routes/1",
                json!({"server_port": tcp.port(), "remote_addr": "127.0.0.0/8", "upstream": nodes(upstream.address)}),
            ),
            ("stream_routes/2", json!({"sni": "s.test", "upstream_id": 1})),
            ("upstreams/1", nodes(other.address)),
            ("ssls/1", ssl(&["s.test"])),
        ])
        .await;
    assert_eq!(served.stage.all_problems(), [""; 0]);
    assert_eq!(shown(&Connection::plain(tcp).await.get("any.test", "/").await), "up");
    assert_eq!(shown(&Connection::secure(tls, "http/1.1", "s.test", None).await.get("any.test", "/").await), "other");
}

#[tokio::test]
async fn the_oldest_object_owns_a_host_whoever_wrote_it() {
    let upstream = named("up").await;
    let mut served = Served::new().await;
    let route = json!({"uri": "/*", "upstream": nodes(upstream.address)});
    let born = |mut ssl: Value, seconds: i64| {
        ssl["create_time"] = seconds.into();
        ssl
    };
    let client = PKI.clients.client();
    let server = PKI.servers.issue(&["a.test"], ExtendedKeyUsagePurpose::ServerAuth);
    let mtls = objects::born(objects::client_tls("mtls", &["a.test"], objects::trusts("clients")), 0); // in 2026
    served.stage.apply([certificate("server", &server), mtls]);
    served.put(&[("routes/1", route), ("ssls/younger", born(ssl(&["a.test", "b.test"]), 4_000_000_000))]).await;
    assert_eq!(served.get_tls("a.test", "/", None).await, "400");
    assert_eq!(served.get_tls("a.test", "/", Some(&client)).await, "up");
    assert_eq!(served.get_tls("b.test", "/", None).await, "up");
    let conflict = "/apisix/ssls/younger: snis: a.test belongs to ApisixTls default/mtls; this one is not used for it";
    assert_eq!(served.stage.all_problems(), [conflict]);
    served.put(&[("ssls/older", born(ssl(&["a.test"]), 1))]).await;
    assert_eq!(served.get_tls("a.test", "/", None).await, "up");
    let problems = served.stage.all_problems();
    let conflict =
        "ApisixTls default/mtls: spec.hosts: a.test belongs to /apisix/ssls/older; this one is not used for it";
    assert!(problems.iter().any(|problem| problem == conflict), "{problems:?}");
}
