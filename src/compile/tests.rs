//! Objects in, dump and report out.

mod client;
mod dates;
mod names;
mod routing;
mod scale;
mod streams;
mod upstream;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};

use super::*;
use crate::model::{
    BackendRef, ClientAuthRef, ClientSettings, Data, DataRef, Effect, EndpointSlice, Granularity, HostName,
    HostPattern, IdentityField, IngressClass, Invalid, Kind, Meta, Methods, ObjectKey, ObjectRef, PathPattern, PortRef,
    Protocol, Protocols, Reason, Route, Rule, Service, ServiceAddress, ServicePort, SlicePort, SourceId, TlsHost,
};
use crate::snapshot::{HostRoutes, Policy};
use crate::world::{Change, Object, Observed};

/// 2027; the certificates of these tests are valid from 1975 to 4096.
const NOW: i64 = 1_800_000_000;

/// A world under test, compiled step by step as the control loop does.
struct Bench {
    context: Context,
    names: BTreeSet<Arc<str>>,
    next: Option<i64>,
    now: i64,
    report: Report,
    snapshot: Snapshot,
    world: World,
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn key_of(kind: Kind, name: &str) -> ObjectKey {
    if kind == Kind::IngressClass { ObjectKey::new("", name) } else { key(name) }
}

fn observed<T>(created: i64, value: Result<T, Invalid>) -> Observed<T> {
    Observed { meta: Meta { created, generation: 1 }, value }
}

impl Bench {
    fn new() -> Self {
        let tls = TlsContext::new().unwrap();
        let (stream_addresses, stream_ports) = Default::default();
        let context =
            Context { class: "apisix".into(), controller: "ours".into(), stream_addresses, stream_ports, tls };
        Self {
            context,
            names: BTreeSet::new(),
            next: None,
            now: NOW,
            report: Report::default(),
            snapshot: Snapshot::default(),
            world: World::default(),
        }
    }

    fn put(&mut self, name: &str, object: Object) -> &mut Self {
        let key = key_of(object.kind(), name);
        self.world.apply(Change::Upsert { source: SourceId::Kubernetes, key, object });
        self
    }

    fn remove(&mut self, kind: Kind, name: &str) -> &mut Self {
        self.world.apply(Change::Remove { source: SourceId::Kubernetes, kind, key: key_of(kind, name) });
        self
    }

    fn compile(&mut self) -> &mut Self {
        let Compiled { names, next, report, snapshot } = compile(&self.world, &self.context, &self.snapshot, self.now);
        (self.names, self.next, self.report, self.snapshot) = (names, next, report, snapshot);
        self
    }

    fn tls(&self, host: &str) -> &Arc<crate::snapshot::HostTls> {
        self.snapshot.handshake(&HostName::parse(host).unwrap()).unwrap()
    }

    fn problems(&self, kind: Kind, name: &str) -> Vec<(Effect, Reason, String)> {
        let object = ObjectRef { kind, key: key(name) };
        let problems = &self.report.objects[&object].problems;
        problems.iter().map(|p| (p.effect, p.invalid.reason, p.invalid.to_string())).collect()
    }

    fn tls_problems(&self, name: &str) -> Vec<(Effect, Reason)> {
        self.problems(Kind::ApisixTls, name).into_iter().map(|(effect, reason, _)| (effect, reason)).collect()
    }
}

fn rule(name: &str, host: &str, path: &str, backends: &[(&str, u32)]) -> Rule {
    Rule {
        backends: backends
            .iter()
            .map(|(service, weight)| BackendRef {
                granularity: Granularity::Endpoint,
                port: PortRef::Number(80),
                protocol: Protocol::Tcp,
                service: (*service).into(),
                weight: *weight,
            })
            .collect(),
        conditions: Arc::default(),
        hosts: vec![HostPattern::parse(host).unwrap()],
        methods: Methods::ANY,
        name: name.into(),
        paths: vec![PathPattern::parse(path).unwrap()],
        priority: 0,
        strip: None,
        timeouts: None,
        upstreams: vec![],
        websocket: false,
    }
}

fn route(created: i64, rules: Vec<Rule>) -> Object {
    Object::ApisixRoute(observed(created, Ok(Route { class: None, rules, streams: Vec::new() })))
}

fn service(address: ServiceAddress) -> Object {
    let ports = vec![ServicePort { name: "http".into(), port: 80, protocol: Protocol::Tcp, secure: false }];
    Object::Service(observed(0, Ok(Service { address, ports })))
}

fn slice(service: &str, hosts: &[u8]) -> Object {
    let addresses: Arc<[IpAddr]> = hosts.iter().map(|host| IpAddr::from([10, 0, 0, *host])).collect();
    let ports = vec![SlicePort { name: "http".into(), port: 8080, protocol: Protocol::Tcp }];
    Object::EndpointSlice(observed(0, Ok(EndpointSlice { addresses, ports, service: service.into() })))
}

fn secret(entries: &[(&str, &str)]) -> Object {
    let entries = entries.iter().map(|(key, value)| (*key, Bytes::copy_from_slice(value.as_bytes())));
    Object::Secret(observed(0, Ok(Data::new(entries))))
}

fn client_auth(ca: &str) -> ClientAuthRef {
    let object = ObjectRef { kind: Kind::Secret, key: key(ca) };
    let ca = DataRef { entry: None, field: "spec.client.caSecret".into(), object };
    let settings = ClientSettings { depth: 1, ..ClientSettings::default() };
    ClientAuthRef { authorities: vec![ca], revocation: None, settings }
}

fn tls(created: i64, host: &str, ca: Option<&str>) -> Object {
    Object::ApisixTls(observed(
        created,
        Ok(TlsHost {
            certificates: Ok(vec![key("server")]),
            class: None,
            client_auth: Ok(ca.map(client_auth).map(Box::new)),
            hosts: vec![HostPattern::parse(host).unwrap()],
            protocols: Ok(Protocols::default()),
            unreadable_hosts: vec![],
        }),
    ))
}

fn ca() -> String {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// A client's certificate of some CA.
fn leaf() -> String {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "issuer");
    let issuer = rcgen::Issuer::new(params, KeyPair::generate().unwrap());
    CertificateParams::new(vec![]).unwrap().signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem()
}

fn certificate() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (
        CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap().pem(),
        key.serialize_pem(),
    )
}

/// A bench with the Secrets `server` (a certificate) and `ca` (a client CA).
fn tls_bench() -> Bench {
    let mut bench = Bench::new();
    let (cert, key) = certificate();
    bench.put("server", secret(&[("cert", &cert), ("key", &key)])).put("ca", secret(&[("cert", &ca())]));
    bench
}

#[test]
fn a_route_leads_to_the_ready_endpoints_of_its_service() {
    let mut bench = Bench::new();
    bench
        .put("r", route(1, vec![rule("a", "a.example", "/*", &[("s", 100)])]))
        .put("s", service(ServiceAddress::Headless))
        .put("s-1", slice("s", &[2, 1]))
        .put("s-2", slice("s", &[3, 1]))
        .compile();
    let expected = "a.example /* -> ns/r/a 100*ns/s:80[10.0.0.1:8080,10.0.0.2:8080,10.0.0.3:8080]";
    assert_eq!(bench.snapshot.dump().routes, [expected]);
    assert_eq!(bench.problems(Kind::ApisixRoute, "r"), []);
}

#[test]
fn the_dump_does_not_depend_on_the_previous_snapshot() {
    let mut bench = tls_bench();
    bench.put("r", route(1, vec![rule("a", "a.example", "/*", &[("s", 100)])])).compile();
    bench
        .put("s", service(ServiceAddress::Headless))
        .put("s-1", slice("s", &[1]))
        .put("t", tls(1, "a.example", Some("ca")));
    let step_by_step = bench.compile().snapshot.dump();
    let at_once = compile(&bench.world, &bench.context, &Snapshot::default(), NOW).snapshot.dump();
    assert_eq!(step_by_step, at_once);
}

#[test]
fn endpoints_keep_their_connections_across_snapshots() {
    let mut bench = Bench::new();
    bench
        .put("r", route(1, vec![rule("a", "a.example", "/*", &[("s", 100)])]))
        .put("s", service(ServiceAddress::Headless))
        .put("s-1", slice("s", &[1]))
        .compile();
    let endpoint = |bench: &Bench| bench.snapshot.carried.endpoints.values().next().unwrap().clone();
    let before = endpoint(&bench);
    bench.put("s-1", slice("s", &[1, 2])).compile();
    assert!(bench.snapshot.carried.endpoints.values().any(|after| Arc::ptr_eq(&before, after)));
    bench.put("s-1", slice("s", &[3])).compile();
    assert_eq!(bench.snapshot.carried.endpoints.len(), 1, "what is not used any more is dropped");
}

#[test]
fn a_backend_that_is_not_there_leaves_the_traffic_to_the_others_and_says_so() {
    let mut bench = Bench::new();
    bench
        .put("r", route(1, vec![rule("a", "a.example", "/*", &[("gone", 100), ("s", 50), ("empty", 50)])]))
        .put("s", service(ServiceAddress::Headless))
        .put("s-1", slice("s", &[1]))
        .put("empty", service(ServiceAddress::Headless))
        .compile();
    assert_eq!(bench.snapshot.dump().routes, ["a.example /* -> ns/r/a 50*ns/s:80[10.0.0.1:8080]"]);
    let problem = "spec.http[0].backends[0].serviceName: Service ns/gone does not exist".to_owned();
    assert_eq!(bench.problems(Kind::ApisixRoute, "r"), [(Effect::Unresolved, Reason::RefNotFound, problem)]);
    let conditions = bench.report.objects.values().next().unwrap().conditions().map(|c| (c.kind, c.status));
    assert_eq!(conditions, [("Accepted", true), ("ResolvedRefs", false), ("Programmed", false)]);
}

#[test]
fn a_wrong_port_names_the_ports_there_are() {
    let mut bench = Bench::new();
    let mut wrong = rule("a", "a.example", "/*", &[("s", 1)]);
    wrong.backends[0].port = PortRef::Name("grpc".into());
    bench.put("r", route(1, vec![wrong])).put("s", service(ServiceAddress::Headless)).compile();
    let (_, _, message) = bench.problems(Kind::ApisixRoute, "r").remove(0);
    assert_eq!(message, "spec.http[0].backends[0].servicePort: Service ns/s has no such TCP port; it has 80 (http)");
}

#[test]
fn granularity_service_uses_the_cluster_ip() {
    let mut bench = Bench::new();
    let mut by_service = rule("a", "a.example", "/*", &[("s", 1)]);
    by_service.backends[0].granularity = Granularity::Service;
    let mut headless = rule("h", "h.example", "/*", &[("headless", 1)]);
    headless.backends[0].granularity = Granularity::Service;
    bench
        .put("r", route(1, vec![by_service, headless]))
        .put("s", service(ServiceAddress::Cluster([10, 96, 0, 7].into())))
        .put("headless", service(ServiceAddress::Headless))
        .compile();
    let dump = bench.snapshot.dump().routes;
    assert_eq!(dump[0], "a.example /* -> ns/r/a 1*ns/s:80[10.96.0.7:80]");
    let (_, _, message) = bench.problems(Kind::ApisixRoute, "r").remove(0);
    assert!(message.starts_with("spec.http[1].backends[0].resolveGranularity: "), "{message}");
}

#[test]
fn priority_then_age_then_name_decide_among_equal_paths() {
    let mut bench = Bench::new();
    let with = |name: &str, priority: i64| Rule { priority, ..rule(name, "a.example", "/x", &[]) };
    bench
        .put("young", route(9, vec![with("young", 0)]))
        .put("old-b", route(1, vec![with("old-b", 0)]))
        .put("old-a", route(1, vec![with("first", 0), with("second", 0)]))
        .put("loud", route(9, vec![with("loud", 7)]))
        .compile();
    let host = HostName::parse("a.example").unwrap();
    let order: Vec<_> =
        bench.snapshot.routes.covering(&host).flat_map(HostRoutes::iter).map(|(_, r)| r.name.to_string()).collect();
    assert_eq!(order, ["ns/loud/loud", "ns/old-a/first", "ns/old-a/second", "ns/old-b/old-b", "ns/young/young"]);
}

#[test]
fn objects_of_another_class_are_left_alone_and_those_without_one_are_ours() {
    let mut bench = Bench::new();
    let class =
        |controller: &str| Object::IngressClass(observed(0, Ok(IngressClass { controller: controller.into() })));
    let with = |class: Option<&str>| {
        let rules = vec![rule("a", "a.example", "/*", &[])];
        Object::ApisixRoute(observed(1, Ok(Route { class: class.map(Into::into), rules, streams: Vec::new() })))
    };
    for (name, class) in
        [("none", None), ("configured", Some("apisix")), ("mine", Some("mine")), ("other", Some("nginx"))]
    {
        bench.put(name, with(class));
    }
    bench.put("mine", class("ours")).put("nginx", class("theirs")).compile();
    let ours: Vec<_> = bench.report.objects.keys().map(|object| object.key.name.to_string()).collect();
    assert_eq!(ours, ["configured", "mine", "none"]);
    bench.put("apisix", class("theirs")).compile();
    assert_eq!(bench.report.objects.len(), 2, "an IngressClass object of another controller takes the name away");
}

#[test]
fn a_host_requires_a_client_certificate_when_its_object_says_so() {
    let mut bench = tls_bench();
    bench.put("t", tls(1, "a.example", Some("ca"))).put("u", tls(1, "b.example", None)).compile();
    assert!(matches!(bench.tls("A.example.").policy, Policy::Require(_)));
    assert!(matches!(bench.tls("b.example").policy, Policy::Open));
    assert!(bench.tls("a.example").server.is_ok() && bench.tls("b.example").server.is_ok());
    assert_eq!((bench.tls_problems("t"), bench.tls_problems("u")), (vec![], vec![]));
}

#[test]
fn equal_policies_have_equal_ids_whatever_their_objects_are_called() {
    let mut bench = tls_bench();
    let (one, two) = (ca(), ca());
    bench
        .put("ca-1", secret(&[("cert", &format!("{one}{two}"))]))
        .put("ca-2", secret(&[("ca.crt", &format!("{two}{one}{two}"))]))
        .put("a", tls(1, "a.example", Some("ca-1")))
        .put("b", tls(2, "b.example", Some("ca-2")))
        .put("c", tls(3, "c.example", Some("ca")))
        .compile();
    assert!(bench.tls("a.example").policy.same(&bench.tls("b.example").policy));
    assert!(!bench.tls("a.example").policy.same(&bench.tls("c.example").policy));
}

#[test]
fn the_names_that_any_host_forwards_are_known_to_all() {
    let mut bench = tls_bench();
    bench.put("a", tls(1, "a.example", Some("ca"))).compile();
    assert_eq!(bench.snapshot.identity_headers.len(), 0);
    for (object, host, names) in
        [("b", "b.example", ["x_user", "x-mail"]), ("c", "*.c.example", ["x-user", "x.serial"])]
    {
        let Object::ApisixTls(Observed { meta, value }) = tls(1, host, Some("ca")) else { panic!("no TLS") };
        let mut value = value.unwrap();
        let Ok(Some(client)) = &mut value.client_auth else { panic!("no client authentication") };
        client.settings.forward.headers = names.map(|name| (name.into(), IdentityField::Subject)).into();
        bench.put(object, Object::ApisixTls(Observed { meta, value: Ok(value) }));
    }
    let names = |bench: &Bench| bench.snapshot.identity_headers.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(bench.compile()), ["x-mail", "x-serial", "x-user"]);

    // Open hosts may lead to the same upstreams, whatever becomes of the objects.
    bench.remove(Kind::Secret, "ca").compile();
    assert!(matches!(bench.tls("b.example").policy, Policy::Refuse(_)));
    assert_eq!(names(&bench), ["x-mail", "x-serial", "x-user"]);
    bench.put("c", Object::ApisixTls(observed(1, Err(Invalid::spec("spec", "no object"))))).compile();
    assert_eq!(names(&bench), ["x-mail", "x-serial", "x-user"]);
    bench.remove(Kind::ApisixTls, "c").compile();
    assert_eq!(names(&bench), ["x-mail", "x-user"]);
}

#[test]
fn every_unusable_ca_refuses_the_host_and_is_never_no_client_auth() {
    let leaf = leaf();
    let broken = [
        ("empty", secret(&[("cert", "")])),
        ("garbage", secret(&[("cert", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")])),
        ("no key", secret(&[("key", "x")])),
        ("no certificate authority", secret(&[("cert", &leaf)])),
    ];
    for (name, object) in broken {
        let mut bench = tls_bench();
        bench.put("t", tls(1, "a.example", Some("ca"))).compile();
        bench.put("ca", object).compile();
        let host = bench.tls("a.example");
        assert!(matches!(host.policy, Policy::Refuse(_)) && host.server.is_err(), "{name}");
        assert_eq!(bench.tls_problems("t"), [(Effect::Refused, Reason::InvalidCaCertificate)], "{name}");
    }
    let mut bench = tls_bench();
    bench.put("t", tls(1, "a.example", Some("ca"))).compile().remove(Kind::Secret, "ca").compile();
    assert!(matches!(bench.tls("a.example").policy, Policy::Refuse(_)), "a CA that disappears refuses");
    assert_eq!(bench.tls_problems("t"), [(Effect::Refused, Reason::RefNotFound)]);
    bench.put("ca", secret(&[("cert", &ca())])).compile();
    assert!(matches!(bench.tls("a.example").policy, Policy::Require(_)), "and heals");
}

#[test]
fn a_certificate_that_disappears_serves_its_last_good_value_under_the_current_policy() {
    let mut bench = tls_bench();
    bench.put("t", tls(1, "a.example", None)).compile();
    let before = bench.tls("a.example").certificates[0].key.clone();
    bench.remove(Kind::Secret, "server").put("t", tls(1, "a.example", Some("ca"))).compile();
    let host = bench.tls("a.example");
    assert!(Arc::ptr_eq(&before, &host.certificates[0].key) && host.server.is_ok());
    assert!(matches!(host.policy, Policy::Require(_)));
    assert_eq!(bench.tls_problems("t"), [(Effect::Stale, Reason::RefNotFound)]);
    bench.put("server", secret(&[("cert", "garbage"), ("key", "garbage")])).compile();
    assert_eq!(bench.tls_problems("t"), [(Effect::Stale, Reason::InvalidCertificate)]);
}

#[test]
fn a_certificate_that_was_never_good_serves_nobody() {
    let (cert, key) = certificate();
    let (other, _) = certificate();
    let broken = [
        secret(&[("cert", &cert)]),
        secret(&[("cert", &other), ("key", &key)]),
        secret(&[("cert", "garbage"), ("key", &key)]),
        secret(&[("tls.key", &key)]),
    ];
    for object in broken {
        let mut bench = tls_bench();
        bench.put("server", object).put("t", tls(1, "a.example", None)).compile();
        assert!(bench.tls("a.example").server.is_err());
        assert_eq!(bench.tls_problems("t"), [(Effect::Refused, Reason::InvalidCertificate)]);
    }
    let mut bench = tls_bench();
    bench.put("server", secret(&[("tls.crt", &cert), ("tls.key", &key)])).put("t", tls(1, "a.example", None)).compile();
    assert!(bench.tls("a.example").server.is_ok(), "cert-manager's keys work too");
}

#[test]
fn the_oldest_object_owns_a_host_and_a_later_one_cannot_weaken_it() {
    let mut bench = tls_bench();
    bench.put("a-late", tls(2, "a.example", None)).put("z-early", tls(1, "A.example", Some("ca"))).compile();
    assert!(matches!(bench.tls("a.example").policy, Policy::Require(_)));
    assert_eq!(bench.tls_problems("a-late"), [(Effect::Refused, Reason::Conflict)]);
    assert_eq!(bench.tls_problems("z-early"), []);
    bench.remove(Kind::ApisixTls, "z-early").compile();
    assert!(matches!(bench.tls("a.example").policy, Policy::Open));
}

#[test]
fn among_objects_of_one_age_a_copy_without_client_authentication_opens_nothing() {
    let mut bench = tls_bench();
    bench.put("a-copy", tls(0, "a.example", None)).put("z", tls(0, "a.example", Some("ca"))).compile();
    assert!(matches!(bench.tls("a.example").policy, Policy::Require(_)));
    assert_eq!(bench.tls_problems("a-copy"), [(Effect::Refused, Reason::Conflict)]);
}

#[test]
fn a_class_that_does_not_exist_refuses_the_hosts() {
    let with = |class: &str| {
        let Object::ApisixTls(Observed { meta, value: Ok(tls) }) = tls(1, "a.example", Some("ca")) else { panic!() };
        Object::ApisixTls(Observed { meta, value: Ok(TlsHost { class: Some(class.into()), ..tls }) })
    };
    let class =
        |controller: &str| Object::IngressClass(observed(0, Ok(IngressClass { controller: controller.into() })));
    let mut bench = tls_bench();
    bench.put("t", with("mistyped")).compile();
    for _ in 0..2 {
        assert!(matches!(bench.tls("a.example").policy, Policy::Refuse(_)));
        assert_eq!(bench.tls_problems("t"), [(Effect::Refused, Reason::RefNotFound)]);
        bench.compile();
    }
    bench.put("mistyped", class("ours")).compile();
    assert!(matches!(bench.tls("a.example").policy, Policy::Require(_)), "it was no mistake");
    bench.put("mistyped", class("theirs")).compile();
    assert!(bench.snapshot.handshake(&HostName::parse("a.example").unwrap()).is_none(), "given to another controller");
    bench.put("t", with("mistypo")).put("young", tls(9, "a.example", Some("ca"))).compile();
    assert!(matches!(bench.tls("a.example").policy, Policy::Require(_)), "an object that is ours comes before it");
    assert_eq!(bench.tls_problems("t")[1].1, Reason::Conflict);
}

#[test]
fn a_class_that_is_deleted_opens_no_host() {
    let Object::ApisixTls(Observed { meta, value: Ok(old) }) = tls(1, "a.example", Some("ca")) else { panic!() };
    let old = Object::ApisixTls(Observed { meta, value: Ok(TlsHost { class: Some("inside".into()), ..old }) });
    let class = Object::IngressClass(observed(0, Ok(IngressClass { controller: "ours".into() })));
    let mut bench = tls_bench();
    bench.put("inside", class).put("old", old).put("young", tls(9, "a.example", None)).compile();
    assert!(matches!(bench.tls("a.example").policy, Policy::Require(_)));
    for _ in 0..2 {
        bench.remove(Kind::IngressClass, "inside").compile();
        assert!(matches!(bench.tls("a.example").policy, Policy::Refuse(_)), "the younger object does not get the host");
    }
}

#[test]
fn an_object_keeps_the_hosts_it_had_while_one_of_its_hosts_cannot_be_read() {
    let mut bench = tls_bench();
    let host = HostName::parse("b.example").unwrap();
    let with = |hosts: &[&str], unreadable: &[&str]| {
        let Object::ApisixTls(Observed { meta, value: Ok(tls) }) = tls(1, "a.example", Some("ca")) else { panic!() };
        let hosts = hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect();
        let unreadable_hosts = unreadable.iter().map(|host| Invalid::spec("spec.hosts[1]", *host)).collect();
        Object::ApisixTls(Observed { meta, value: Ok(TlsHost { hosts, unreadable_hosts, ..tls }) })
    };
    bench.put("t", with(&["a.example", "b.example"], &[])).compile();
    for _ in 0..2 {
        bench.put("t", with(&["a.example"], &["b..example"])).compile();
        assert!(matches!(bench.snapshot.policy(&host), Policy::Require(_)));
        assert_eq!(bench.tls_problems("t"), [(Effect::Refused, Reason::InvalidSpec)]);
    }
    bench.put("younger", tls(2, "b.example", None)).compile();
    assert!(matches!(bench.snapshot.policy(&host), Policy::Require(_)), "nobody takes it over meanwhile");
    bench.put("t", with(&["a.example"], &[])).compile();
    assert!(matches!(bench.snapshot.policy(&host), Policy::Open), "it is given up");
}

#[test]
fn an_object_that_becomes_unreadable_refuses_the_hosts_it_had() {
    let mut bench = tls_bench();
    bench.put("t", tls(1, "a.example", Some("ca"))).compile();
    let unreadable = || Object::ApisixTls(observed(1, Err(Invalid::spec("spec", "no object"))));
    for _ in 0..2 {
        bench.put("t", unreadable()).compile();
        assert!(matches!(bench.tls("a.example").policy, Policy::Refuse(_)));
        assert!(bench.tls("a.example").server.is_err());
    }
    assert_eq!(bench.tls_problems("t"), [(Effect::Refused, Reason::InvalidSpec)]);
}

#[test]
fn client_auth_that_cannot_be_read_refuses_the_host() {
    let mut bench = tls_bench();
    let object = Object::ApisixTls(observed(
        1,
        Ok(TlsHost {
            certificates: Ok(vec![key("server")]),
            class: None,
            client_auth: Err(Invalid::unsupported("spec.client.skip_mtls_uri_regex", "is not served")),
            hosts: vec![HostPattern::parse("*.example").unwrap()],
            protocols: Ok(Protocols::default()),
            unreadable_hosts: vec![],
        }),
    ));
    bench.put("t", object).compile();
    assert!(matches!(bench.tls("a.example").policy, Policy::Refuse(_)));
    let deeper = HostName::parse("x.y.example").unwrap();
    assert!(matches!(bench.snapshot.policy(&deeper), Policy::Refuse(_)), "the policy covers every deeper name");
    assert!(bench.snapshot.handshake(&deeper).is_none(), "the certificate covers one label");
}

#[test]
fn an_unrelated_change_makes_nothing_again() {
    let mut bench = tls_bench();
    bench.put("t", tls(1, "a.example", Some("ca"))).put("u", tls(1, "b.example", None)).compile();
    let (a, b) = (bench.tls("a.example").clone(), bench.tls("b.example").clone());
    let (cert, key) = certificate();
    bench.put("other", secret(&[("cert", &cert), ("key", &key)])).compile();
    assert!(Arc::ptr_eq(&a, bench.tls("a.example")) && Arc::ptr_eq(&b, bench.tls("b.example")));
    bench.put("ca", secret(&[("cert", &ca())])).compile();
    assert!(!Arc::ptr_eq(&a, bench.tls("a.example")) && Arc::ptr_eq(&b, bench.tls("b.example")));
}
