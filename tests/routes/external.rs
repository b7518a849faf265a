//! Upstreams outside of the cluster: `upstreams` and `externalNodes`.

use portcullis::model::Kind;
use serde_json::{Value, json};

use crate::play::{HOST, backend, empty, get, named, route, rule, upstream};
use crate::upstream::Recorder;

/// A node by its address.
fn node(recorder: &Recorder, weight: u32) -> Value {
    let (name, port) = (recorder.address.ip().to_string(), recorder.address.port());
    json!({"type": "Domain", "name": name, "port": port, "weight": weight})
}

/// A rule for `/a` that leads to the ApisixUpstreams, and to the Services.
fn leads_to(upstreams: &[(&str, u32)], services: &[(&str, u32)]) -> Value {
    let upstreams: Vec<_> = upstreams.iter().map(|(name, weight)| json!({"name": name, "weight": weight})).collect();
    let backend = |(name, weight): &(&str, u32)| json!({"serviceName": name, "servicePort": 80, "weight": weight});
    let backends: Vec<_> = services.iter().map(backend).collect();
    let mut all = rule("a", "/a", "", &json!({"upstreams": upstreams, "backends": backends}));
    if services.is_empty() {
        all.as_object_mut().unwrap().remove("backends");
    }
    route("r", &[all])
}

#[tokio::test]
async fn a_route_leads_to_the_nodes_that_an_upstream_lists() {
    let (stage, one, two) = (empty().await, named("one").await, named("two").await);
    stage.apply([leads_to(&[("far", 100)], &[])]);
    assert_eq!(get(&stage, "/a").await, "503", "no ApisixUpstream");
    stage.apply([upstream("far", &json!({"externalNodes": [node(&one, 100)]}))]);
    assert_eq!(get(&stage, "/a").await, "one");
    stage.apply([upstream("far", &json!({"externalNodes": [node(&one, 3), node(&two, 1)]}))]);
    for _ in 0..40 {
        get(&stage, "/a").await;
    }
    assert_eq!((one.seen().len(), two.seen().len()), (31, 10), "by weight");
    stage.delete(Kind::ApisixUpstream, "far");
    assert_eq!(get(&stage, "/a").await, "503");
}

#[tokio::test]
async fn an_outside_upstream_is_asked_for_its_own_host_where_it_says_so() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply([leads_to(&[("far", 100)], &[])]);
    let address = one.address.to_string();
    for (more, expected) in [
        (json!({}), HOST),
        (json!({"passHost": "node"}), address.as_str()),
        (json!({"passHost": "rewrite", "upstreamHost": "far.test"}), "far.test"),
    ] {
        let mut spec = json!({"externalNodes": [node(&one, 100)]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stage.apply([upstream("far", &spec)]);
        assert_eq!(get(&stage, "/a").await, "one");
        assert_eq!(one.seen().pop().unwrap().header("host"), Some(expected), "{spec}");
    }
}

#[tokio::test]
async fn upstreams_and_backends_share_the_traffic_of_a_rule() {
    let (stage, one, two) = (empty().await, named("one").await, named("two").await);
    stage.apply(backend("near", &[one.address]));
    stage.apply([upstream("far", &json!({"externalNodes": [node(&two, 100)]}))]);
    stage.apply([leads_to(&[("far", 1)], &[("near", 2)])]);
    for _ in 0..30 {
        get(&stage, "/a").await;
    }
    assert_eq!((one.seen().len(), two.seen().len()), (20, 10));
    stage.apply([leads_to(&[("nowhere", 100)], &[("near", 1)])]);
    for _ in 0..10 {
        assert_eq!(get(&stage, "/a").await, "one", "what is not there gets none");
    }
    let problems = stage.problems_of(Kind::ApisixRoute, "r");
    assert!(problems.iter().any(|why| why.contains("nowhere")), "{problems:?}");
}

#[tokio::test]
async fn a_node_that_is_no_service_of_the_right_type_gets_nothing() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply(backend("inside", &[one.address]));
    stage.apply([leads_to(&[("far", 100)], &[])]);
    for name in ["inside", "missing"] {
        stage.apply([upstream("far", &json!({"externalNodes": [{"type": "Service", "name": name}]}))]);
        assert_eq!(get(&stage, "/a").await, "503", "{name}");
    }
    assert_eq!(one.seen().len(), 0);
}
