//! Class E: a `ClientHello` in pieces, so that a proxy which peeks at it sees no SNI and falls back to a host that lets
//! everyone in (Traefik CVE-2026-32305).

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use portcullis::proxy::Settings;
use rustls::crypto::CryptoProvider;

use crate::attacker::{Attacker, VERSIONS};
use crate::hello::{first_flight, message, records, request, socket};
use crate::objects::{client_tls, tls, trusts};
use crate::stage::Stage;

async fn stage() -> Stage {
    Stage::new([tls("open", &["open.test"]), client_tls("mtls", &["mtls.test"], trusts("clients"))]).await
}

/// A configuration whose `ClientHello` is short: without the 1,216 bytes of a post-quantum key share.
fn short(version: &'static rustls::SupportedProtocolVersion) -> Arc<rustls::ClientConfig> {
    let mut config = (*Attacker::new(version, "http/1.1", None).config).clone();
    let provider = config.crypto_provider();
    let kx_groups = provider.kx_groups.iter().copied().filter(|group| group.name() == rustls::NamedGroup::X25519);
    let provider = CryptoProvider { kx_groups: kx_groups.collect(), ..(**provider).clone() };
    let builder =
        rustls::ClientConfig::builder_with_provider(provider.into()).with_protocol_versions(&[version]).unwrap();
    let verifier = crate::attacker::every_server();
    let mut short = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    short.alpn_protocols = std::mem::take(&mut config.alpn_protocols);
    Arc::new(short)
}

#[tokio::test(flavor = "multi_thread")]
async fn class_e_a_hello_cut_at_any_byte_is_the_same_hello() {
    let stage = stage().await;
    let address = stage.https;
    let attack = move || {
        for version in VERSIONS {
            let config = short(version);
            let length = message(&first_flight(&config, "mtls.test").0).len();
            for at in 1..length {
                let (flight, connection) = first_flight(&config, "mtls.test");
                let message = message(&flight);
                let (left, right) = message.split_at(at.min(message.len() - 1)); // lengths differ by a few bytes
                // Odd: one record in two segments. Even: two records.
                let status = if at % 2 == 1 {
                    let (left, right) = flight.split_at(at);
                    request(address, connection, &[left, right], "mtls.test")
                } else {
                    request(address, connection, &[&records([left, right])], "mtls.test")
                };
                assert_eq!(status.unwrap(), "HTTP/1.1 400", "{version:?} cut at {at}");
            }
        }
    };
    tokio::task::spawn_blocking(attack).await.unwrap();
    assert_eq!(stage.passed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn class_e_records_of_one_byte_and_huge_hellos_are_read_like_any_other() {
    let stage = stage().await;
    let address = stage.https;
    let attack = move || {
        for version in VERSIONS {
            let config = short(version);
            let mut huge = (*config).clone();
            huge.alpn_protocols = (0..100u8).map(|n| vec![n; 250]).chain([b"http/1.1".to_vec()]).collect();
            for (config, sni, host, expected) in [
                (&config, "mtls.test", "mtls.test", "HTTP/1.1 400"),
                (&config, "open.test", "mtls.test", "HTTP/1.1 421"),
                (&Arc::new(huge), "mtls.test", "mtls.test", "HTTP/1.1 400"),
            ] {
                let (flight, connection) = first_flight(config, sni);
                assert_eq!(
                    request(address, connection, &[&flight], host).unwrap(),
                    expected,
                    "{version:?} {sni}: whole"
                );
            }
            let (flight, connection) = first_flight(&config, "mtls.test");
            let bytes = records(message(&flight).chunks(1));
            assert_eq!(request(address, connection, &[&bytes], "mtls.test").unwrap(), "HTTP/1.1 400", "{version:?}");
            let (flight, connection) = first_flight(&config, "unknown.test");
            let bytes = records(message(&flight).chunks(1));
            assert!(request(address, connection, &[&bytes], "mtls.test").is_err(), "{version:?}: an unknown host");
        }
    };
    tokio::task::spawn_blocking(attack).await.unwrap();
    assert_eq!(stage.passed(), 0);
}

/// The `ClientHello` with other names in its SNI (RFC 6066 section 3), as one record.
fn with_names(hello: &[u8], name: &str, names: &[&str]) -> Vec<u8> {
    let two = |length: usize| u16::try_from(length).unwrap().to_be_bytes().to_vec();
    let extension = |names: &[&str]| {
        let entries = names.iter().map(|name| [vec![0], two(name.len()), name.as_bytes().to_vec()].concat());
        let list = entries.collect::<Vec<_>>().concat();
        [vec![0, 0], two(list.len() + 2), two(list.len()), list].concat()
    };
    let (old, new) = (extension(&[name]), extension(names));
    let at = hello.windows(old.len()).position(|window| window == old).expect("an SNI");
    // Message, version and random, session id, cipher suites, compression methods: then the length of the extensions.
    let session = 38 + 1 + usize::from(hello[38]);
    let suites = session + 2 + usize::from(u16::from_be_bytes([hello[session], hello[session + 1]]));
    let extensions = suites + 1 + usize::from(hello[suites]);
    let mut changed = hello[..extensions].to_vec();
    changed.extend(two(hello.len() - extensions - 2 + new.len() - old.len()));
    changed.extend_from_slice(&hello[extensions + 2..at]);
    changed.extend(new);
    changed.extend_from_slice(&hello[at + old.len()..]);
    let length = u32::try_from(changed.len() - 4).unwrap().to_be_bytes();
    changed[1..4].copy_from_slice(&length[1..]);
    records([&*changed])
}

#[tokio::test(flavor = "multi_thread")]
async fn class_e_a_hello_with_two_names_is_refused() {
    let stage = stage().await;
    let address = stage.https;
    let attack = move || {
        for version in VERSIONS {
            for (names, goes_on) in [
                (&["open.test"][..], true), // changed like the others, and a good one
                (&["open.test", "mtls.test"], false),
                (&["mtls.test", "open.test"], false),
                (&["open.test", "open.test"], false),
                (&[""], false),
                (&["open.test\0mtls.test"], false),
                (&[], false),
            ] {
                let (flight, _) = first_flight(&short(version), "mtls.test");
                let mut socket = socket(address);
                socket.write_all(&with_names(&message(&flight), "mtls.test", names)).unwrap();
                let mut answer = [0];
                let server_hello = matches!(socket.read(&mut answer), Ok(1)) && answer == [22];
                assert_eq!(server_hello, goes_on, "{version:?} {names:?}");
            }
        }
    };
    tokio::task::spawn_blocking(attack).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn class_e_a_hello_that_drips_ends_with_the_handshake_timeout() {
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings {
        handshake_timeout: Duration::from_millis(300),
        http: vec![loopback],
        https: vec![loopback],
        ..Settings::default()
    };
    let stage = Stage::with(settings, [client_tls("mtls", &["mtls.test"], trusts("clients"))]).await;
    let address = stage.https;
    let drip = move || {
        let (flight, _) = first_flight(&short(&rustls::version::TLS13), "mtls.test");
        let mut socket = socket(address);
        // The proxy closes the connection: a write fails, or a read at the end finds nothing.
        for byte in flight.iter().take(flight.len() - 1) {
            if socket.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        assert!(matches!(socket.read(&mut [0; 16]), Ok(0) | Err(_)));
    };
    tokio::task::spawn_blocking(drip).await.unwrap();
    assert_eq!(stage.metric("portcullis_handshakes_total{result=\"timeout\"}"), 1);
}
