use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::model::{Reason, StreamBackend, StreamRule};

fn parse(spec: Value) -> Result<Route, Invalid> {
    ApisixRoute { spec, ..ApisixRoute::default() }.parse()
}

/// A good rule with `field` (a JSON pointer below the rule) set to `value`.
fn with(field: &str, value: Value) -> Value {
    let mut rule = json!({
        "name": "r",
        "match": {"hosts": ["a.example"], "paths": ["/*"]},
        "backends": [{"serviceName": "web", "servicePort": 80}],
    });
    let (parent, name) = field.rsplit_once('/').unwrap_or(("", field));
    rule.pointer_mut(parent).unwrap()[name] = value;
    json!({"http": [rule]})
}

#[test]
fn a_rule_has_apisix_defaults() {
    let route = parse(with("/priority", json!(null))).unwrap();
    let rule = &route.rules[0];
    assert_eq!((rule.priority, rule.websocket, rule.methods), (0, false, Methods::ANY));
    assert_eq!(rule.timeouts, None);
    let backend = BackendRef {
        granularity: Granularity::Endpoint,
        port: PortRef::Number(80),
        protocol: Protocol::Tcp,
        service: "web".into(),
        weight: 100,
    };
    assert_eq!(rule.backends, [backend]);
}

#[test]
fn the_oldest_shape_is_a_list_of_one_backend() {
    let route = parse(json!({"http": [{
        "name": "httpbin",
        "match": {"hosts": ["mtls.httpbin.local"], "paths": ["/*"]},
        "backend": {"serviceName": "httpbin", "servicePort": 80, "resolveGranualrity": "service"},
    }]}))
    .unwrap();
    assert_eq!(route.rules[0].backends.len(), 1);
    assert_eq!(route.rules[0].backends[0].granularity, Granularity::Service);
}

#[test]
fn a_rule_without_hosts_serves_every_host() {
    assert_eq!(parse(with("/match", json!({"paths": ["/a"]}))).unwrap().rules[0].hosts, [HostPattern::Any]);
}

#[test]
fn ports_are_numbers_or_names() {
    for (port, expected) in [
        (json!(8080), PortRef::Number(8080)),
        (json!("8080"), PortRef::Number(8080)),
        (json!("http"), PortRef::Name("http".into())),
    ] {
        assert_eq!(parse(with("/backends/0/servicePort", port)).unwrap().rules[0].backends[0].port, expected);
    }
}

#[test]
fn timeouts_left_out_are_a_minute() {
    let timeouts = parse(with("/timeout", json!({"read": "1m30s"}))).unwrap().rules[0].timeouts.unwrap();
    assert_eq!((timeouts.read, timeouts.send), (Duration::from_secs(90), Duration::from_secs(60)));
}

#[test]
fn what_is_not_served_refuses_the_object_by_name() {
    for (field, value, blamed, named) in [
        ("/plugins", json!([{"name": "cors", "enable": true}]), "spec.http[0].plugins[0]", "cors"),
        ("/plugins", json!([{"name": "a", "enable": false}, {"name": "b"}]), "spec.http[0].plugins[1]", "`b`"),
        ("/authentication", json!({"enable": true, "type": "keyAuth"}), "spec.http[0].authentication", "keyAuth"),
        ("/plugin_config_name", json!("shared"), "spec.http[0].plugin_config_name", "shared"),
        (
            "/match/exprs",
            json!([{"subject": {"scope": "Variable", "name": "geoip_city"}, "op": "NotEqual", "value": "b"}]),
            "spec.http[0].match.exprs[0].subject.name",
            "request_uri",
        ),
        ("/match/filter_func", json!("function"), "spec.http[0].match.filter_func", "filter_func"),
        ("/backends/0/subset", json!("blue"), "spec.http[0].backends[0].subset", "subset"),
    ] {
        let invalid = parse(with(field, value)).unwrap_err();
        assert_eq!((invalid.field.as_str(), invalid.reason), (blamed, Reason::Unsupported));
        assert!(invalid.message.contains(named), "{invalid}");
    }
}

#[test]
fn what_is_switched_off_is_ignored() {
    assert!(parse(with("/plugins", json!([{"name": "cors", "enable": false}]))).is_ok());
    assert!(parse(with("/authentication", json!({"enable": false, "type": "keyAuth"}))).is_ok());
    assert!(parse(with("/unheard_of", json!({"a": 1}))).is_ok(), "unknown fields never fail");
}

#[test]
fn a_bad_value_is_named_by_its_path() {
    for (field, value, blamed) in [
        ("/match/paths", json!(["/a", "b"]), "spec.http[0].match.paths[1]"),
        ("/match/paths", json!([]), "spec.http[0].match.paths"),
        ("/match/paths", json!([5]), "spec.http[0].match.paths[0]"),
        ("/match/hosts", json!(["*foo.com"]), "spec.http[0].match.hosts[0]"),
        ("/match/hosts", json!([]), "spec.http[0].match.hosts"),
        ("/match/methods", json!(["GET", "get"]), "spec.http[0].match.methods[1]"),
        ("/match/remoteAddrs", json!(["10.0.0.0/8", "10.0.0.1/8"]), "spec.http[0].match.remoteAddrs[1]"),
        ("/match/remoteAddrs", json!(["a.test"]), "spec.http[0].match.remoteAddrs[0]"),
        ("/match/remoteAddrs", json!([]), "spec.http[0].match.remoteAddrs"),
        ("/match", json!(null), "spec.http[0].match"),
        ("/name", json!(""), "spec.http[0].name"),
        ("/priority", json!("high"), "spec.http[0].priority"),
        ("/backends", json!([]), "spec.http[0].backends"),
        ("/backend", json!({}), "spec.http[0].backend"),
        ("/backends/0/serviceName", json!(""), "spec.http[0].backends[0].serviceName"),
        ("/backends/0/servicePort", json!(0), "spec.http[0].backends[0].servicePort"),
        ("/backends/0/servicePort", json!("65536"), "spec.http[0].backends[0].servicePort"),
        ("/backends/0/servicePort", json!([80]), "spec.http[0].backends[0].servicePort"),
        ("/backends/0/servicePort", json!(80.5), "spec.http[0].backends[0].servicePort"),
        ("/backends/0/weight", json!(-1), "spec.http[0].backends[0].weight"),
        ("/backends/0/weight", json!(1_000_001), "spec.http[0].backends[0].weight"),
        ("/backends/0/resolveGranularity", json!("pod"), "spec.http[0].backends[0].resolveGranularity"),
        ("/timeout", json!({"send": "60"}), "spec.http[0].timeout.send"),
    ] {
        let invalid = parse(with(field, value)).unwrap_err();
        assert_eq!((invalid.field.as_str(), invalid.reason), (blamed, Reason::InvalidSpec), "{invalid}");
    }
    assert_eq!(parse(json!({})).unwrap_err().field, "spec.http");
    assert_eq!(parse(json!(null)).unwrap_err().field, "spec");
}

#[test]
fn names_of_rules_and_services_of_backends_are_unique() {
    let mut spec = with("/priority", json!(1));
    let copy = spec["http"][0].clone();
    spec["http"].as_array_mut().unwrap().push(copy);
    let invalid = parse(spec).unwrap_err();
    assert!(invalid.field == "spec.http[1].name" && invalid.message.contains("duplicate route rule name"));
    let backends = json!([{"serviceName": "a", "servicePort": 80}, {"serviceName": "a", "servicePort": 81}]);
    let invalid = parse(with("/backends", backends)).unwrap_err();
    assert!(invalid.message.contains("duplicate backend service"), "{invalid}");
    assert_eq!(invalid.field, "spec.http[0].backends[1].serviceName");
}

#[test]
fn an_empty_class_is_no_class() {
    let mut spec = with("/priority", json!(1));
    spec["ingressClassName"] = json!("");
    assert_eq!(parse(spec.clone()).unwrap().class, None);
    spec["ingressClassName"] = json!("inner");
    assert_eq!(parse(spec).unwrap().class.as_deref(), Some("inner"));
}

#[test]
fn every_operator_and_scope_is_read() {
    let one = |scope: &str, name: &str, op: &str| {
        let set = ["In", "NotIn"].contains(&op);
        let (key, value) = if set { ("set", json!(["1", "2"])) } else { ("value", json!("1")) };
        json!({"subject": {"scope": scope, "name": name}, "op": op, key: value})
    };
    for (scope, name, op, shown) in [
        ("Header", "X-Up", "Equal", r#"Header x-up Equal "1""#),
        ("Header", "X-Up", "NotEqual", r#"Header x-up NotEqual "1""#),
        ("Query", "A", "GreaterThan", "Query A GreaterThan 1"),
        ("Query", "A", "GreaterThanEqual", "Query A GreaterThanEqual 1"),
        ("Cookie", "A", "LessThan", "Cookie A LessThan 1"),
        ("Cookie", "A", "LessThanEqual", "Cookie A LessThanEqual 1"),
        ("Path", "", "In", r#"Path In ["1", "2"]"#),
        ("Path", "ignored", "NotIn", r#"Path NotIn ["1", "2"]"#),
        ("Body", "user.roles[0]", "Equal", r#"Body user.roles[0] Equal "1""#),
        ("Variable", "uri", "RegexMatch", r#"Path RegexMatch "1""#),
        ("Variable", "http_x_up", "RegexNotMatch", r#"Header x-up RegexNotMatch "1""#),
        ("Variable", "arg_a_b", "RegexMatchCaseInsensitive", r#"Query a_b RegexMatchCaseInsensitive "1""#),
        ("Variable", "cookie_A", "RegexNotMatchCaseInsensitive", r#"Cookie A RegexNotMatchCaseInsensitive "1""#),
        ("Variable", "content_type", "Equal", r#"Header content-type Equal "1""#),
        ("Variable", "request_method", "Equal", r#"Variable method Equal "1""#),
    ] {
        let route = parse(with("/match/exprs", json!([one(scope, name, op)]))).unwrap();
        assert_eq!(route.rules[0].conditions.expressions[0].to_string(), shown);
    }
    assert_eq!(parse(with("/match/exprs", json!([]))).unwrap().rules[0].conditions, Arc::default());
}

#[test]
fn a_bad_expression_is_named_by_its_path() {
    let header = json!({"scope": "Header", "name": "a"});
    for (expression, blamed) in [
        (json!({"op": "Equal", "value": "1"}), "subject"),
        (json!({"subject": {"scope": "Header"}, "op": "Equal", "value": "1"}), "subject.name"),
        (json!({"subject": {"scope": "Body"}, "op": "Equal", "value": "1"}), "subject.name"),
        (json!({"subject": {"scope": "Body", "name": "a[*].b"}, "op": "Equal", "value": "1"}), "subject.name"),
        (json!({"subject": {"scope": "Header", "name": "a b"}, "op": "Equal", "value": "1"}), "subject.name"),
        (json!({"subject": {"scope": "Header", "name": "Host"}, "op": "Equal", "value": "1"}), "subject.name"),
        (json!({"subject": {"scope": "Variable", "name": "http_host"}, "op": "Equal", "value": "1"}), "subject.name"),
        (json!({"subject": {"scope": "header", "name": "a"}, "op": "Equal", "value": "1"}), "subject.scope"),
        (json!({"subject": {"name": "a"}, "op": "Equal", "value": "1"}), "subject.scope"),
        (json!({"subject": header, "value": "1"}), "op"),
        (json!({"subject": header, "op": "equal", "value": "1"}), "op"),
        (json!({"subject": header, "op": "Equal"}), "value"),
        (json!({"subject": header, "op": "Equal", "set": ["1"]}), "set"),
        (json!({"subject": header, "op": "Equal", "value": 1}), "value"),
        (json!({"subject": header, "op": "In", "set": ["1"], "value": "1"}), "value"),
        (json!({"subject": header, "op": "In", "set": []}), "set"),
        (json!({"subject": header, "op": "NotIn", "value": "1"}), "value"),
        (json!({"subject": header, "op": "GreaterThan", "value": "a"}), "value"),
        (json!({"subject": header, "op": "RegexMatch", "value": "("}), "value"),
        (json!({"subject": header, "op": "RegexMatch", "value": ""}), "value"),
        (json!({"subject": header, "op": "RegexNotMatch", "value": "(a{100}){100}{100}"}), "value"),
    ] {
        let good = json!({"subject": header, "op": "Equal", "value": "1"});
        let invalid = parse(with("/match/exprs", json!([good, expression]))).unwrap_err();
        let blamed = format!("spec.http[0].match.exprs[1].{blamed}");
        assert_eq!((invalid.field.as_str(), invalid.reason), (blamed.as_str(), Reason::InvalidSpec), "{invalid}");
    }
    let pattern = json!({"subject": header, "op": "RegexMatch", "value": "a"});
    let invalid = parse(with("/match/exprs", json!(vec![pattern; 65]))).unwrap_err();
    assert_eq!(invalid.field, "spec.http[0].match.exprs");
}

#[test]
fn a_rule_may_lead_to_upstreams_beside_its_backends_or_instead_of_them() {
    let rule = |upstreams: Value, backends: bool| {
        let mut spec = with("/upstreams", upstreams);
        if !backends {
            spec["http"][0].as_object_mut().unwrap().remove("backends");
        }
        parse(spec).map(|mut route| route.rules.remove(0))
    };
    let two = json!([{"name": "u", "weight": 0}, {"name": "v"}]);
    for backends in [true, false] {
        let rule = rule(two.clone(), backends).unwrap();
        assert_eq!(rule.backends.is_empty(), !backends);
        let upstreams: Vec<_> = rule.upstreams.iter().map(|upstream| (&*upstream.name, upstream.weight)).collect();
        assert_eq!(upstreams, [("u", 0), ("v", 100)]);
    }
    for (upstreams, field, why) in [
        (json!([]), "spec.http[0].backends", "at least one"),
        (json!([{"weight": 1}]), "spec.http[0].upstreams[0].name", "empty"),
        (json!([{"name": "u"}, {"name": "u"}]), "spec.http[0].upstreams[1].name", "already"),
        (json!([{"name": "u", "weight": -1}]), "spec.http[0].upstreams[0].weight", "between"),
    ] {
        let invalid = rule(upstreams, false).unwrap_err();
        assert_eq!((invalid.field.as_str(), invalid.reason), (field, Reason::InvalidSpec));
        assert!(invalid.message.contains(why), "{invalid}");
    }
}

/// A good entry of `spec.stream` with `field` (a JSON pointer below it) set to `value`.
fn stream_with(field: &str, value: Value) -> Value {
    let mut rule = json!({
        "name": "s",
        "protocol": "TCP",
        "match": {"ingressPort": 9100, "host": "db.example"},
        "backend": {"serviceName": "db", "servicePort": 5432, "resolveGranularity": "service"},
    });
    let (parent, name) = field.rsplit_once('/').unwrap_or(("", field));
    rule.pointer_mut(parent).unwrap()[name] = value;
    json!({"stream": [rule]})
}

#[test]
fn a_stream_rule_has_a_port_a_protocol_and_perhaps_a_host() {
    let route = parse(stream_with("/name", json!("s"))).unwrap();
    assert!(route.rules.is_empty());
    let backend = BackendRef {
        granularity: Granularity::Service,
        port: PortRef::Number(5432),
        protocol: Protocol::Tcp,
        service: "db".into(),
        weight: 100,
    };
    let expected = StreamRule {
        backend: StreamBackend::Service(backend),
        clients: Box::default(),
        field: "spec.stream[0]".into(),
        host: HostPattern::Exact("db.example".into()),
        name: "s".into(),
        port: Some(9100),
        protocol: Some(Protocol::Tcp),
    };
    assert_eq!(route.streams, [expected]);
    let mut udp = stream_with("/protocol", json!("UDP"));
    udp["stream"][0]["match"]["host"].take();
    let udp = parse(udp).unwrap().streams.remove(0);
    let StreamBackend::Service(backend) = udp.backend else { panic!("{udp:?}") };
    assert_eq!((udp.protocol, backend.protocol, udp.host), (Some(Protocol::Udp), Protocol::Udp, HostPattern::Any));
}

#[test]
fn the_oldest_shape_of_a_stream_is_tcp() {
    let mut spec = stream_with("/match", json!({"ingressPort": 9100}));
    spec["stream"][0]["protocol"].take();
    spec["tcp"] = spec["stream"].take();
    let streams = parse(spec).unwrap().streams;
    assert_eq!((streams[0].protocol, &*streams[0].field), (Some(Protocol::Tcp), "spec.tcp[0]"));
}

#[test]
fn what_is_wrong_with_a_stream_is_named() {
    for (field, value, blamed, named) in [
        ("/name", json!(""), "name", "empty"),
        ("/protocol", json!(null), "protocol", "UDP"),
        ("/protocol", json!("SCTP"), "protocol", "SCTP"),
        ("/protocol", json!("UDP"), "match.host", "UDP"),
        ("/match", json!(null), "match", "set"),
        ("/match/ingressPort", json!(0), "match.ingressPort", "65535"),
        ("/match/ingressPort", json!(65536), "match.ingressPort", "65535"),
        ("/match/host", json!("*"), "match.host", "*.example.com"),
        ("/backend", json!(null), "backend", "set"),
        ("/backend/servicePort", json!(null), "backend.servicePort", "set"),
        ("/backend/subset", json!("v1"), "backend.subset", "subset"),
        ("/plugins", json!([{"name": "mqtt-proxy"}]), "plugins[0]", "mqtt-proxy"),
    ] {
        let invalid = parse(stream_with(field, value)).unwrap_err();
        assert_eq!(invalid.field, format!("spec.stream[0].{blamed}"), "{invalid}");
        assert!(invalid.message.contains(named), "{invalid}");
    }
    let mut twice = with("/name", json!("s"));
    twice["stream"] = stream_with("/name", json!("s"))["stream"].take();
    assert_eq!(parse(twice).unwrap_err().field, "spec.stream[0].name");
    let mut udp = stream_with("/name", json!("s"));
    udp["stream"][0]["protocol"] = json!("UDP");
    udp["tcp"] = udp["stream"].take();
    assert_eq!(parse(udp).unwrap_err().field, "spec.tcp[0].protocol");
}
