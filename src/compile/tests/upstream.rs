//! ApisixUpstreams and the backends that they speak for.

use std::time::Duration;

use super::*;
use crate::model::{PassHost, ServiceSettings, SettingsByPort, Timeouts, UpstreamSettings};
use crate::snapshot::Host;

fn upstream(class: Option<&str>, settings: Result<UpstreamSettings, Invalid>) -> Object {
    let settings = settings.map(|default| SettingsByPort { default, nodes: vec![], ports: [].into() });
    Object::ApisixUpstream(observed(0, Ok(ServiceSettings { class: class.map(Arc::from), settings })))
}

fn seconds(seconds: u64) -> Timeouts {
    Timeouts { connect: Duration::from_secs(seconds), ..Timeouts::default() }
}

/// A route to the Service `s` with one endpoint.
fn bench(rule: Rule) -> Bench {
    let mut bench = Bench::new();
    bench.put("s", service(ServiceAddress::Headless)).put("s1", slice("s", &[1])).put("r", route(1, vec![rule]));
    bench
}

fn only_route(bench: &Bench) -> &crate::snapshot::Route {
    let host = HostName::parse("a.example").unwrap();
    bench.snapshot.routes.covering(&host).flat_map(HostRoutes::iter).next().unwrap().1
}

fn backend(bench: &Bench) -> Option<&Arc<crate::snapshot::Upstream>> {
    only_route(bench).backends.pick()
}

#[test]
fn an_upstream_speaks_for_the_service_of_its_name() {
    let mut bench = bench(rule("x", "a.example", "/*", &[("s", 1)]));
    let settings = UpstreamSettings {
        host: PassHost::Rewrite("b.example".into()),
        retries: Some(2),
        timeouts: Some(seconds(3)),
        ..UpstreamSettings::default()
    };
    bench.put("other", upstream(None, Ok(settings.clone()))).compile();
    assert_eq!(backend(&bench).unwrap().host, Host::Pass);
    bench.put("s", upstream(None, Ok(settings))).compile();
    let found = backend(&bench).unwrap();
    assert_eq!(found.host, Host::Rewrite(http::HeaderValue::from_static("b.example")));
    assert_eq!((found.attempts, found.timeouts), (3, Some(seconds(3))));
    assert_eq!(bench.problems(Kind::ApisixUpstream, "s"), []);
    bench.remove(Kind::ApisixUpstream, "s").compile();
    assert_eq!(backend(&bench).unwrap().timeouts, None);
}

#[test]
fn the_settings_of_a_port_replace_all_others() {
    let mut bench = bench(rule("x", "a.example", "/*", &[("s", 1)]));
    let default = UpstreamSettings { host: PassHost::Node, ..UpstreamSettings::default() };
    let port = UpstreamSettings { retries: Some(0), ..UpstreamSettings::default() };
    let of =
        |number| SettingsByPort { default: default.clone(), nodes: vec![], ports: [(number, port.clone())].into() };
    let object =
        |number| Object::ApisixUpstream(observed(0, Ok(ServiceSettings { class: None, settings: Ok(of(number)) })));
    bench.put("s", object(80)).compile();
    let found = backend(&bench).unwrap();
    assert_eq!((&found.host, found.attempts), (&Host::Pass, 1));
    bench.put("s", object(81)).compile();
    let found = backend(&bench).unwrap();
    assert_eq!((&found.host, found.attempts), (&Host::Node, usize::MAX));
}

#[test]
fn the_deadlines_of_a_route_come_first() {
    let mut bench = bench(Rule { timeouts: Some(seconds(1)), ..rule("x", "a.example", "/*", &[("s", 1)]) });
    let settings = UpstreamSettings { timeouts: Some(seconds(3)), ..UpstreamSettings::default() };
    bench.put("s", upstream(None, Ok(settings))).compile();
    let route = only_route(&bench);
    assert_eq!((backend(&bench).unwrap().timeouts, route.timeouts), (None, seconds(1)));
}

#[test]
fn a_refused_upstream_takes_its_backend_and_nothing_else() {
    let mut bench = bench(rule("x", "a.example", "/*", &[("s", 1)]));
    bench.put("t", service(ServiceAddress::Headless)).put("t1", slice("t", &[2]));
    bench.put("r2", route(2, vec![rule("y", "b.example", "/*", &[("t", 1)])]));
    bench.put("s", upstream(None, Err(Invalid::unsupported("spec.scheme", "`https` is not served")))).compile();
    assert!(backend(&bench).is_none(), "plain text must not be sent where TLS is asked for");
    let problems = bench.problems(Kind::ApisixUpstream, "s");
    assert_eq!(problems, [(Effect::Refused, Reason::Unsupported, "spec.scheme: `https` is not served".to_owned())]);
    let (effect, _, message) = bench.problems(Kind::ApisixRoute, "r").remove(0);
    assert_eq!(effect, Effect::Unresolved);
    assert!(message.starts_with("spec.http[0].backends[0].serviceName: ApisixUpstream ns/s"), "{message}");
    assert_eq!(bench.problems(Kind::ApisixRoute, "r2"), []);
}

#[test]
fn an_upstream_of_another_class_does_not_count() {
    let mut bench = bench(rule("x", "a.example", "/*", &[("s", 1)]));
    let refused = Err(Invalid::unsupported("spec.scheme", "`https` is not served"));
    bench.put("s", upstream(Some("other"), refused)).compile();
    assert!(backend(&bench).is_some());
    assert!(bench.report.objects.keys().all(|object| object.kind != Kind::ApisixUpstream));
}
