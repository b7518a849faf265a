//! ApisixUpstreams and the backends that they speak for.

use std::time::Duration;

use super::*;
use crate::model::{
    ActiveCheck, CheckKind, HealthCheck, Keepalive, PassHost, ServiceSettings, SettingsByPort, Sign, Timeouts,
    UpstreamSettings,
};
use crate::snapshot::Host;

fn upstream(class: Option<&str>, settings: Result<UpstreamSettings, Invalid>) -> Object {
    let settings = settings.map(|default| SettingsByPort { default, nodes: vec![], ports: [].into() });
    Object::ApisixUpstream(Box::new(observed(0, Ok(ServiceSettings { class: class.map(Arc::from), settings }))))
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
    let object = |number| {
        Object::ApisixUpstream(Box::new(observed(0, Ok(ServiceSettings { class: None, settings: Ok(of(number)) }))))
    };
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

#[test]
fn routes_share_the_health_of_endpoints_and_compilations_keep_it() {
    let mut bench = bench(rule("x", "a.example", "/*", &[("s", 1)]));
    bench.put("r2", route(2, vec![rule("y", "b.example", "/*", &[("s", 1)])]));
    let check = |path: &str| {
        let active = ActiveCheck { path: path.into(), ..ActiveCheck::default() };
        UpstreamSettings {
            health: Some(Arc::new(HealthCheck { active, passive: None })),
            ..UpstreamSettings::default()
        }
    };
    bench.put("s", upstream(None, Ok(check("/")))).compile();
    let target = |bench: &Bench| backend(bench).unwrap().nodes()[0].health.clone().unwrap();
    let first = target(&bench);
    assert_eq!((&*first.checks.id.upstream, first.host.to_str().unwrap()), ("ns/s:80", "10.0.0.1:8080"));
    assert_eq!(bench.snapshot.dump().health, ["ns/s:80 10.0.0.1:8080 healthy"], "one, however many routes");
    (0..2).for_each(|_| first.checked(Sign::TcpFailure));
    // What the check is about stays what it was, also when the object is written anew.
    bench.put("s1", slice("s", &[1, 2])).put("s", upstream(None, Ok(check("/")))).compile();
    assert!(Arc::ptr_eq(&first, &target(&bench)));
    let health = bench.snapshot.dump().health;
    assert_eq!(health, ["ns/s:80 10.0.0.1:8080 unhealthy", "ns/s:80 10.0.0.2:8080 healthy"]);
    bench.put("s", upstream(None, Ok(check("/other")))).compile();
    assert!(!Arc::ptr_eq(&first, &target(&bench)), "another check finds out for itself");
    assert_eq!(bench.snapshot.carried.health.len(), 1);
    bench.remove(Kind::ApisixUpstream, "s").compile();
    assert!(bench.snapshot.carried.health.is_empty());
}

#[test]
fn a_strict_check_without_authorities_is_named() {
    let mut bench = bench(rule("x", "a.example", "/*", &[("s", 1)]));
    let check = |verify| {
        let active = ActiveCheck { kind: CheckKind::Https { verify }, ..ActiveCheck::default() };
        let health = Some(Arc::new(HealthCheck { active, passive: None }));
        upstream(None, Ok(UpstreamSettings { health, ..UpstreamSettings::default() }))
    };
    // The bench's system has no authorities.
    bench.put("s", check(true)).compile();
    assert!(backend(&bench).is_none());
    let [(effect, reason, message)] = &bench.problems(Kind::ApisixUpstream, "s")[..] else { panic!("one problem") };
    assert_eq!((*effect, *reason), (Effect::Refused, Reason::InvalidCaCertificate));
    assert!(message.starts_with("spec.healthCheck.active.strictTLS: there is no authority"), "{message}");
    bench.put("s", check(false)).compile();
    assert!(backend(&bench).is_some());
    assert_eq!(bench.problems(Kind::ApisixUpstream, "s"), []);
}

#[test]
fn endpoints_are_one_only_where_their_connections_are_kept_alike() {
    let mut bench = bench(rule("x", "a.example", "/*", &[("s", 1)]));
    let keeping = |size| UpstreamSettings {
        keepalive: Keepalive { size, ..Keepalive::default() },
        retry_timeout: Some(Duration::from_secs(3)),
        ..UpstreamSettings::default()
    };
    bench.put("s", upstream(None, Ok(keeping(1)))).compile();
    let first = backend(&bench).unwrap().nodes()[0].endpoint.clone();
    assert_eq!(
        (first.transport.keepalive.size, backend(&bench).unwrap().retry_timeout),
        (1, Some(Duration::from_secs(3)))
    );
    bench.put("s", upstream(None, Ok(keeping(2)))).compile();
    assert!(!Arc::ptr_eq(&first, &backend(&bench).unwrap().nodes()[0].endpoint));
}
