//! Who owns a port.

use super::*;
use crate::model::{
    ExternalName, ExternalNode, ServiceSettings, SettingsByPort, StreamBackend, StreamPorts, StreamRule, UpstreamRef,
    UpstreamSettings,
};
use crate::snapshot::StreamKey;

fn stream(index: usize, protocol: Protocol, port: u16, host: Option<&str>) -> StreamRule {
    StreamRule {
        backend: StreamBackend::Service(BackendRef {
            granularity: Granularity::Endpoint,
            port: PortRef::Name("http".into()),
            protocol,
            service: "s".into(),
            weight: 100,
        }),
        clients: Box::default(),
        field: format!("spec.stream[{index}]").into(),
        host: host.map_or(HostPattern::Any, |host| HostPattern::parse(host).unwrap()),
        name: format!("rule-{index}").into(),
        port: Some(port),
        protocol: Some(protocol),
    }
}

fn streams(created: i64, rules: &[(Protocol, u16, Option<&str>)]) -> Object {
    let rules = rules.iter().enumerate();
    let streams = rules.map(|(index, (protocol, port, host))| stream(index, *protocol, *port, *host)).collect();
    Object::ApisixRoute(observed(created, Ok(Route { class: None, rules: Vec::new(), streams })))
}

/// A bench with the ports 9100 for TCP, 9200 for TLS and 9300 for UDP, and the Service `s`.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let ports = StreamPorts { tcp: [9100].into(), tls: [9200].into(), udp: [9300].into() };
    bench.context.stream_ports = Some(ports);
    bench.put("s", service(ServiceAddress::Headless)).put("s1", slice("s", &[1]));
    bench
}

fn owner(bench: &Bench, key: &StreamKey) -> Option<String> {
    bench.snapshot.streams.get(key, &[]).map(|route| route.name.to_string())
}

fn tls(host: &str) -> StreamKey {
    StreamKey::Tls(9200, HostPattern::parse(host).unwrap())
}

#[test]
fn a_rule_is_found_where_its_port_is_opened_for_its_protocol() {
    let mut bench = bench();
    let rules = [
        (Protocol::Tcp, 9100, None),
        (Protocol::Tcp, 9200, Some("a.test")),
        (Protocol::Tcp, 9200, None),
        (Protocol::Udp, 9300, None),
    ];
    bench.put("r", streams(1, &rules)).compile();
    let dump = bench.snapshot.dump().streams;
    assert_eq!(
        dump,
        [
            "* on TLS port 9200 -> ns/r/rule-2 1*ns/s:http[10.0.0.1:8080]",
            "TCP port 9100 -> ns/r/rule-0 1*ns/s:http[10.0.0.1:8080]",
            "UDP port 9300 -> ns/r/rule-3 ",
            "a.test on TLS port 9200 -> ns/r/rule-1 1*ns/s:http[10.0.0.1:8080]",
        ]
    );
    let [(effect, reason, message)] = &bench.problems(Kind::ApisixRoute, "r")[..] else { panic!("one problem") };
    assert_eq!((*effect, *reason), (Effect::Unresolved, Reason::RefNotFound));
    assert_eq!(message, "spec.stream[3].backend.servicePort: Service ns/s has no such UDP port; it has none");
}

#[test]
fn a_port_that_is_not_opened_is_named_and_not_served() {
    let mut bench = bench();
    let rules = [
        (Protocol::Tcp, 9300, None),
        (Protocol::Udp, 9100, None),
        (Protocol::Tcp, 9400, Some("a.test")),
        (Protocol::Tcp, 9100, Some("a.test")),
        (Protocol::Tcp, 9100, None),
    ];
    bench.put("r", streams(1, &rules)).compile();
    let problems = bench.problems(Kind::ApisixRoute, "r");
    let expected = [
        (Reason::Unsupported, "spec.stream[0].match.ingressPort: TCP port 9300 is not opened", "--stream-tcp-listen"),
        (Reason::Unsupported, "spec.stream[1].match.ingressPort: UDP port 9100 is not opened", "--stream-udp-listen"),
        (Reason::Unsupported, "spec.stream[2].match.ingressPort: TCP port 9400 is not opened", "--stream-tls-listen"),
        (Reason::InvalidSpec, "spec.stream[3].match.host: port 9100 carries no TLS", "--stream-tls-listen"),
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for ((effect, reason, message), (wanted, begin, option)) in problems.iter().zip(expected) {
        assert_eq!((*effect, *reason), (Effect::RuleRefused, wanted));
        assert!(message.starts_with(begin) && message.contains(option), "{message}");
    }
    assert_eq!(bench.snapshot.dump().streams.len(), 1);
    let accepted = &bench.report.objects.values().next().unwrap().conditions()[0];
    assert_eq!((accepted.kind, accepted.status, accepted.reason), ("Accepted", false, "Unsupported"));
}

#[test]
fn a_rule_that_leads_back_to_us_is_not_served() {
    let mut bench = bench();
    bench.context.stream_addresses = [(Protocol::Tcp, ([10, 0, 0, 2], 8080).into())].into();
    bench.put("r", streams(1, &[(Protocol::Tcp, 9100, None)])).compile();
    assert_eq!(bench.problems(Kind::ApisixRoute, "r"), []);
    bench.put("s1", slice("s", &[1, 2])).compile();
    let [(effect, _, message)] = &bench.problems(Kind::ApisixRoute, "r")[..] else { panic!("one problem") };
    assert_eq!(*effect, Effect::Unresolved);
    let expected =
        "spec.stream[0].backend.serviceName: an endpoint of ns/s:http, TCP 10.0.0.2:8080, is this proxy itself";
    assert!(message.starts_with(expected), "{message}");
    assert!(bench.snapshot.streams.tcp(9100, [127, 0, 0, 1].into()).unwrap().backends.pick().is_none());
}

#[test]
fn the_oldest_object_owns_a_port_and_a_host_on_it() {
    let mut bench = bench();
    let both = [(Protocol::Tcp, 9100, None), (Protocol::Tcp, 9200, Some("a.test"))];
    bench.put("old", streams(1, &both));
    bench.put("new", streams(2, &[both[0], both[1], (Protocol::Tcp, 9200, Some("b.test"))])).compile();
    assert_eq!(owner(&bench, &StreamKey::Tcp(9100)).as_deref(), Some("ns/old/rule-0"));
    assert_eq!(owner(&bench, &tls("a.test")).as_deref(), Some("ns/old/rule-1"));
    assert_eq!(owner(&bench, &tls("b.test")).as_deref(), Some("ns/new/rule-2"));
    assert_eq!(bench.problems(Kind::ApisixRoute, "old"), []);
    let problems = bench.problems(Kind::ApisixRoute, "new");
    let conflicts: Vec<_> = problems.iter().map(|(_, reason, message)| (*reason, message.as_str())).collect();
    assert_eq!(
        conflicts,
        [
            (
                Reason::Conflict,
                "spec.stream[0].match: TCP port 9100 belongs to the rule ns/old/rule-0; this one is not used"
            ),
            (
                Reason::Conflict,
                "spec.stream[1].match: a.test on TLS port 9200 belongs to the rule ns/old/rule-1; this one is not used"
            ),
        ]
    );
    bench.remove(Kind::ApisixRoute, "old").compile();
    assert_eq!(owner(&bench, &StreamKey::Tcp(9100)).as_deref(), Some("ns/new/rule-0"));
}

#[test]
fn a_rule_keeps_its_port_and_its_counters_while_its_service_is_away() {
    let mut bench = bench();
    bench.put("r", streams(1, &[(Protocol::Tcp, 9100, None)])).compile();
    let before = bench.snapshot.streams.tcp(9100, [127, 0, 0, 1].into()).unwrap().clone();
    before.stats.count(1, 2);
    bench.remove(Kind::Service, "s").compile();
    let after = bench.snapshot.streams.tcp(9100, [127, 0, 0, 1].into()).unwrap();
    assert!(after.backends.pick().is_none());
    assert_eq!((after.stats.streams(), after.stats.bytes()), (1, (1, 2)));
    assert_eq!(bench.problems(Kind::ApisixRoute, "r")[0].1, Reason::RefNotFound);
}

#[test]
fn where_nobody_knows_the_ports_rules_are_taken_as_they_are_written() {
    let mut bench = bench();
    bench.context.stream_ports = None;
    let rules = [(Protocol::Tcp, 1, None), (Protocol::Tcp, 1, Some("a.test")), (Protocol::Tcp, 2, Some("a.test"))];
    bench.put("r", streams(1, &rules)).compile();
    assert_eq!(bench.problems(Kind::ApisixRoute, "r"), []);
    assert_eq!(bench.snapshot.dump().streams.len(), 3);
}

#[test]
fn a_rule_that_leaves_the_port_open_is_for_every_port_that_nobody_has() {
    let mut bench = bench();
    let backend = StreamBackend::Upstream(UpstreamRef { field: "upstream_id".into(), name: "u".into(), weight: 1 });
    let open = |host: Option<&str>, port| StreamRule {
        backend: backend.clone(),
        host: host.map_or(HostPattern::Any, |host| HostPattern::parse(host).unwrap()),
        name: "".into(),
        port,
        protocol: None,
        ..stream(0, Protocol::Tcp, 1, None)
    };
    let object = |created, rule| {
        Object::ApisixRoute(observed(created, Ok(Route { class: None, rules: Vec::new(), streams: vec![rule] })))
    };
    let node = ExternalNode { name: ExternalName::Domain("10.9.0.1".into()), port: Some(7), priority: 0, weight: 1 };
    let settings = SettingsByPort {
        default: UpstreamSettings::default(),
        nodes: vec![node],
        ports: std::collections::BTreeMap::new(),
    };
    let settings = ServiceSettings { class: None, settings: Ok(settings) };
    bench.put("u", Object::ApisixUpstream(Box::new(observed(0, Ok(settings)))));
    bench.put("a", streams(1, &[(Protocol::Tcp, 9100, None)]));
    bench.put("b", object(2, open(None, None)));
    bench.put("c", object(3, open(Some("c.test"), None)));
    bench.put("d", object(4, open(None, Some(9300))));
    bench.put("e", object(5, open(Some("e.test"), Some(9100))));
    bench.compile();
    let served: Vec<_> = bench.snapshot.dump().streams;
    let upstream = "1*ns/u[10.9.0.1:7]";
    assert_eq!(
        served,
        [
            format!("* on TLS port 9200 -> ns/b {upstream}"),
            "TCP port 9100 -> ns/a/rule-0 1*ns/s:http[10.0.0.1:8080]".to_owned(),
            format!("UDP port 9300 -> ns/b {upstream}"),
            format!("c.test on TLS port 9200 -> ns/c {upstream}"),
        ]
    );
    let problem =
        |name: &str| bench.problems(Kind::ApisixRoute, name).into_iter().map(|problem| problem.2).collect::<Vec<_>>();
    assert!(problem("b").is_empty() && problem("c").is_empty());
    assert!(problem("d")[0].contains("UDP port 9300 belongs to the rule ns/b"), "{:?}", problem("d"));
    assert!(problem("e")[0].contains("port 9100 is not one that is opened for TLS"), "{:?}", problem("e"));
}
