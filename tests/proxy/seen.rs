//! What is told about clients: `explain`, the audit log, and metrics by host.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis::compile::Report;
use portcullis::explain::{Configuration, Explanation, Question};
use portcullis::model::{Failure, FailureAnswer, FailureBody, Invalid, Methods, Mode};
use portcullis::proxy::Settings;
use portcullis::snapshot::{Policy, Route};
use rcgen::{DnType, ExtendedKeyUsagePurpose};
use rustls::pki_types::UnixTime;

use crate::client::{Connection, tls, tls_config};
use crate::lines::ERRORS;
use crate::pki::{Certified, PKI};
use crate::scene::{Config, Scene, config, endpoint, route};
use crate::upstream::hello;

pub(crate) fn explain(scene: &Scene, question: &Question) -> Explanation {
    let (report, settings, snapshot) = (Report::default(), Settings::default(), scene.current.load());
    let configuration = Configuration { report: &report, settings: &settings, snapshot: &snapshot };
    configuration.explain(question, UnixTime::now()).unwrap()
}

/// The status of a real request; `None` where there is no answer.
async fn request(scene: &Scene, question: &Question, client: Option<&Certified>) -> Option<u16> {
    let url: http::Uri = question.url.parse().unwrap();
    let (host, path) = (url.host().unwrap(), url.path());
    let mut connection = if url.scheme_str() == Some("https") {
        let sni = question.sni.as_deref().unwrap_or(host);
        let stream = tls(scene.https, sni, tls_config("http/1.1", client)).await.ok()?;
        Connection::over(stream, false).await
    } else {
        Connection::plain(scene.http).await
    };
    let request = connection.request(&question.method, host, path).body(crate::upstream::text("")).unwrap();
    connection.send(request).await.ok().map(|response| response.status().as_u16())
}

fn answer(status: u16) -> Failure {
    let body = FailureBody::Text { content_type: "text/plain".into(), text: "no".into() };
    Failure::Answer(FailureAnswer { body, status })
}

const HOSTS: [&str; 12] = [
    "x-open.test",
    "x-require.test",
    "x-same.test",
    "x-other.test",
    "x-optional.test",
    "x-observe.test",
    "x-skip.test",
    "x-answer.test",
    "x-alert.test",
    "x-refuse.test",
    "x-broken.test",
    "a.x-wild.test",
];

fn hosts(to: std::net::SocketAddr) -> Config {
    let with = |change: fn(&mut portcullis::model::ClientSettings)| PKI.clients.policy_with(change);
    let get = Methods::NONE.with("GET").unwrap();
    let to = [endpoint(to)];
    let mut config = config()
        .tls("x-open.test", Policy::Open)
        .tls("x-require.test", PKI.clients.policy())
        .tls("x-same.test", PKI.clients.policy())
        .tls("x-other.test", PKI.others.policy())
        .tls("x-optional.test", with(|settings| settings.mode = Mode::Optional))
        .tls("x-observe.test", with(|settings| settings.mode = Mode::Observe))
        .tls("x-skip.test", with(|settings| settings.skip = vec!["^/public/".into()]))
        .tls("x-answer.test", with(|settings| settings.failure = answer(403)))
        .tls("x-alert.test", with(|settings| settings.failure = Failure::Alert))
        .tls("x-refuse.test", Policy::Refuse(Arc::new(Invalid::spec("spec.client", "broken"))))
        .broken_tls("x-broken.test", Invalid::spec("spec.secret", "broken"))
        .tls("*.x-wild.test", PKI.clients.policy());
    for host in HOSTS {
        let routes = vec![
            ("/public/*", route(&to)),
            ("/get", Route { methods: get, ..route(&to) }),
            ("/nobody", route(&[])),
            ("/private/*", route(&to)),
        ];
        config = config.routes(host, routes);
    }
    config
}

#[tokio::test]
async fn explain_says_of_every_request_what_becomes_of_it() {
    let upstream = hello().await;
    let scene = hosts(upstream.address).start();
    let (good, bad) = (PKI.clients.client(), PKI.others.client());
    let paths = [
        ("GET", "/public/a"),
        ("GET", "/public//a"),
        ("GET", "/public/../private/a"),
        ("GET", "/private/a"),
        ("GET", "/get"),
        ("PUT", "/get"),
        ("GET", "/nobody"),
        ("GET", "/none"),
        ("GET", "/%zz"),
        ("TRACE", "/public/a"),
    ];
    let mut questions = Vec::new();
    let mut ask = |scheme: &str, host: &str, sni: Option<&str>, (method, path): (&str, &str)| {
        let (url, sni) = (format!("{scheme}://{host}{path}"), sni.map(str::to_owned));
        let (address, at, certificate, headers) = Default::default();
        let method = method.to_owned();
        questions.push(Question { address, at, certificate, headers, method, sni, url });
    };
    for host in HOSTS.into_iter().chain(["b.a.x-wild.test", "x-unknown.test"]) {
        for scheme in ["http", "https"] {
            ask(scheme, host, None, ("GET", "/public/a"));
            ask(scheme, host, None, ("GET", "/private/a"));
        }
        // On a connection that was made for another host.
        for sni in HOSTS {
            ask("https", host, Some(sni), ("GET", "/public/a"));
        }
    }
    for path in paths {
        for host in ["x-open.test", "x-skip.test", "x-observe.test"] {
            ask("https", host, None, path);
        }
    }
    let mut outcomes = std::collections::BTreeMap::<Option<u16>, usize>::new();
    for question in questions {
        for client in [None, Some(&good), Some(&bad)] {
            let question = Question { certificate: client.map(|client| client.pem.clone()), ..question.clone() };
            let explained = explain(&scene, &question);
            let expected = if explained.served { Some(200) } else { explained.status };
            let real = request(&scene, &question, client).await;
            assert_eq!(real, expected, "{question:?}\n{explained}");
            *outcomes.entry(real).or_default() += 1;
        }
    }
    let seen: Vec<_> = outcomes.into_keys().collect();
    assert_eq!(seen, [None, Some(200), Some(400), Some(403), Some(404), Some(405), Some(421), Some(503)]);
}

#[tokio::test]
async fn a_refusal_is_audited_with_who_and_why_and_bounded() {
    let upstream = hello().await;
    let host = "audit.test";
    let scene = config().tls(host, PKI.clients.policy()).route(host, route(&[endpoint(upstream.address)])).start();
    let mallory = PKI.others.issue_with(&["m.test"], ExtendedKeyUsagePurpose::ClientAuth, |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "mallory\" host=\"forged\"\n2026 INFO");
    });
    for _ in 0..15 {
        let mut client = Connection::secure(scene.https, "h2", host, Some(&mallory)).await;
        assert_eq!(client.get(host, "/a?b=%22").await.status, 400);
    }
    let line = ERRORS.with(&["portcullis::audit", "host=\"audit.test\""]).await;
    for part in [
        "client refused action=\"refused\" reason=\"unknown_issuer\" ",
        " why=\"client certificate verification is not passed: FAILED:unknown issuer\" ",
        " object=\"default/audit.test\" field=\"spec.client\" ",
        " sni=\"audit.test\" peer=\"127.0.0.1:",
        " issuer=\"CN=others\" serial=\"",
        " certificate_sha256=\"",
        " public_key_sha256=\"",
        " resumed=false request=\"GET /a?b=%22 HTTP/2.0\"",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(!line.contains("host=\"forged\""), "{line}");
    assert!(line.contains("mallory"), "{line}");
    let lines = ERRORS.all();
    let audited = |line: &&String| line.contains("portcullis::audit") && line.contains("host=\"audit.test\"");
    assert_eq!(lines.iter().filter(audited).count(), 10, "of 15 that are alike");
    let errors = lines.iter().filter(|line| line.contains("ERROR") && line.contains("host: \"audit.test\"")).count();
    assert_eq!(errors, 15, "APISIX's line is there for each");
}

#[tokio::test]
async fn hosts_have_series_of_what_has_happened_and_lose_them_when_they_go() {
    let upstream = hello().await;
    let (host, idle, other) = ("seen.test", "seen-idle.test", "seen-other.test");
    let scene = || {
        let observing = PKI.clients.policy_with(|settings| settings.mode = Mode::Observe);
        let config = config().tls(host, PKI.clients.policy()).tls("*.seen.test", observing).tls(idle, Policy::Open);
        let config = config.tls(other, PKI.others.policy());
        [host, "*.seen.test", other]
            .into_iter()
            .fold(config, |config, host| config.route(host, route(&[endpoint(upstream.address)])))
    };
    let with_idle = scene();
    let scene = with_idle.start();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (good, bad) = (PKI.clients.client_for(Duration::from_secs(5 * 86_400 + 3_600)), PKI.others.client());
    for (sni, asked, certificate, status) in [
        (host, host, Some(&good), 200),
        (host, host, Some(&bad), 400),
        (host, host, None, 400),
        (host, other, Some(&good), 421),
        ("a.seen.test", "a.seen.test", Some(&bad), 200),
        ("b.seen.test", "b.seen.test", None, 200),
    ] {
        let mut client = Connection::secure(scene.https, "h2", sni, certificate).await;
        assert_eq!(client.get(asked, "/").await.status, status, "{sni} {asked}");
    }
    let mut versions = (*tls_config("nonsense", None)).clone();
    versions.alpn_protocols = vec![b"nonsense".to_vec()];
    assert!(tls(scene.https, host, Arc::new(versions)).await.is_err());

    scene
        .metric_becomes(
            "portcullis_host_handshakes_total{host=\"seen.test\",result=\"failed\",reason=\"incompatible\"}",
            1,
        )
        .await;
    let full = "portcullis_host_handshakes_total{host=\"seen.test\",result=\"full\",reason=\"\"}";
    assert_eq!(scene.metric(full), 4);
    for (name, expected) in [
        ("host_client_auth_refused_total{host=\"seen.test\",reason=\"unknown_issuer\"}", 1),
        ("host_client_auth_refused_total{host=\"seen.test\",reason=\"not_present\"}", 1),
        ("host_client_auth_observed_total{host=\"*.seen.test\",reason=\"unknown_issuer\"}", 1),
        ("host_client_auth_observed_total{host=\"*.seen.test\",reason=\"not_present\"}", 1),
        ("host_misdirected_total{host=\"seen-other.test\"}", 1),
        ("client_certificate_days_left_bucket{le=\"3.0\",host=\"seen.test\"}", 0),
        ("client_certificate_days_left_bucket{le=\"7.0\",host=\"seen.test\"}", 2),
        ("client_certificate_days_left_count{host=\"seen.test\"}", 2),
    ] {
        assert_eq!(scene.metric(&format!("portcullis_{name}")), expected, "{name}");
    }
    let authority =
        scene.metrics("portcullis_client_authority_uses_total{host=\"seen.test\",authority=\"CN=clients\",");
    assert!(matches!(&authority[..], [line] if line.ends_with("} 2")), "{authority:?}");
    let last = scene.metrics("portcullis_client_authority_last_used_timestamp_seconds{host=\"seen.test\",");
    let used: u64 = last[0].rsplit(' ').next().unwrap().parse().unwrap();
    assert!((started..started + 60).contains(&used), "{last:?}");
    let ends = "portcullis_certificate_not_after_timestamp_seconds{host=\"seen.test\",object=\"default/seen.test\",kind=\"client_ca\"}";
    assert_eq!(scene.metric(ends), 67_090_118_400);
    let text = scene.metrics.encode();
    assert!(!text.contains("a.seen.test"), "what clients send is no label");
    assert!(!text.contains("host=\"seen-idle.test\",re"), "nothing has happened there");

    scene.publish(config().tls(host, PKI.others.policy()));
    assert_eq!(scene.metric(full), 4, "a host keeps its counters");
    assert!(
        scene.metrics("portcullis_client_authority_uses_total{").is_empty(),
        "the authority is not trusted any more"
    );
    assert!(!scene.metrics.encode().contains("seen-other.test"), "a host that is gone takes its series along");
}
