//! Class C: TLS for one host, the request for another (Traefik CVE-2022-23632 and GHSA-5r4w-85f3-pw66, Emissary
//! CVE-2021-36371, Contour #1493).

use portcullis::model::HostName;
use portcullis::proxy::Settings;
use serde_json::json;

use crate::attacker::{Attacker, ways};
use crate::client::{Connection, raw};
use crate::frames::{HEADERS, answered, field};
use crate::objects::{client_tls, tls, trusts};
use crate::pki::PKI;
use crate::s_client::{get, s_client};
use crate::stage::Stage;
use crate::upstream::text;

/// Hosts without client authentication.
const OPEN: [&str; 2] = ["open.test", "open.wild.test"];

/// Hosts with it; the last one is covered by a wildcard's policy, but not by its certificate.
const PROTECTED: [&str; 6] =
    ["exact.test", "other.test", "xn--bcher-kva.test", "a.wild.test", "xn--bcher-kva.wild.test", "b.a.wild.test"];

async fn stage() -> Stage {
    Stage::new([
        tls("open", &OPEN),
        client_tls("exact", &["exact.test", "twin.test", "xn--bcher-kva.test", "*.wild.test"], trusts("clients")),
        client_tls("other", &["other.test"], trusts("others")),
    ])
    .await
}

/// Ways to write one host.
fn forms(host: &str) -> [String; 6] {
    let upper = host.to_ascii_uppercase();
    [
        host.to_owned(),
        upper.clone(),
        format!("{host}."),
        format!("{host}:443"),
        format!("{upper}.:8443"),
        format!("{host}:"),
    ]
}

#[tokio::test]
async fn class_c_a_connection_of_an_open_host_reaches_no_protected_host() {
    let stage = stage().await;
    for (version, alpn) in ways() {
        let attacker = Attacker::new(version, alpn, Some(&PKI.clients.client()));
        for sni in OPEN {
            let mut later = attacker.connect(stage.https, sni).await.connection;
            assert_eq!(later.status(sni, "/").await, Some(200), "the host of the connection is served");
            let before = stage.passed();
            for host in PROTECTED {
                for form in forms(host) {
                    let status = later.status(&form, "/").await;
                    assert_eq!(status, Some(421), "{version:?} {alpn} {sni} {form}: a later request");
                }
                let first = attacker.status(stage.https, sni, host).await;
                assert_eq!(first, Some(421), "{version:?} {alpn} {sni} {host}: the first request");
            }
            assert_eq!(stage.passed(), before);
            assert_eq!(later.status(sni, "/").await, Some(200), "the connection goes on for its own host");
        }
    }
}

#[tokio::test]
async fn class_c_a_certificate_for_one_policy_opens_no_host_of_another() {
    let stage = stage().await;
    for (version, alpn) in ways() {
        let good = Attacker::new(version, alpn, Some(&PKI.clients.client()));
        let mut connection = good.connect(stage.https, "exact.test").await.connection;
        for (host, expected) in [("exact.test", 200), ("other.test", 421), ("open.test", 421), ("b.a.wild.test", 200)] {
            for form in forms(host) {
                let before = stage.passed();
                assert_eq!(connection.status(&form, "/").await, Some(expected), "{version:?} {alpn} {form}");
                assert_eq!(stage.passed() - before, usize::from(expected == 200));
            }
        }
        let before = stage.passed();
        let bad = Attacker::new(version, alpn, Some(&PKI.others.client()));
        let none = Attacker::new(version, alpn, None);
        for host in ["exact.test", "twin.test", "a.wild.test"] {
            for attacker in [&bad, &none] {
                assert_eq!(attacker.status(stage.https, host, host).await, Some(400), "{version:?} {alpn} {host}");
                assert_eq!(
                    attacker.status(stage.https, host, "other.test").await,
                    Some(421),
                    "{version:?} {alpn} {host}"
                );
            }
        }
        assert_eq!(stage.passed(), before);
    }
}

#[tokio::test]
async fn class_c_no_sni_an_unknown_one_or_an_address_completes_no_handshake() {
    let stage = stage().await;
    for (version, alpn) in ways() {
        let attacker = Attacker::new(version, alpn, Some(&PKI.clients.client()));
        // rustls sends no SNI for an address.
        for sni in ["127.0.0.1", "unknown.test", "wild.test", "b.a.wild.test"] {
            let error = attacker.stream(stage.https, sni).await.unwrap_err();
            assert!(error.to_string().contains("UnrecognisedName"), "{version:?} {alpn} {sni}: {error}");
        }
    }
    for sni in
        ["127.0.0.1", "open.test/", "open.test:443", " open.test", "*.wild.test", "open..test", "ex\u{e4}ct.test"]
    {
        let output = s_client(stage.https, &["-servername", sni], &get("exact.test")).await;
        assert!(output.contains("New, (NONE)"), "{sni}: the handshake completed: {output}");
    }
    assert_eq!(stage.passed(), 0);
}

#[tokio::test]
async fn class_c_a_fallback_for_clients_without_sni_opens_no_other_host() {
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    for (fallback, host, expected) in [
        ("exact.test", "exact.test", Some(400)),
        ("exact.test", "other.test", Some(421)),
        ("open.test", "exact.test", Some(421)),
        ("open.test", "open.test", Some(200)),
        ("unknown.test", "open.test", None),
        ("b.a.wild.test", "open.test", None),
    ] {
        let settings = Settings {
            fallback_sni: HostName::parse(fallback),
            http: vec![loopback],
            https: vec![loopback],
            ..Settings::default()
        };
        let objects = [tls("open", &OPEN), client_tls("exact", &["exact.test", "*.wild.test"], trusts("clients"))];
        let stage = Stage::with(settings, objects).await;
        stage.apply([client_tls("other", &["other.test"], trusts("others"))]);
        for (version, alpn) in ways() {
            let before = stage.passed();
            let attacker = Attacker::new(version, alpn, None);
            let status = attacker.status(stage.https, "127.0.0.1", host).await;
            assert_eq!(status, expected, "{version:?} {alpn} {fallback} {host}");
            assert_eq!(attacker.status(stage.https, "unknown.test", "open.test").await, None, "an SNI that is unknown");
            assert_eq!(stage.passed() - before, usize::from(expected == Some(200)));
        }
    }
}

#[tokio::test]
async fn class_c_an_sni_in_another_form_is_the_same_host() {
    let stage = stage().await;
    for (sni, host, expected) in [
        ("EXACT.TEST", "exact.test", "400"),
        ("exact.test.", "exact.test", "400"),
        ("A.Wild.Test.", "a.wild.test", "400"),
        ("Open.Test", "exact.test", "421"),
        ("OPEN.TEST.", "EXACT.test.", "421"),
        ("OPEN.WILD.TEST", "a.wild.test", "421"),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let output = s_client(stage.https, &[version, "-servername", sni], &get(host)).await;
            assert!(output.contains(&format!("HTTP/1.1 {expected}")), "{version} {sni} {host}: {output}");
        }
    }
    assert_eq!(stage.passed(), 0);
}

#[tokio::test]
async fn class_c_two_hosts_in_one_request_reach_neither() {
    let stage = stage().await;
    let attacker = Attacker::new(&rustls::version::TLS13, "http/1.1", None);
    for (head, expected) in [
        ("GET https://exact.test/ HTTP/1.1\r\nHost: open.test", "400"),
        ("GET https://open.test/ HTTP/1.1\r\nHost: exact.test", "400"),
        ("GET https://exact.test/ HTTP/1.1\r\nHost: exact.test", "421"),
        ("GET http://EXACT.test:80/ HTTP/1.1\r\nHost: exact.test", "421"),
        ("GET / HTTP/1.1\r\nHost: open.test\r\nHost: exact.test", "400"),
        ("GET / HTTP/1.1\r\nHost: exact.test\r\nHost: open.test", "400"),
        ("GET / HTTP/1.1\r\nHost: open.test, exact.test", "400"),
        ("GET / HTTP/1.1\r\nHost: open.test@exact.test", "400"),
        ("GET https://open.test@exact.test/ HTTP/1.1\r\nHost: open.test", "400"),
        ("GET / HTTP/1.1\r\nHost: exact.test/open.test", "400"),
        ("GET / HTTP/1.1\r\nHost: exact.test%2eopen.test", "400"),
        ("GET / HTTP/1.1\r\nHost: exact.test\t", "421"),
        ("GET / HTTP/1.1\r\nHost : exact.test", "400"),
        ("GET / HTTP/1.1\r\nHost: open.test\r\n exact.test", "400"),
        ("GET / HTTP/1.1\r\nHost: b\u{fc}cher.test", "400"),
        ("GET / HTTP/1.1\r\nHost:", "400"),
        ("GET / HTTP/1.1\r\nX: 1", "400"),
        ("GET / HTTP/1.0\r\nX: 1", "400"),
        ("GET / HTTP/1.0\r\nHost: exact.test", "421"),
        ("CONNECT exact.test:443 HTTP/1.1\r\nHost: exact.test:443", "405"),
    ] {
        let request = format!("{head}\r\nConnection: close\r\n\r\n");
        for (listener, answer) in [
            ("TLS", attacker.raw(stage.https, "open.test", &request).await),
            ("plaintext", raw(stage.http, &request).await),
        ] {
            assert_eq!(answer.split(' ').nth(1), Some(expected), "{listener} {head:?}: {answer}");
        }
    }
    assert_eq!(stage.passed(), 0);
}

#[tokio::test]
async fn class_c_authority_and_host_of_an_http2_request_must_agree() {
    let stage = stage().await;
    let attacker = Attacker::new(&rustls::version::TLS13, "h2", None);
    for (authority, host, expected) in [
        ("exact.test", "open.test", 400),
        ("open.test", "exact.test", 400),
        ("exact.test", "exact.test", 421),
        ("open.test", "open.test@exact.test", 400),
    ] {
        let mut connection = attacker.connect(stage.https, "open.test").await.connection;
        let request = connection.request("GET", authority, "/").header("host", host).body(text("")).unwrap();
        let status = connection.send(request).await.unwrap().status();
        assert_eq!(status, expected, "{authority} {host}");
    }
    assert_eq!(stage.passed(), 0);
}

#[tokio::test]
async fn class_c_pseudo_header_fields_out_of_order_reach_nobody() {
    let stage = stage().await;
    let get = || [field(":method", "GET"), field(":scheme", "https"), field(":path", "/")].concat();
    for fields in [
        vec![get(), field("host", "exact.test")],
        vec![get(), field(":authority", "open.test"), field(":authority", "exact.test")],
        vec![get(), field(":authority", "open.test"), field("host", "exact.test"), field("host", "open.test")],
        vec![get(), field("host", "open.test"), field(":authority", "exact.test")],
        vec![get(), field(":authority", "open.test"), field("Host", "exact.test")],
        vec![get(), field(":authority", "open.test"), field(":host", "exact.test")],
        vec![get(), field(":authority", "exact.test\0open.test")],
        vec![get(), field(":authority", "exact.test\r\nhost: open.test")],
        vec![get(), field(":authority", "")],
        vec![get()],
    ] {
        let attacker = Attacker::new(&rustls::version::TLS13, "h2", None);
        let stream = attacker.stream(stage.https, "open.test").await.unwrap();
        answered(stream, &fields.concat()).await;
        assert_eq!(stage.passed(), 0, "{:?}", String::from_utf8_lossy(&fields.concat()));
    }
    let attacker = Attacker::new(&rustls::version::TLS13, "h2", None);
    let stream = attacker.stream(stage.https, "open.test").await.unwrap();
    assert_eq!(answered(stream, &[get(), field(":authority", "open.test")].concat()).await, HEADERS);
    assert_eq!(stage.passed(), 1, "a request in order");
}

#[tokio::test]
async fn class_c_the_plaintext_port_serves_no_protected_host() {
    let stage = stage().await;
    let mut connection = Connection::plain(stage.http).await;
    for host in PROTECTED {
        for form in forms(host) {
            assert_eq!(connection.status(&form, "/").await, Some(421), "{form}");
        }
    }
    assert_eq!(stage.passed(), 0);
    assert_eq!(connection.status("open.test", "/").await, Some(200));
}

#[tokio::test]
async fn class_c_a_lax_mode_of_one_host_opens_no_stricter_one() {
    let with = |name: &str, host: &str, more: serde_json::Value| {
        let mut client = trusts("clients");
        client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client_tls(name, &[host], client)
    };
    let stage = Stage::new([
        with("require", "require.test", json!({})),
        with("optional", "optional.test", json!({"mode": "Optional"})),
        with("observe", "observe.test", json!({"mode": "Observe"})),
        with("skip", "skip.test", json!({"skip_mtls_uri_regex": ["^/"]})),
        with("forward", "forward.test", json!({"forward": {"clientCert": true}})),
    ])
    .await;
    for (version, alpn) in ways() {
        for (certificate, in_optional) in [(None, 200), (Some(&PKI.others.client()), 400)] {
            let attacker = Attacker::new(version, alpn, certificate);
            for (sni, own) in [("optional.test", in_optional), ("observe.test", 200), ("skip.test", 200)] {
                let status = attacker.status(stage.https, sni, sni).await;
                assert_eq!(status, Some(own), "{version:?} {alpn} {sni}");
                let before = stage.passed();
                for host in ["require.test", "forward.test", "REQUIRE.test.:443"] {
                    let status = attacker.status(stage.https, sni, host).await;
                    assert_eq!(status, Some(421), "{version:?} {alpn} {sni} {host}");
                }
                assert_eq!(stage.passed(), before);
            }
        }
    }
}

#[tokio::test]
async fn class_c_requests_in_one_write_and_upgrades_are_judged_one_by_one() {
    let stage = stage().await;
    let attacker = Attacker::new(&rustls::version::TLS12, "http/1.1", None);
    let behind =
        "GET / HTTP/1.1\r\nHost: open.test\r\n\r\nGET / HTTP/1.1\r\nHost: exact.test\r\nConnection: close\r\n\r\n";
    let answers = attacker.raw(stage.https, "open.test", behind).await;
    assert!(answers.starts_with("HTTP/1.1 200 ") && answers.contains("HTTP/1.1 421 "), "{answers}");
    assert_eq!(stage.passed(), 1);
    for (sni, expected) in [("open.test", "421"), ("exact.test", "400")] {
        let upgrade = "GET / HTTP/1.1\r\nHost: exact.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        let close = "GET / HTTP/1.1\r\nHost: exact.test\r\nConnection: close\r\n\r\n";
        let answer = attacker.raw(stage.https, sni, &format!("{upgrade}{close}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{sni}: {answer}");
    }
    assert_eq!(stage.passed(), 1);
}
