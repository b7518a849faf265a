//! Names and the addresses that DNS has for them.

use super::*;
use crate::model::{
    ExternalName, ExternalNode, PassHost, ServiceSettings, SettingsByPort, UpstreamRef, UpstreamSettings,
};
use crate::snapshot::{Host, Node};

/// A route to an ExternalName Service.
fn bench(name: &str) -> Bench {
    let mut bench = Bench::new();
    bench.put("r", route(1, vec![rule("a", "a.example", "/*", &[("x", 1)])]));
    bench.put("x", service(ServiceAddress::External(name.into()))).compile();
    bench
}

fn found(hosts: &[u8]) -> BTreeSet<IpAddr> {
    hosts.iter().map(|host| IpAddr::from([10, 0, 0, *host])).collect()
}

impl Bench {
    fn answer(&mut self, name: &str, answer: Result<BTreeSet<IpAddr>, String>) -> &mut Self {
        self.world.apply(Change::Lookup { name: name.into(), answer });
        self.compile()
    }

    fn route_problems(&self) -> Vec<(Effect, String)> {
        let problems = self.problems(Kind::ApisixRoute, "r").into_iter();
        problems.map(|(effect, _, message)| (effect, message)).collect()
    }
}

#[test]
fn a_name_leads_to_all_its_addresses() {
    let mut bench = bench("up.example.");
    assert_eq!(bench.names, ["up.example.".into()].into(), "a final dot counts");
    assert_eq!(bench.route_problems(), [], "it is being looked up");
    bench.answer("up.example.", Ok(found(&[2, 1])));
    assert_eq!(bench.snapshot.dump().routes, ["a.example /* -> ns/r/a 1*ns/x:80[10.0.0.1:80,10.0.0.2:80]"]);
    let old = bench.snapshot.carried.endpoints.clone();
    bench.answer("up.example.", Ok(found(&[2, 3])));
    assert_eq!(bench.snapshot.dump().routes, ["a.example /* -> ns/r/a 1*ns/x:80[10.0.0.2:80,10.0.0.3:80]"]);
    let kept = bench
        .snapshot
        .carried
        .endpoints
        .iter()
        .filter(|(key, new)| old.get(key).is_some_and(|old| Arc::ptr_eq(old, new)));
    assert_eq!(kept.count(), 1, "connections outlive a change of the other addresses");
}

#[test]
fn a_name_that_never_resolved_has_no_node_and_is_reported() {
    let mut bench = bench("up.example");
    bench.answer("up.example", Err("does not exist (NXDOMAIN)".into()));
    let message = "spec.http[0].backends[0].serviceName: Service ns/x: `up.example` does not exist (NXDOMAIN)";
    assert_eq!(bench.route_problems(), [(Effect::Unresolved, message.to_owned())]);
    assert_eq!(bench.names.len(), 1, "it is tried again");
    bench.answer("up.example", Ok(found(&[1])));
    assert_eq!(bench.route_problems(), []);
}

#[test]
fn a_name_that_resolves_no_more_keeps_its_addresses_and_is_reported() {
    let mut bench = bench("up.example");
    bench.answer("up.example", Ok(found(&[1]))).answer("up.example", Err("does not exist (NXDOMAIN)".into()));
    assert_eq!(bench.snapshot.dump().routes, ["a.example /* -> ns/r/a 1*ns/x:80[10.0.0.1:80]"]);
    let message =
        "spec.http[0].backends[0].serviceName: `up.example` does not exist (NXDOMAIN); its last addresses stay in use";
    assert_eq!(bench.route_problems(), [(Effect::Stale, message.to_owned())]);
}

#[test]
fn an_address_needs_no_dns() {
    for (name, endpoint) in [("192.0.2.7", "192.0.2.7:80"), ("2001:db8::7", "[2001:db8::7]:80")] {
        let bench = bench(name);
        assert_eq!(bench.names.len(), 0);
        assert_eq!(bench.snapshot.dump().routes, [format!("a.example /* -> ns/r/a 1*ns/x:80[{endpoint}]")]);
    }
}

#[test]
fn a_name_that_no_route_leads_to_is_not_looked_up() {
    let mut bench = bench("up.example");
    bench.put("y", service(ServiceAddress::External("other.example".into()))).compile();
    assert_eq!(bench.names, ["up.example".into()].into());
    bench.remove(Kind::ApisixRoute, "r").compile();
    assert_eq!(bench.names.len(), 0);
}

#[test]
fn a_node_keeps_its_name_for_the_host() {
    let mut bench = bench("up.example.");
    let default = UpstreamSettings { host: PassHost::Node, ..UpstreamSettings::default() };
    let settings = Ok(SettingsByPort { default, nodes: vec![], ports: [].into() });
    bench.put("x", Object::ApisixUpstream(Box::new(observed(0, Ok(ServiceSettings { class: None, settings })))));
    bench.answer("up.example.", Ok(found(&[1])));
    let host = HostName::parse("a.example").unwrap();
    let (_, route) = bench.snapshot.routes.covering(&host).flat_map(HostRoutes::iter).next().unwrap();
    let upstream = route.backends.pick().unwrap();
    assert_eq!(upstream.host, Host::Node);
    assert_eq!(upstream.nodes().iter().filter_map(Node::host).collect::<Vec<_>>(), ["up.example"]);
}

/// A route to the ApisixUpstream `u` with these nodes.
fn external(nodes: Vec<ExternalNode>) -> Bench {
    let mut bench = Bench::new();
    let upstreams = vec![UpstreamRef { field: "spec.http[0].upstreams[0].name".into(), name: "u".into(), weight: 1 }];
    bench.put("r", route(1, vec![Rule { upstreams, ..rule("a", "a.example", "/*", &[]) }]));
    bench.put("u", with_nodes(None, nodes)).compile();
    bench
}

fn with_nodes(class: Option<&str>, nodes: Vec<ExternalNode>) -> Object {
    let default = UpstreamSettings { retries: Some(1), ..UpstreamSettings::default() };
    let settings = Ok(SettingsByPort { default, nodes, ports: [].into() });
    Object::ApisixUpstream(Box::new(observed(0, Ok(ServiceSettings { class: class.map(Arc::from), settings }))))
}

fn domain(name: &str, port: Option<u16>, weight: u32) -> ExternalNode {
    ExternalNode { name: ExternalName::Domain(name.into()), port, priority: 0, weight }
}

fn of_service(name: &str) -> ExternalNode {
    ExternalNode { name: ExternalName::Service(name.into()), port: None, priority: 0, weight: 1 }
}

/// Address, name and weight of each node of the only route.
fn nodes(bench: &Bench) -> Vec<(String, Option<String>, u32)> {
    let host = HostName::parse("a.example").unwrap();
    let (_, route) = bench.snapshot.routes.covering(&host).flat_map(HostRoutes::iter).next().unwrap();
    let node =
        |node: &Node| (node.endpoint.address.to_string(), node.name.as_ref().map(ToString::to_string), node.weight);
    route.backends.iter().flat_map(|(upstream, _)| upstream.nodes().iter().map(node)).collect()
}

#[test]
fn a_route_leads_to_the_external_nodes_of_an_upstream() {
    let mut bench = external(vec![domain("up.example", None, 2), domain("192.0.2.7", Some(81), 1), of_service("x")]);
    assert_eq!(bench.names, ["up.example".into()].into());
    let text = bench.problems(Kind::ApisixUpstream, "u").remove(0).2;
    assert_eq!(text, "spec.externalNodes[2].name: Service ns/x does not exist");
    bench.put("x", service(ServiceAddress::External("x.example".into()))).compile();
    bench.answer("up.example", Ok(found(&[1, 2]))).answer("x.example", Ok(found(&[1])));
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(
        nodes(&bench),
        [
            ("10.0.0.1:80".to_owned(), name("up.example"), 1),
            ("10.0.0.2:80".to_owned(), name("up.example"), 1),
            ("192.0.2.7:81".to_owned(), None, 1),
            ("10.0.0.1:80".to_owned(), name("x.example"), 1),
        ]
    );
    assert_eq!((bench.problems(Kind::ApisixUpstream, "u"), bench.route_problems()), (vec![], vec![]));
}

#[test]
fn a_node_that_cannot_be_resolved_leaves_the_requests_to_the_others() {
    let mut bench = external(vec![domain("gone.example", None, 1), domain("up.example", None, 1), of_service("s")]);
    bench.put("s", service(ServiceAddress::Headless));
    bench.answer("gone.example", Err("does not exist (NXDOMAIN)".into())).answer("up.example", Ok(found(&[1])));
    assert_eq!(nodes(&bench).len(), 1);
    let problems = bench.problems(Kind::ApisixUpstream, "u");
    let texts: Vec<_> = problems.iter().map(|(effect, _, text)| (*effect, text.as_str())).collect();
    let service = "Service ns/s is not of the type ExternalName; name it in `backends` of the route";
    assert_eq!(
        texts,
        [
            (Effect::Unresolved, "spec.externalNodes[0].name: `gone.example` does not exist (NXDOMAIN)"),
            (Effect::Unresolved, &*format!("spec.externalNodes[2].name: {service}")),
        ]
    );
    assert_eq!(bench.route_problems(), []);
    bench.answer("up.example", Err("has no address".into()));
    assert_eq!(nodes(&bench).len(), 1, "the last address stays");
    let stale = "spec.externalNodes[1].name: `up.example` has no address; its last addresses stay in use";
    assert_eq!(bench.problems(Kind::ApisixUpstream, "u")[2].2, stale, "after what is not served");
}

#[test]
fn an_upstream_that_cannot_be_used_is_named_on_the_route() {
    let mut bench = external(vec![]);
    let says = |bench: &Bench, why: &str| {
        let expected = format!("spec.http[0].upstreams[0].name: ApisixUpstream ns/u {why}");
        assert_eq!(bench.route_problems(), [(Effect::Unresolved, expected)]);
        assert_eq!(nodes(bench), []);
    };
    says(&bench, "has no nodes of its own");
    bench.put("u", with_nodes(None, vec![of_service("x")])).compile();
    says(&bench, "has no external node that can be resolved; its own conditions say why");
    bench.put("u", with_nodes(Some("theirs"), vec![domain("192.0.2.7", None, 1)])).compile();
    says(&bench, "belongs to another controller, or to none");
    let settings = Err(Invalid::unsupported("spec.discovery", "discovery is not served"));
    bench
        .put("u", Object::ApisixUpstream(Box::new(observed(0, Ok(ServiceSettings { class: None, settings })))))
        .compile();
    says(&bench, "is refused: spec.discovery: discovery is not served");
    bench.remove(Kind::ApisixUpstream, "u").compile();
    says(&bench, "does not exist");
}

#[test]
fn backends_and_upstreams_share_the_requests() {
    let mut bench = Bench::new();
    let upstreams = vec![UpstreamRef { field: "spec.http[0].upstreams[0].name".into(), name: "u".into(), weight: 1 }];
    bench.put("r", route(1, vec![Rule { upstreams, ..rule("a", "a.example", "/*", &[("s", 3)]) }]));
    bench.put("s", service(ServiceAddress::Headless)).put("s1", slice("s", &[1]));
    bench.put("u", with_nodes(None, vec![domain("192.0.2.7", None, 1)])).compile();
    let expected = "a.example /* -> ns/r/a 3*ns/s:80[10.0.0.1:8080] 1*ns/u[192.0.2.7:80]";
    assert_eq!(bench.snapshot.dump().routes, [expected]);
}
