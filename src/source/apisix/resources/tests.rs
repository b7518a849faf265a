use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::model::{HostPattern, Reason};
use crate::store::{Event, Listing};
use crate::world::World;

/// A store's resources, and the world that they are told to.
struct Bench {
    resources: Resources,
    revision: u64,
    world: World,
}

const OWN: &str = "0123456789abcdef";

fn keyring() -> Keyring {
    Keyring::new(&[OWN.to_owned()]).unwrap()
}

impl Bench {
    fn new() -> Self {
        let resources = Resources::new("/apisix".into(), Arc::new(keyring()));
        let mut bench = Self { resources, revision: 0, world: World::awaiting(&[SourceId::Store]) };
        bench.all(&[]);
        bench
    }

    fn entry(&mut self, value: &str) -> Entry {
        self.revision += 1;
        Entry { value: value.into(), created: self.revision, modified: self.revision }
    }

    /// Lists these and nothing else.
    fn all(&mut self, resources: &[(&str, Value)]) {
        let mut listing = Listing::default();
        for (key, value) in resources {
            let entry = self.entry(&value.to_string());
            listing.entries.insert((*key).into(), entry);
        }
        let change = self.resources.take(Update::All(listing));
        self.world.apply(change);
    }

    /// Tells of one text; says how many objects that concerned.
    fn write(&mut self, key: &str, text: &str) -> usize {
        let entry = self.entry(text);
        self.tell(Event { key: key.into(), entry: Some(entry) })
    }

    fn put(&mut self, key: &str, value: &Value) -> usize {
        self.write(key, &value.to_string())
    }

    fn delete(&mut self, key: &str) -> usize {
        self.tell(Event { key: key.into(), entry: None })
    }

    fn tell(&mut self, event: Event) -> usize {
        let change = self.resources.take(Update::Events(vec![event]));
        let Change::Together(changes) = &change else { panic!("{change:?}") };
        let count = changes.len();
        self.world.apply(change);
        count
    }

    fn route(&self, id: &str) -> Option<Result<model::Route, Invalid>> {
        let key = ObjectKey::new("/apisix", format!("routes/{id}"));
        self.world.routes().find(|(known, ..)| **known == key).map(|(_, _, route)| route.value.clone())
    }

    fn rule(&self, id: &str) -> model::Rule {
        self.route(id).unwrap().unwrap().rules[0].clone()
    }

    /// The fault of a route.
    fn fault(&self, id: &str) -> Invalid {
        self.route(id).unwrap().unwrap_err()
    }

    fn upstream(&self, name: &str) -> Option<Result<model::SettingsByPort, Invalid>> {
        let upstream = self.world.upstream(&ObjectKey::new("/apisix", name))?;
        Some(upstream.value.clone().unwrap().settings)
    }

    fn tls(&self, id: &str) -> Option<Result<model::TlsHost, Invalid>> {
        let key = ObjectKey::new("/apisix", format!("ssls/{id}"));
        self.world.tls().find(|(known, ..)| **known == key).map(|(_, _, tls)| tls.value.clone())
    }

    fn secret(&self, name: &str, entry: &str) -> Option<Bytes> {
        let object = model::ObjectRef { kind: model::Kind::Secret, key: ObjectKey::new("/apisix", name) };
        self.world.data(&object)?.value.as_ref().unwrap().get(entry).cloned()
    }
}

fn nodes() -> Value {
    json!({"nodes": {"127.0.0.1:80": 1}})
}

#[test]
fn the_first_list_completes_the_world_and_every_other_replaces() {
    let mut bench = Bench::new();
    assert!(bench.world.is_complete());
    bench.all(&[
        ("routes/1", json!({"uri": "/a", "upstream": nodes()})),
        ("routes/", json!("init_dir")),
        ("data_plane/server_info/1", json!({})),
    ]);
    assert!(bench.route("1").is_some() && bench.upstream("routes/1").is_some());
    bench.all(&[("routes/2", json!({"uri": "/b", "upstream_id": 1}))]);
    assert!(bench.route("1").is_none() && bench.upstream("routes/1").is_none());
    assert_eq!(&*bench.rule("2").upstreams[0].name, "upstreams/1");
}

#[test]
fn a_route_is_read_with_all_its_conditions() {
    let mut bench = Bench::new();
    bench.put(
        "routes/1",
        &json!({
            "id": "1", "name": "n", "desc": "d", "labels": {"a": "b"}, "create_time": 7, "update_time": 8,
            "uris": ["/a", "/b/*"], "hosts": ["A.test", "*.b.test"], "methods": ["GET", "PUT"],
            "remote_addrs": ["10.0.0.0/8"], "vars": [["arg_x", "==", "1"]], "priority": 3, "plugins": {},
            "timeout": {"connect": 0.5, "send": 1, "read": 2}, "enable_websocket": true, "status": 1,
            "upstream_id": "u",
        }),
    );
    let rule = bench.rule("1");
    assert_eq!(rule.paths.iter().map(ToString::to_string).collect::<Vec<_>>(), ["/a", "/b/*"]);
    assert_eq!(rule.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.test", "*.b.test"]);
    assert!(rule.methods.contains("PUT") && !rule.methods.contains("POST"));
    assert_eq!((rule.conditions.networks.len(), rule.conditions.expressions.len()), (1, 1));
    assert_eq!((rule.priority, rule.websocket, rule.strip), (3, true, None));
    assert_eq!(rule.timeouts.unwrap().connect.as_millis(), 500);
    assert_eq!((&*rule.upstreams[0].name, &*rule.upstreams[0].field), ("upstreams/u", "upstream_id"));
    let meta = bench.world.routes().next().unwrap().2.meta;
    assert_eq!((meta.created, meta.generation), (7, 1));
}

#[test]
fn a_route_takes_from_its_service_what_it_has_not_and_follows_it() {
    let mut bench = Bench::new();
    bench.put("routes/1", &json!({"uri": "/anything", "service_id": 5}));
    assert_eq!(bench.fault("1").field, "service_id");
    assert!(bench.fault("1").message.contains("/apisix/services/5 does not exist"));
    bench.put(
        "routes/2",
        &json!({"uri": "/*", "hosts": ["own.test"], "service_id": "5", "upstream_id": 9,
        "enable_websocket": false}),
    );
    bench.put("routes/3", &json!({"uri": "/other", "upstream_id": 9}));
    let service = json!({
        "hosts": ["s.test"], "path_prefix": "/v1/", "strip_path_prefix": true, "enable_websocket": true,
        "upstream": nodes(),
    });
    assert_eq!(bench.put("services/5", &service), 3, "the service's upstream and its two routes");
    let (first, second) = (bench.rule("1"), bench.rule("2"));
    assert_eq!(first.hosts, [HostPattern::parse("s.test").unwrap()]);
    assert_eq!((first.paths[0].to_string(), first.strip.as_deref()), ("/v1/anything".to_owned(), Some("/v1")));
    assert_eq!((&*first.upstreams[0].name, &*first.upstreams[0].field), ("services/5", "service_id"));
    assert!(first.websocket && !second.websocket);
    assert_eq!(second.hosts, [HostPattern::parse("own.test").unwrap()]);
    assert_eq!((second.paths[0].to_string(), &*second.upstreams[0].name), ("/v1/*".to_owned(), "upstreams/9"));
    assert!(bench.upstream("services/5").unwrap().is_ok());
    bench.put("routes/4", &json!({"uri": "/../admin/*", "service_id": 5}));
    assert_eq!(bench.fault("4").field, "uri", "nothing leads out of the prefix");
    bench.delete("routes/4");
    bench.put("services/5", &json!({"plugins": {"key-auth": {}}, "upstream": nodes()}));
    assert!(
        bench.fault("1").message.ends_with("is refused: plugins: unknown plugin [key-auth]"),
        "{}",
        bench.fault("1")
    );
    assert_eq!(bench.upstream("services/5").unwrap().unwrap_err().field, "plugins");
    bench.put("services/5", &json!({"upstream": "x"}));
    assert_eq!(bench.upstream("services/5").unwrap().unwrap_err().field, "upstream");
    bench.put("routes/2", &json!({"uri": "/*", "upstream_id": 9}));
    assert_eq!(bench.delete("services/5"), 2, "its upstream and the one route that is left");
    assert!(bench.fault("1").message.contains("does not exist"));
    assert!(bench.upstream("services/5").is_none());
    assert_eq!(bench.delete("routes/1"), 1);
    assert!(bench.route("1").is_none());
}

#[test]
fn what_cannot_be_honoured_refuses_the_route_and_names_the_field() {
    let mut bench = Bench::new();
    for (route, field, message) in [
        (json!({"uri": "/a"}), "upstream", "must be set"),
        (json!({"upstream_id": 1}), "uri", "must be set"),
        (json!({"uri": "a", "upstream_id": 1}), "uri", "must start with `/`"),
        (json!({"uris": ["/a", "/*/b"], "upstream_id": 1}), "uris[1]", "before its end"),
        (json!({"uri": "/a", "host": "a*b", "upstream_id": 1}), "host", "no host"),
        (json!({"uri": "/a", "hosts": [], "upstream_id": 1}), "hosts", "must not be empty"),
        (json!({"uri": "/a", "uris": ["/b"], "upstream_id": 1}), "uri", "beside `uris`"),
        (json!({"uri": "/a", "methods": ["get"], "upstream_id": 1}), "methods[0]", "is none of"),
        (json!({"uri": "/a", "remote_addr": "x", "upstream_id": 1}), "remote_addr", "no IP address"),
        (
            json!({"uri": "/a", "plugins": {"limit-count": {}}, "upstream_id": 1}),
            "plugins",
            "unknown plugin [limit-count]",
        ),
        (json!({"uri": "/a", "script": "x", "upstream_id": 1}), "script", "not served"),
        (json!({"uri": "/a", "filter_func": "x", "upstream_id": 1}), "filter_func", "not served"),
        (json!({"uri": "/a", "plugin_config_id": 1, "upstream_id": 1}), "plugin_config_id", "not served"),
        (json!({"uri": "/a", "nonsense": 1, "upstream_id": 1}), "nonsense", "unknown field"),
        (json!({"uri": "/a", "status": 2, "upstream_id": 1}), "status", "neither 0 nor 1"),
        (json!({"uri": "/a", "priority": "1", "upstream_id": 1}), "priority", "expected i64"),
        (json!({"uri": "/a", "upstream_id": {}}), "upstream_id", "must be an id"),
        (json!({"uri": "/a", "timeout": {"read": 0}, "upstream_id": 1}), "timeout.read", "seconds"),
    ] {
        bench.put("routes/1", &route);
        let invalid = bench.fault("1");
        assert_eq!(invalid.field, field, "{route}: {invalid}");
        assert!(invalid.message.contains(message), "{route}: {invalid}");
    }
    bench.write("routes/1", "{");
    assert!(bench.fault("1").message.contains("is no JSON"));
    bench.put("routes/1", &json!({"uri": "/a", "upstream_id": 1, "status": 0, "plugins": {"x": {}}}));
    assert!(bench.route("1").is_none(), "it is switched off");
    bench.put("routes/1", &json!({"uri": "/a", "upstream_id": 1, "plugins": {"x": {"_meta": {"disable": true}}}}));
    assert!(bench.route("1").unwrap().is_ok());
}

#[test]
fn a_stream_route_is_read_with_its_service() {
    use crate::model::StreamBackend;
    let mut bench = Bench::new();
    let stream = |bench: &Bench| {
        let key = ObjectKey::new("/apisix", "stream_routes/1");
        let (_, _, route) = bench.world.routes().find(|(known, ..)| **known == key).unwrap();
        route.value.clone().map(|route| route.streams[0].clone())
    };
    bench.put("stream_routes/1", &json!({"server_port": 9100, "sni": "a.test", "upstream_id": 3}));
    let rule = stream(&bench).unwrap();
    let StreamBackend::Upstream(upstream) = &rule.backend else { panic!("{rule:?}") };
    assert_eq!((rule.port, rule.protocol, &*upstream.name), (Some(9100), None, "upstreams/3"));
    assert_eq!(rule.host, HostPattern::parse("a.test").unwrap());
    bench.put("stream_routes/1", &json!({"service_id": 3}));
    assert_eq!(stream(&bench).unwrap_err().field, "service_id");
    bench.put("services/3", &json!({"upstream": nodes()}));
    let rule = stream(&bench).unwrap();
    let StreamBackend::Upstream(upstream) = &rule.backend else { panic!("{rule:?}") };
    assert_eq!((rule.port, &*upstream.name), (None, "services/3"));
    for (route, field) in [
        (json!({"remote_addr": "10.0.0.1/8", "upstream_id": 1}), "remote_addr"),
        (json!({"server_addr": "10.0.0.1", "upstream_id": 1}), "server_addr"),
        (json!({"protocol": {"name": "redis"}, "upstream_id": 1}), "protocol"),
        (json!({"plugins": {"mqtt-proxy": {}}, "upstream_id": 1}), "plugins"),
        (json!({"server_port": 0, "upstream_id": 1}), "server_port"),
        (json!({"sni": "*", "upstream_id": 1}), "sni"),
        (json!({"server_port": 9100}), "upstream"),
    ] {
        bench.put("stream_routes/1", &route);
        assert_eq!(stream(&bench).unwrap_err().field, field, "{route}");
    }
    bench.put("stream_routes/1", &json!({"server_port": 9100, "remote_addr": "10.0.0.0/8", "upstream": nodes()}));
    assert_eq!(stream(&bench).unwrap().clients[0].to_string(), "10.0.0.0/8");
    assert!(bench.upstream("stream_routes/1").is_some());
}

#[test]
fn an_upstream_is_read_whole() {
    use crate::model::{Balancing, ExternalName, HashKey, PassHost, VerifyServer};
    let mut bench = Bench::new();
    bench.put(
        "upstreams/1",
        &json!({
            "type": "chash", "hash_on": "header", "key": "X-User", "scheme": "https", "pass_host": "rewrite",
            "upstream_host": "u.test", "retries": 2, "retry_timeout": 1.5,
            "timeout": {"connect": 1, "send": 2, "read": 0.25},
            "keepalive_pool": {"size": 5, "idle_timeout": 3, "requests": 10},
            "tls": {"client_cert_id": 7, "verify": true},
            "checks": {"active": {"http_path": "/up", "timeout": 0.5, "healthy": {"interval": 2, "successes": 1}},
                       "passive": {"unhealthy": {"http_statuses": [500]}}},
            "nodes": [{"host": "A.test", "port": 8080, "weight": 3, "priority": -1, "metadata": {"a": 1}},
                      {"host": "::1", "weight": 0}],
        }),
    );
    let upstream = bench.upstream("upstreams/1").unwrap().unwrap();
    let settings = upstream.default;
    assert_eq!(settings.balancing, Balancing::Hash(HashKey::Header("x-user".into())));
    assert_eq!(settings.host, PassHost::Rewrite("u.test".into()));
    assert_eq!((settings.retries, settings.retry_timeout.unwrap().as_millis()), (Some(2), 1500));
    assert_eq!(settings.timeouts.unwrap().read.as_millis(), 250);
    assert_eq!((settings.keepalive.size, settings.keepalive.requests), (5, 10));
    let tls = settings.tls.unwrap();
    assert_eq!((tls.client, tls.verify), (Some(ObjectKey::new("/apisix", "ssls/7")), VerifyServer::SystemRoots));
    let health = settings.health.unwrap();
    assert_eq!((&*health.active.path, health.active.timeout.as_millis()), ("/up", 500));
    assert_eq!(health.active.healthy_interval.as_secs(), 2);
    assert_eq!(health.passive.as_ref().unwrap().unhealthy, [500].into());
    let shown: Vec<_> = upstream.nodes.iter().map(|node| (&node.name, node.port, node.priority, node.weight)).collect();
    let name = |name: &str| ExternalName::Domain(name.into());
    assert_eq!(shown, [(&name("a.test"), Some(8080), -1, 3), (&name("::1"), None, 0, 0)]);
    bench.put("upstreams/1", &json!({"nodes": {"[::1]:81": 1, "b.test": 2, "127.0.0.1:80": 0}}));
    let upstream = bench.upstream("upstreams/1").unwrap().unwrap();
    assert_eq!(
        upstream.nodes.iter().map(|node| (node.name.clone(), node.port, node.weight)).collect::<Vec<_>>(),
        [(name("127.0.0.1"), Some(80), 0), (name("::1"), Some(81), 1), (name("b.test"), None, 2)],
    );
}

#[test]
fn what_cannot_be_honoured_refuses_the_upstream_and_names_the_field() {
    let mut bench = Bench::new();
    for (upstream, field, message) in [
        (json!({}), "nodes", "must be set"),
        (json!({"nodes": 1}), "nodes", "must be a map"),
        (json!({"nodes": {"a:0": 1}}), "nodes[a:0]", "between 1 and 65535"),
        (json!({"nodes": {"a:b": 1}}), "nodes[a:b]", "between 1 and 65535"),
        (json!({"nodes": {"a:80": -1}}), "nodes[a:80]", "no weight"),
        (json!({"nodes": {"a b:80": 1}}), "nodes[a b:80]", "neither a domain name"),
        (json!({"nodes": [{"host": "a", "weight": 1, "port": 65536}]}), "nodes[0].port", "between 1 and 65535"),
        (json!({"nodes": [{"host": "a", "port": 1}]}), "nodes[0]", "missing field `weight`"),
        (json!({"nodes": {}, "service_name": "a", "discovery_type": "dns"}), "discovery_type", "discovery"),
        (json!({"nodes": {}, "type": "x"}), "type", "is none of"),
        (json!({"nodes": {}, "type": "chash", "hash_on": "consumer"}), "hash_on", "not served"),
        (json!({"nodes": {}, "type": "chash"}), "key", "must name a variable"),
        (json!({"nodes": {}, "scheme": "kafka"}), "scheme", "not served"),
        (json!({"nodes": {}, "pass_host": "rewrite"}), "upstream_host", "is no host"),
        (json!({"nodes": {}, "retries": -1}), "retries", "negative"),
        (json!({"nodes": {}, "timeout": {"send": -1}}), "timeout.send", "seconds"),
        (json!({"nodes": {}, "keepalive_pool": {"size": 0}}), "keepalive_pool.size", "at least 1"),
        (json!({"nodes": {}, "checks": {"passive": {}}}), "checks.active", "is missing"),
        (
            json!({"nodes": {}, "checks": {"active": {"unhealthy": {"http_statuses": [1]}}}}),
            "checks.active.unhealthy.http_statuses",
            "no status",
        ),
        (json!({"nodes": {}, "checks": {"active": {"timeout": 0}}}), "checks.active.timeout", "seconds"),
        (json!({"nodes": {}, "tls": {"client_cert_id": 1}}), "tls.client_cert", "scheme of TLS"),
        (json!({"nodes": {}, "scheme": "https", "tls": {"client_cert": "x"}}), "tls.client_key", "beside client_cert"),
        (
            json!({"nodes": {}, "scheme": "https", "tls": {"client_cert": "x", "client_key": "%"}}),
            "tls.client_key",
            "keyring",
        ),
        (
            json!({"nodes": {}, "scheme": "https", "tls": {"client_cert": "$secret://a", "client_key": "-----"}}),
            "tls.client_cert",
            "is not served",
        ),
        (json!({"nodes": {}, "nonsense": 1}), "nonsense", "unknown field"),
    ] {
        bench.put("upstreams/1", &upstream);
        let invalid = bench.upstream("upstreams/1").unwrap().unwrap_err();
        assert_eq!(invalid.field, field, "{upstream}: {invalid}");
        assert!(invalid.message.contains(message), "{upstream}: {invalid}");
        bench.put("routes/1", &json!({"uri": "/a", "upstream": upstream}));
        let inside = bench.upstream("routes/1").unwrap().unwrap_err();
        assert_eq!(inside.field, format!("upstream.{field}"), "{upstream}: {inside}");
        assert!(bench.route("1").unwrap().is_ok(), "the route is not to blame");
    }
}

#[test]
fn a_certificate_inside_an_upstream_becomes_a_secret_and_goes_with_it() {
    let mut bench = Bench::new();
    let sealed = keyring().seal("-----KEY");
    for key in ["-----KEY", &sealed] {
        let tls = json!({"client_cert": "-----CERT", "client_key": key});
        bench.put("upstreams/1", &json!({"nodes": {}, "scheme": "https", "tls": tls}));
        assert_eq!(bench.secret("upstreams/1", "cert").unwrap(), "-----CERT");
        assert_eq!(bench.secret("upstreams/1", "key").unwrap(), "-----KEY");
    }
    bench.put("upstreams/1", &json!({"nodes": {}, "scheme": "https"}));
    assert_eq!(bench.secret("upstreams/1", "cert"), None);
}

#[test]
fn an_ssl_shows_its_certificates_and_lets_clients_in() {
    let mut bench = Bench::new();
    bench.put(
        "ssls/1",
        &json!({
            "snis": ["a.test", "*.b.test"], "cert": "-----A", "key": keyring().seal("-----KA"),
            "certs": ["-----B"], "keys": ["-----KB"],
            "client": {"ca": "-----CA", "depth": 10, "skip_mtls_uri_regex": ["/open.*"]},
            "ssl_protocols": ["TLSv1.3"],
        }),
    );
    let tls = bench.tls("1").unwrap().unwrap();
    assert_eq!(tls.hosts.len(), 2);
    let certificates = tls.certificates.clone().unwrap();
    assert_eq!(certificates.iter().map(|key| &*key.name).collect::<Vec<_>>(), ["ssls/1", "ssls/1/certs/0"]);
    assert_eq!(bench.secret("ssls/1", "key").unwrap(), "-----KA");
    assert_eq!(bench.secret("ssls/1/certs/0", "cert").unwrap(), "-----B");
    assert_eq!(bench.secret("ssls/1", "client.ca").unwrap(), "-----CA");
    let client = tls.client_auth.clone().unwrap().unwrap();
    assert_eq!((client.settings.depth, client.settings.skip.len()), (10, 1));
    assert_eq!(client.settings.failure, model::Failure::Page);
    assert_eq!(tls.protocols.unwrap().versions, model::TlsVersions::Tls13);
    bench.put("ssls/1", &json!({"sni": "a.test", "cert": "-----A", "key": "-----KA", "client": {"ca": "-----CA"}}));
    let tls = bench.tls("1").unwrap().unwrap();
    assert_eq!(tls.client_auth.unwrap().unwrap().settings.depth, 1);
    assert_eq!(bench.secret("ssls/1/certs/0", "cert"), None);
    bench.put("ssls/1", &json!({"sni": "a.test", "cert": "-----A", "key": "-----KA", "status": 0}));
    assert!(bench.tls("1").is_none() && bench.secret("ssls/1", "cert").is_none());
    bench.put("ssls/1", &json!({"type": "client", "cert": "-----A", "key": "-----KA"}));
    assert!(bench.tls("1").is_none() && bench.secret("ssls/1", "cert").is_some());
    bench.put("ssls/1", &json!({"type": "client", "cert": "-----A", "key": "%"}));
    assert_eq!(bench.tls("1").unwrap().unwrap_err().field, "key", "so it is reported");
}

#[test]
fn an_ssl_that_cannot_be_honoured_refuses_its_hosts_and_names_the_field() {
    let mut bench = Bench::new();
    let ssl = |more: Value| {
        let mut ssl = json!({"snis": ["a.test"], "cert": "-----A", "key": "-----K"});
        for (name, value) in more.as_object().unwrap() {
            ssl[name] = value.clone();
        }
        ssl
    };
    for (more, field) in [
        (json!({"nonsense": 1}), "nonsense"),
        (json!({"type": "x"}), "type"),
        (json!({"client": {}}), "client.ca"),
        (json!({"client": {"ca": "$env://CA"}}), "client.ca"),
        (json!({"client": {"ca": "-----", "depth": -1}}), "client.depth"),
        (json!({"client": {"ca": "-----", "depht": 1}}), "client.depht"),
        (json!({"client": {"ca": "-----", "desc": "d"}}), "client.desc"),
        (json!({"client": {"ca": "-----", "skip_mtls_uri_regex": ["("]}}), "client.skip_mtls_uri_regex[0]"),
    ] {
        bench.put("ssls/1", &ssl(more.clone()));
        let tls = bench.tls("1").unwrap().unwrap();
        assert_eq!(tls.hosts, [HostPattern::parse("a.test").unwrap()], "the host stays claimed");
        assert_eq!(tls.client_auth.unwrap_err().field, field, "{more}");
    }
    for (more, field) in [
        (json!({"cert": null}), "cert"),
        (json!({"key": "%"}), "key"),
        (json!({"certs": ["-----"], "keys": []}), "certs"),
        (json!({"certs": ["-----"], "keys": ["%"]}), "keys[0]"),
    ] {
        bench.put("ssls/1", &ssl(more.clone()));
        assert_eq!(bench.tls("1").unwrap().unwrap().certificates.unwrap_err().field, field, "{more}");
    }
    bench.put("ssls/1", &ssl(json!({"ssl_protocols": ["TLSv1.2", "TLSv1.1"]})));
    assert_eq!(bench.tls("1").unwrap().unwrap().protocols.unwrap_err().field, "ssl_protocols[1]");
    bench.put("ssls/1", &ssl(json!({"snis": ["*", "*test.com", "b.test"]})));
    let tls = bench.tls("1").unwrap().unwrap();
    assert_eq!(tls.unreadable_hosts.iter().map(|invalid| &*invalid.field).collect::<Vec<_>>(), ["snis[0]", "snis[1]"]);
    assert_eq!(tls.hosts, [HostPattern::parse("b.test").unwrap()]);
    let misplaced = ssl(json!({"client": "-----BEGIN PRIVATE KEY-----"}));
    bench.put("ssls/1", &misplaced);
    let invalid = bench.tls("1").unwrap().unwrap().client_auth.unwrap_err();
    assert_eq!((&*invalid.field, &*invalid.message), ("client", "must be an object"));
    bench.put("ssls/1", &ssl(json!({"certs": "-----BEGIN PRIVATE KEY-----"})));
    let invalid = bench.tls("1").unwrap().unwrap().client_auth.unwrap_err();
    assert_eq!((&*invalid.field, invalid.message.contains("PRIVATE")), ("certs", false), "{invalid}");
    bench.put("ssls/1", &json!({"cert": "-----A", "key": "-----K"}));
    assert_eq!(bench.tls("1").unwrap().unwrap_err().field, "snis");
    bench.write("ssls/1", "x");
    assert_eq!(bench.tls("1").unwrap().unwrap_err().field, "value");
}

#[test]
fn an_ssl_that_cannot_be_read_keeps_its_hosts_from_others_from_the_first_text_on() {
    let host = HostPattern::parse("x.a.test").unwrap();
    let pair = r#""cert":"-----A","key":"-----K","client":{"ca":"-----"}"#;
    for hosts in [
        r#""snis":"x.a.test""#,
        r#""snis":{"1":"x.a.test"}"#,
        r#""sni":["x.a.test"]"#,
        r#""sni":"x.a.test ""#,
        r#""sni":"x.a.test","snis":7"#,
    ] {
        let mut bench = Bench::new();
        bench.write("ssls/1", &format!("{{{hosts},{pair}}}"));
        let tls = bench.tls("1").unwrap().unwrap();
        assert_eq!(tls.hosts, [host.clone()], "{hosts}");
        assert!(!matches!(tls.client_auth, Ok(None)), "{hosts}");
    }
    for text in [
        format!("\u{feff}{{\"sni\":\"x.a.test\",{pair}}}"),
        format!("{{\"sni\":\"x.a.test\",{pair}}}}}"),
        format!("{{\"sni\" : \"x.a.test\",{pair}"),
        format!("{{\"snis\":[\"x.a.test\"],{pair},\"depth\":1e400}}"),
        format!("{{{pair},\"snis\":[\"x.a.test"),
        format!("[{{\"sni\":\"x.a.test\",{pair}}}]"),
    ] {
        let mut bench = Bench::new();
        bench.write("ssls/1", &text);
        let tls = bench.tls("1").unwrap().unwrap();
        assert_eq!(tls.hosts, [host.clone()], "{text}");
        assert!(tls.certificates.is_err() && tls.client_auth.is_err(), "{text}");
    }
    let mut bench = Bench::new();
    bench.write("ssls/1", r#"{"sni":"*"#);
    assert!(bench.tls("1").unwrap().is_err(), "one broken text does not close every host");
}

#[test]
fn a_global_rule_that_does_something_is_reported() {
    let mut bench = Bench::new();
    assert_eq!(bench.put("global_rules/1", &json!({"plugins": {}})), 0);
    assert_eq!(bench.put("global_rules/1", &json!({"plugins": {"ip-restriction": {}}})), 1);
    let (key, _, route) = bench.world.routes().next().unwrap();
    assert_eq!(key.to_string(), "/apisix/global_rules/1");
    assert_eq!(route.value.as_ref().unwrap_err().reason, Reason::Unsupported);
    for key in ["consumers/jack", "consumers/jack/credentials/1", "plugin_metadata/x", "protos/1", "secrets/vault/1"] {
        assert_eq!(bench.put(key, &json!({})), 0);
    }
}
