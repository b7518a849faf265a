//! Objects that come, change and go.

use portcullis::model::Kind;
use serde_json::json;

use crate::client::Connection;
use crate::play::{HOST, ask_host, backend, empty, get, named, route, rule, service, slice, upstream};

#[tokio::test]
async fn a_route_serves_from_its_creation_to_its_end() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply(backend("one", &[one.address]));
    let answer = Connection::plain(stage.http).await.get(HOST, "/a").await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (404, &b"{\"error_msg\":\"404 Route Not Found\"}\n"[..]));
    stage.apply([route("r", &[rule("a", "/a", "one", &json!({})), rule("b", "/b", "one", &json!({}))])]);
    assert_eq!((get(&stage, "/a").await, get(&stage, "/b").await), ("one".into(), "one".into()));
    stage.apply([route("r", &[rule("b", "/b", "one", &json!({}))])]);
    assert_eq!((get(&stage, "/a").await, get(&stage, "/b").await), ("404".into(), "one".into()));
    stage.delete(Kind::ApisixRoute, "r");
    assert_eq!(get(&stage, "/b").await, "404");
}

#[tokio::test]
async fn objects_whose_names_begin_alike_have_nothing_in_common() {
    let (stage, one, two) = (empty().await, named("one").await, named("two").await);
    stage.apply(backend("one", &[one.address]).into_iter().chain(backend("one-two", &[two.address])));
    stage.apply(
        [("r", "/a", "one"), ("r-a", "/b", "one-two")]
            .map(|(name, path, service)| route(name, &[rule("a", path, service, &json!({}))])),
    );
    assert_eq!((get(&stage, "/a").await, get(&stage, "/b").await), ("one".into(), "two".into()));
    stage.delete(Kind::ApisixRoute, "r");
    stage.delete(Kind::Service, "one");
    assert_eq!((get(&stage, "/a").await, get(&stage, "/b").await), ("404".into(), "two".into()));
}

#[tokio::test]
async fn without_endpoints_the_answer_is_503_until_there_are_some() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply([route("r", &[rule("a", "/a", "one", &json!({}))])]);
    assert_eq!(get(&stage, "/a").await, "503", "no Service");
    stage.apply([service("one")]);
    assert_eq!(get(&stage, "/a").await, "503", "no endpoint");
    let port = one.address.port();
    for (addresses, expected) in [(&["127.0.0.1"][..], "one"), (&[], "503"), (&["127.0.0.1"], "one")] {
        stage.apply([slice("one", port, addresses)]);
        assert_eq!(get(&stage, "/a").await, expected, "{addresses:?}");
    }
}

#[tokio::test]
async fn an_object_of_another_class_is_not_served() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply(backend("one", &[one.address]));
    for (class, expected) in [("apisix", "one"), ("other", "404"), ("apisix", "one")] {
        let mut object = route("r", &[rule("a", "/a", "one", &json!({}))]);
        object["spec"]["ingressClassName"] = class.into();
        stage.apply([object]);
        assert_eq!(get(&stage, "/a").await, expected, "{class}");
    }
}

#[tokio::test]
async fn an_upstream_object_speaks_for_the_service_of_its_name_and_its_changes_count() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply(backend("one", &[one.address]));
    stage.apply([route("r", &[rule("a", "/a", "one", &json!({}))])]);
    let node = one.address.to_string();
    for (spec, expected) in [
        (json!({}), HOST),
        (json!({"passHost": "pass"}), HOST),
        (json!({"passHost": "rewrite", "upstreamHost": "first.test"}), "first.test"),
        (json!({"passHost": "rewrite", "upstreamHost": "second.test"}), "second.test"),
        (json!({"passHost": "node"}), node.as_str()),
    ] {
        stage.apply([upstream("one", &spec)]);
        assert_eq!(get(&stage, "/a").await, "one");
        assert_eq!(one.seen().pop().unwrap().header("host"), Some(expected), "{spec}");
    }
    stage.delete(Kind::ApisixUpstream, "one");
    assert_eq!(get(&stage, "/a").await, "one");
    assert_eq!(one.seen().pop().unwrap().header("host"), Some(HOST));
}

#[tokio::test]
async fn a_broken_object_is_refused_with_its_field_and_leaves_the_others_alone() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply(backend("one", &[one.address]));
    stage.apply([route("good", &[rule("a", "/good", "one", &json!({}))])]);
    let plugin = |enable: bool| json!({"plugins": [{"name": "no-such-plugin", "enable": enable}]});
    let twice = |more: &str| rule(more, "/bad", "one", &json!({}));
    let same = json!({"backends": [
        {"serviceName": "one", "servicePort": 80}, {"serviceName": "one", "servicePort": 80},
    ]});
    let expression = |fields: serde_json::Value| json!({"match": {"exprs": [fields]}});
    let path = json!({"scope": "Path"});
    for (rules, field, word) in [
        (vec![twice("same"), twice("same")], "spec.http[1].name", "same"),
        (vec![rule("a", "/bad", "one", &same)], "spec.http[0].backends[1]", ""),
        (vec![rule("a", "/bad", "one", &plugin(true))], "spec.http[0].plugins", "no-such-plugin"),
        (vec![rule("a", "bad", "one", &json!({}))], "spec.http[0].match.paths[0]", "/"),
        (vec![rule("a", "/bad", "one", &json!({"match": {"hosts": ["*"]}}))], "spec.http[0].match.hosts[0]", "*"),
        (
            vec![rule("a", "/bad", "one", &json!({"match": {"methods": ["BREW"]}}))],
            "spec.http[0].match.methods",
            "BREW",
        ),
        (
            vec![rule("a", "/bad", "one", &json!({"match": {"remoteAddrs": ["10.0.0.0/33"]}}))],
            "spec.http[0].match.remoteAddrs[0]",
            "10.0.0.0/33",
        ),
        (
            vec![rule("a", "/bad", "one", &expression(json!({"subject": path, "op": "Like", "value": "a"})))],
            "spec.http[0].match.exprs[0].op",
            "Like",
        ),
        (
            vec![rule("a", "/bad", "one", &expression(json!({"subject": path, "op": "In", "set": []})))],
            "spec.http[0].match.exprs[0].set",
            "",
        ),
        (
            vec![rule(
                "a",
                "/bad",
                "one",
                &expression(json!({"subject": {"scope": "Header"}, "op": "Equal", "value": "a"})),
            )],
            "spec.http[0].match.exprs[0].subject.name",
            "",
        ),
        (vec![rule("a", "/bad", "one", &json!({"match": {"filter_func": "function(vars) end"}}))], "filter_func", ""),
    ] {
        let rules: Vec<_> = rules.into_iter().chain([rule("whole", "/whole", "one", &json!({}))]).collect();
        stage.apply([route("bad", &rules)]);
        let problems = stage.problems_of(Kind::ApisixRoute, "bad");
        assert!(problems.iter().any(|why| why.contains(field) && why.contains(word)), "{field}: {problems:?}");
        assert_eq!(get(&stage, "/whole").await, "404", "{field}: half of an object is worse than none");
        assert_eq!(get(&stage, "/good").await, "one", "{field}");
    }
    stage.apply([route("bad", &[rule("a", "/bad", "one", &plugin(false))])]);
    assert_eq!(stage.problems_of(Kind::ApisixRoute, "bad"), [""; 0]);
    assert_eq!(get(&stage, "/bad").await, "one", "a plugin that is switched off is none");
}

#[tokio::test]
async fn hosts_have_no_case() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply(backend("one", &[one.address]));
    let hosts = json!({"match": {"hosts": ["Upper.TEST", "*.Wild.test"]}});
    stage.apply([route("r", &[rule("a", "/a", "one", &hosts)])]);
    for host in ["upper.test", "UPPER.test", "upper.test.", "upper.test:8080", "A.wild.TEST", "b.a.wild.test"] {
        assert_eq!(ask_host(&stage, host, "GET", "/a", &[]).await, "one", "{host}");
    }
    assert_eq!(ask_host(&stage, "wild.test", "GET", "/a", &[]).await, "404");
}
