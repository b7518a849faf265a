//! Which rule takes a request.

use serde_json::{Value, json};

use crate::play::{ask, backend, empty, get, named, route, rule};

/// A value that a request may have.
type Sample = Option<&'static str>;

/// The operators, what they compare with, and the samples that satisfy them.
const OPERATORS: [(&str, &str, &[Sample]); 13] = [
    ("Equal", "5", &[Some("5")]),
    ("NotEqual", "5", &[None, Some("4"), Some("50"), Some("x")]),
    ("GreaterThan", "5", &[Some("50")]),
    ("GreaterThanEqual", "5", &[Some("5"), Some("50")]),
    ("LessThan", "5", &[Some("4")]),
    ("LessThanEqual", "5", &[Some("4"), Some("5")]),
    ("In", "4,x", &[Some("4"), Some("x")]),
    ("NotIn", "4,x", &[None, Some("5"), Some("50")]),
    ("RegexMatch", "5", &[Some("5"), Some("50")]),
    ("RegexNotMatch", "^5", &[None, Some("4"), Some("x")]),
    ("RegexMatchCaseInsensitive", "^X$", &[Some("x")]),
    ("RegexMatch", "^X$", &[]),
    ("RegexNotMatchCaseInsensitive", "X", &[None, Some("4"), Some("5"), Some("50")]),
];

const SAMPLES: [Sample; 5] = [None, Some("4"), Some("5"), Some("50"), Some("x")];

fn expression(subject: &Value, operator: &str, operand: &str) -> Value {
    if operator.ends_with("In") {
        json!({"subject": subject, "op": operator, "set": operand.split(',').collect::<Vec<_>>()})
    } else {
        json!({"subject": subject, "op": operator, "value": operand})
    }
}

#[tokio::test]
async fn every_operator_does_in_every_scope_what_it_says() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply(backend("one", &[one.address]));
    for subject in [
        json!({"scope": "Header", "name": "X-Value"}),
        json!({"scope": "Query", "name": "value"}),
        json!({"scope": "Cookie", "name": "value"}),
        json!({"scope": "Variable", "name": "http_x_value"}),
        json!({"scope": "Variable", "name": "arg_value"}),
    ] {
        for (operator, operand, satisfied) in OPERATORS {
            let conditions = json!({"match": {"exprs": [expression(&subject, operator, operand)]}});
            stage.apply([route("r", &[rule("a", "/a", "one", &conditions)])]);
            for sample in SAMPLES {
                let value = sample.unwrap_or_default();
                let (query, cookie) = (format!("/a?value={value}"), format!("a=b; value={value}"));
                let answer = match subject["name"].as_str().unwrap() {
                    _ if sample.is_none() => get(&stage, "/a").await,
                    "value" if subject["scope"] == "Cookie" => ask(&stage, "GET", "/a", &[("cookie", &cookie)]).await,
                    "value" | "arg_value" => get(&stage, &query).await,
                    _ => ask(&stage, "GET", "/a", &[("x-value", value)]).await,
                };
                let expected = if satisfied.contains(&sample) { "one" } else { "404" };
                assert_eq!(answer, expected, "{subject} {operator} {operand}: {sample:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_path_is_compared_as_it_is_served() {
    let (stage, one) = (empty().await, named("one").await);
    stage.apply(backend("one", &[one.address]));
    for (operator, operand, path, expected) in [
        ("Equal", "/a/b", "/a/b", "one"),
        ("Equal", "/a/b", "/a/./c/../b", "one"),
        ("Equal", "/a/b", "/a/b/", "404"),
        ("RegexMatch", "^/a/[0-9]+$", "/a/17", "one"),
        ("RegexMatch", "^/a/[0-9]+$", "/a/x", "404"),
        ("NotIn", "/a/b,/a/c", "/a/b", "404"),
        ("NotIn", "/a/b,/a/c", "/a/d", "one"),
    ] {
        let conditions = json!({"match": {"exprs": [expression(&json!({"scope": "Path"}), operator, operand)]}});
        stage.apply([route("r", &[rule("a", "/*", "one", &conditions)])]);
        assert_eq!(get(&stage, path).await, expected, "{operator} {operand}: {path}");
    }
}

#[tokio::test]
async fn methods_and_addresses_let_the_next_rule_try() {
    let (stage, one, two) = (empty().await, named("one").await, named("two").await);
    stage.apply(backend("one", &[one.address]).into_iter().chain(backend("two", &[two.address])));
    let narrow = |more: Value| json!({"priority": 1, "match": more});
    stage.apply([route(
        "r",
        &[
            rule("all", "/*", "two", &json!({})),
            rule("post", "/method", "one", &narrow(json!({"methods": ["POST", "PUT"]}))),
            rule("far", "/address", "one", &narrow(json!({"remoteAddrs": ["192.0.2.0/24", "2001:db8::/32"]}))),
            rule("near", "/near", "one", &narrow(json!({"remoteAddrs": ["192.0.2.1", "127.0.0.0/8"]}))),
        ],
    )]);
    for (method, path, expected) in [
        ("POST", "/method", "one"),
        ("PUT", "/method", "one"),
        ("GET", "/method", "two"),
        ("GET", "/address", "two"),
        ("GET", "/near", "one"),
    ] {
        assert_eq!(ask(&stage, method, path, &[]).await, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn a_priority_decides_among_equal_paths_and_never_against_a_better_one() {
    let (stage, one, two) = (empty().await, named("one").await, named("two").await);
    stage.apply(backend("one", &[one.address]).into_iter().chain(backend("two", &[two.address])));
    let urgent = json!({"priority": 1000});
    stage.apply([route(
        "r",
        &[
            rule("low", "/same", "two", &json!({"priority": -1})),
            rule("none", "/same", "one", &json!({})),
            rule("wide", "/deep/*", "two", &urgent),
            rule("exact", "/deep/er", "one", &json!({"priority": -1000})),
            rule("anywhere", "/*", "two", &json!({"priority": 1000, "match": {"hosts": ["*.test"]}})),
        ],
    )]);
    for (path, expected) in [("/same", "one"), ("/deep/er", "one"), ("/deep/est", "two"), ("/else", "two")] {
        assert_eq!(get(&stage, path).await, expected, "{path}");
    }
}
