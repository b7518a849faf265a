//! Which route takes a request.

use std::sync::Arc;

use portcullis::explain::Question;
use portcullis::model::{
    Comparison, Conditions, Expression, Methods, Network, Number, Pattern, Subject, Test, Variable,
};
use portcullis::snapshot::{Policy, Route};

use crate::client::{Connection, answer};
use crate::scene::{Config, config, endpoint, route};
use crate::seen::explain;
use crate::upstream::{hello, serve, text};

fn text_of(text: &str) -> Arc<str> {
    text.into()
}

fn when(negated: bool, subject: Subject, test: Test) -> Conditions {
    Conditions {
        expressions: [Expression::Comparison(Comparison { negated, subject, test })].into(),
        networks: [].into(),
    }
}

fn from(block: &str) -> Conditions {
    Conditions { expressions: [].into(), networks: [Network::parse(block).unwrap().to_canonical()].into() }
}

/// Routes of one host that answer with their numbers.
async fn numbered(mut config: Config, host: &str, routes: Vec<(&str, Methods, Conditions)>) -> Config {
    let mut made = Vec::new();
    for (number, (path, methods, conditions)) in routes.into_iter().enumerate() {
        let upstream = serve(move |_| async move { http::Response::new(text(number.to_string())) }).await;
        made.push((path, Route { conditions: conditions.into(), methods, ..route(&[endpoint(upstream.address)]) }));
    }
    config = config.routes(host, made);
    config
}

async fn asked(client: &mut Connection, method: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let request =
        headers.iter().fold(client.request(method, host, path), |request, (name, value)| request.header(*name, *value));
    let answer = answer(client.send(request.body(text("")).unwrap()).await.unwrap()).await;
    if answer.status == 200 {
        String::from_utf8(answer.body.to_vec()).unwrap()
    } else {
        answer.status.as_str().to_owned()
    }
}

#[tokio::test]
async fn conditions_choose_among_routes_of_a_path_and_fall_through() {
    let header = |test| when(false, Subject::Header("x-version".into()), test);
    let pattern = |text| Test::Matches(Pattern::new(text, true).unwrap());
    let get = Methods::NONE.with("GET").unwrap();
    let routes = vec![
        ("/a", Methods::ANY, header(Test::Equal("1".into()))),
        ("/a", get, header(Test::Greater(Number::parse("1").unwrap()))),
        ("/a", Methods::ANY, when(false, Subject::Query("v".into()), Test::In([text_of("x y"), text_of("z")].into()))),
        ("/a", Methods::ANY, when(false, Subject::Cookie("v".into()), pattern("^beta"))),
        ("/a", Methods::ANY, from("192.0.2.0/24")),
        ("/*", Methods::ANY, from("::ffff:127.0.0.0/104")),
        ("/b", Methods::ANY, when(true, Subject::Header("x-version".into()), Test::Equal("1".into()))),
        ("/c", Methods::ANY, when(false, Subject::Variable(Variable::Scheme), Test::Equal("https".into()))),
        ("/d", Methods::ANY, when(false, Subject::Variable(Variable::RequestUri), Test::Equal("/x/../d?q".into()))),
    ];
    let scene = numbered(config().tls("cond.test", Policy::Open), "cond.test", routes).await.start();
    for (alpn, scheme) in [("http/1.1", "https"), ("h2", "https"), ("", "http")] {
        let mut client = if scheme == "https" {
            Connection::secure(scene.https, alpn, "cond.test", None).await
        } else {
            Connection::plain(scene.http).await
        };
        for (method, path, headers, expected) in [
            ("GET", "/a", &[("x-version", "1")][..], "0"),
            ("GET", "/a", &[("x-version", "2")], "1"),
            ("PUT", "/a", &[("x-version", "2")], "5"),
            ("GET", "/a", &[("x-version", "two")], "5"),
            ("GET", "/a?v=x+y", &[], "2"),
            ("GET", "/a?v=%7a", &[], "2"),
            ("GET", "/a?v=Z", &[], "5"),
            ("GET", "/a", &[("cookie", "a=b; v=BETA2")], "3"),
            ("GET", "/a", &[("cookie", "vv=beta")], "5"),
            ("GET", "/a", &[("x-real-ip", "192.0.2.1"), ("x-forwarded-for", "192.0.2.1")], "5"),
            ("GET", "/b", &[("x-version", "1")], "5"),
            ("GET", "/b", &[], "6"),
            ("GET", "/c", &[], if scheme == "https" { "7" } else { "5" }),
            ("GET", "/x/../d?q", &[], "8"),
            ("GET", "/d?q", &[], "5"),
        ] {
            let actual = asked(&mut client, method, "cond.test", path, headers).await;
            assert_eq!(actual, expected, "{scheme} {alpn} {method} {path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn a_specific_host_without_a_match_falls_through_to_less_specific_ones() {
    let elsewhere = || from("192.0.2.0/24");
    let header = || when(false, Subject::Header("x".into()), Test::Equal("1".into()));
    let mut config = numbered(config(), "b.a.fall.test", vec![("/a", Methods::ANY, header())]).await;
    for (host, prefix) in [("*.a.fall.test", "/a*"), ("*.fall.test", "/*")] {
        let upstream = serve(move |_| async move { http::Response::new(text(host)) }).await;
        let far = Route { conditions: elsewhere().into(), ..route(&[endpoint(hello().await.address)]) };
        config = config.routes(host, vec![(prefix, route(&[endpoint(upstream.address)])), ("/a/b", far)]);
    }
    let scene = config.start();
    let mut client = Connection::plain(scene.http).await;
    for (host, path, headers, expected) in [
        ("b.a.fall.test", "/a", &[("x", "1")][..], "0"),
        ("b.a.fall.test", "/a", &[], "*.a.fall.test"),
        ("b.a.fall.test", "/b", &[], "*.fall.test"),
        ("c.b.a.fall.test", "/a/b", &[], "*.a.fall.test"),
        ("x.fall.test", "/a/b", &[], "*.fall.test"),
        ("fall.test", "/a", &[], "404"),
    ] {
        assert_eq!(asked(&mut client, "GET", host, path, headers).await, expected, "{host}{path}");
    }
}

#[tokio::test]
async fn exact_beats_prefix_and_a_slash_star_does_not_cover_the_slash_less_path() {
    let any = || (Methods::ANY, Conditions::default());
    let routes = ["/a/*", "/a/b*", "/a/b"].map(|path| (path, any().0, any().1)).into();
    let scene = numbered(config(), "paths.test", routes).await.start();
    let mut client = Connection::plain(scene.http).await;
    for (path, expected) in [("/a/b", "2"), ("/a/bc", "1"), ("/a/", "0"), ("/a/c", "0"), ("/a", "404"), ("/a/./b", "2")]
    {
        assert_eq!(asked(&mut client, "GET", "paths.test", path, &[]).await, expected, "{path}");
    }
}

#[tokio::test]
async fn explain_names_the_condition_that_was_not_satisfied() {
    let header = when(false, Subject::Header("x-version".into()), Test::Equal("1".into()));
    let routes = vec![("/a", Methods::ANY, header), ("/b", Methods::ANY, from("192.0.2.0/24"))];
    let scene = numbered(config(), "why.test", routes).await.start();
    for (path, address, headers, expected) in [
        ("/a", None, &[][..], Some("requires Header x-version Equal \"1\"")),
        ("/a", None, &["x-version: 2"], Some("requires Header x-version Equal \"1\"")),
        ("/a", None, &["X-Version: 1"], None),
        ("/b", None, &[], Some("does not serve clients from 127.0.0.1")),
        ("/b", Some("198.51.100.1"), &[], Some("does not serve clients from 198.51.100.1")),
        ("/b", Some("::ffff:192.0.2.1"), &[], None),
    ] {
        let question = Question {
            address: address.map(|address| address.parse().unwrap()),
            at: None,
            certificate: None,
            headers: headers.iter().map(|header| (*header).to_owned()).collect(),
            method: "GET".to_owned(),
            sni: None,
            url: format!("http://why.test{path}"),
        };
        let explained = explain(&scene, &question);
        assert_eq!(explained.served, expected.is_none(), "{explained}");
        assert_eq!(explained.status, expected.map(|_| 404), "{explained}");
        assert!(expected.is_none_or(|why| explained.to_string().contains(why)), "{explained}");
    }
}
