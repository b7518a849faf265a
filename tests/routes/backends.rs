//! Where the traffic of a rule goes.

use serde_json::json;
use tokio::net::TcpListener;

use crate::play::{ask, backend, empty, get, named, route, rule, service, upstream};
use crate::stage::Stage;
use crate::upstream::nobody;

/// How often each name answers.
async fn tally(stage: &Stage, requests: usize, names: [&str; 2]) -> [usize; 2] {
    let mut counts = [0; 2];
    for _ in 0..requests {
        let answer = get(stage, "/a").await;
        let place = names.iter().position(|name| *name == answer).unwrap_or_else(|| panic!("{answer}"));
        counts[place] += 1;
    }
    counts
}

#[tokio::test]
async fn traffic_is_split_by_weight() {
    let (stage, one, two) = (empty().await, named("one").await, named("two").await);
    stage.apply(backend("one", &[one.address]).into_iter().chain(backend("two", &[two.address])));
    let to = |service: &str, weight: u32| json!({"serviceName": service, "servicePort": 80, "weight": weight});
    for (weights, expected) in [([2, 1], [60, 30]), ([1, 1], [45, 45]), ([1, 0], [90, 0]), ([0, 7], [0, 90])] {
        let backends = json!({"backends": [to("one", weights[0]), to("two", weights[1])]});
        stage.apply([route("r", &[rule("a", "/a", "one", &backends)])]);
        assert_eq!(tally(&stage, 90, ["one", "two"]).await, expected, "{weights:?}");
    }
    let backends = json!({"backends": [to("one", 1), to("nowhere", 1000)]});
    stage.apply([route("r", &[rule("a", "/a", "one", &backends)])]);
    assert_eq!(tally(&stage, 20, ["one", "two"]).await, [20, 0], "what is not there gets none");
}

#[tokio::test]
async fn endpoints_of_a_service_take_turns() {
    let (stage, one, two) = (empty().await, named("one").await, named("two").await);
    stage.apply(backend("both", &[one.address, two.address]));
    stage.apply([route("r", &[rule("a", "/a", "both", &json!({}))])]);
    assert_eq!(tally(&stage, 20, ["one", "two"]).await, [10, 10]);
}

#[tokio::test]
async fn ports_have_names_and_a_service_may_be_reached_as_a_whole() {
    let (stage, one, two) = (empty().await, named("one").await, named("two").await);
    let mut whole = service("whole");
    whole["spec"] = json!({"clusterIP": "127.0.0.1", "ports": [{"name": "web", "port": two.address.port()}]});
    stage.apply(backend("one", &[one.address]).into_iter().chain([whole]));
    let of = |service: &str, port: &str, granularity: &str| json!({"backends": [{"serviceName": service, "servicePort": port, "resolveGranularity": granularity}]});
    stage.apply([route(
        "r",
        &[
            rule("endpoints", "/endpoints", "", &of("one", "http", "endpoint")),
            rule("service", "/service", "", &of("whole", "web", "service")),
            rule("wrong", "/wrong", "", &of("one", "nosuch", "endpoint")),
        ],
    )]);
    for (path, expected) in [("/endpoints", "one"), ("/service", "two"), ("/wrong", "503")] {
        assert_eq!(get(&stage, path).await, expected, "{path}");
    }
}

#[tokio::test]
async fn a_request_is_tried_elsewhere_as_often_as_the_upstream_says() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply(backend("one", &[nobody(), one.address]));
    stage.apply([route("r", &[rule("a", "/a", "one", &json!({}))])]);
    for (retries, failures) in [(json!({}), 0), (json!({"retries": 0}), 10), (json!({"retries": 1}), 0)] {
        stage.apply([upstream("one", &retries)]);
        let mut failed = 0;
        for _ in 0..20 {
            failed += usize::from(ask(&stage, "POST", "/a", &[]).await == "502");
        }
        assert_eq!(failed, failures, "{retries}");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_504() {
    let stage = empty().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    stage.apply(backend("one", &[silent.local_addr().unwrap()]));
    stage.apply([route("r", &[rule("a", "/a", "one", &json!({"timeout": {"read": "200ms"}}))])]);
    assert_eq!(get(&stage, "/a").await, "504", "of the rule");
    stage.apply([route("r", &[rule("a", "/a", "one", &json!({}))])]);
    stage.apply([upstream("one", &json!({"timeout": {"read": "200ms"}}))]);
    assert_eq!(get(&stage, "/a").await, "504", "of the ApisixUpstream");
}

#[tokio::test]
async fn an_upgrade_is_passed_on_where_the_rule_says_so() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply(backend("one", &[one.address]));
    let fields =
        [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
    for (websocket, expected) in [(true, Some("websocket")), (false, None), (true, Some("websocket"))] {
        stage.apply([route("r", &[rule("a", "/a", "one", &json!({"websocket": websocket}))])]);
        assert_eq!(ask(&stage, "GET", "/a", &fields).await, "one");
        assert_eq!(one.seen().pop().unwrap().header("upgrade"), expected, "{websocket}");
    }
}
