//! Class N: what may follow a `ClientHello` but must not: another host after a retry, data before the client has proved
//! anything, a second handshake.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::{ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup};
use rustls::{ClientConfig, NamedGroup};

use crate::attacker::{Attacker, every_server, provider};
use crate::hello::{first_flight, request, socket};
use crate::objects::{client_tls, tls, trusts};
use crate::pki::PKI;
use crate::s_client::s_client;
use crate::sessions::Stolen;
use crate::stage::Stage;

async fn stage() -> Stage {
    Stage::new([tls("open", &["open.test"]), client_tls("mtls", &["mtls.test"], trusts("clients"))]).await
}

/// A group that the proxy does not know, so that it asks for another hello.
#[derive(Debug)]
struct UnknownGroup;

impl SupportedKxGroup for UnknownGroup {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        Ok(Box::new(Self))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::FFDHE2048
    }
}

impl ActiveKeyExchange for UnknownGroup {
    fn complete(self: Box<Self>, _: &[u8]) -> Result<SharedSecret, rustls::Error> {
        Err(rustls::Error::HandshakeNotComplete)
    }

    fn pub_key(&self) -> &[u8] {
        &[1; 256]
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::FFDHE2048
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_n_the_host_cannot_change_after_a_hello_retry_request() {
    let stage = stage().await;
    let x25519 = provider().kx_groups.iter().copied().find(|group| group.name() == NamedGroup::X25519).unwrap();
    let crypto = CryptoProvider { kx_groups: vec![&UnknownGroup, x25519], ..(*provider()).clone() };
    let builder = ClientConfig::builder_with_provider(crypto.into()).with_protocol_versions(&[&rustls::version::TLS13]);
    let verified = builder.unwrap().dangerous().with_custom_certificate_verifier(every_server());
    let config = Arc::new(verified.with_no_client_auth());
    let address = stage.https;
    let attack = move || {
        // The second hello as it is, then with another host of equal length.
        for (second_name, goes_on) in [(b"mtls.test", true), (b"open.test", false)] {
            let (flight, mut connection) = first_flight(&config, "mtls.test");
            let mut socket = socket(address);
            socket.write_all(&flight).unwrap();
            while !connection.wants_write() {
                connection.read_tls(&mut socket).unwrap();
                connection.process_new_packets().unwrap();
            }
            let mut second = Vec::new();
            connection.write_tls(&mut second).unwrap();
            let at = second.windows(9).position(|name| name == b"mtls.test").expect("a second hello");
            second[at..at + 9].copy_from_slice(second_name);
            socket.write_all(&second).unwrap();
            let answered = socket.read(&mut [0; 7]).unwrap() > 0; // the ServerHello, or the end
            assert_eq!(answered, goes_on);
        }
    };
    tokio::task::spawn_blocking(attack).await.unwrap();
    assert_eq!(stage.passed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn class_n_no_data_before_the_handshake_is_over() {
    let stage = stage().await;
    for sni in ["mtls.test", "open.test"] {
        let sessions = Arc::new(Stolen::default());
        let good = PKI.clients.client();
        let saving = Attacker::resuming(&rustls::version::TLS13, "http/1.1", Some(&good), sessions.resumption());
        let mut config = (*saving.config).clone();
        config.enable_early_data = true;
        let attacker = Attacker::with(config);
        assert_eq!(attacker.status(stage.https, sni, sni).await, Some(200));
        let passed = stage.passed();
        let (flight, mut connection) = first_flight(&attacker.config, sni);
        assert!(connection.early_data().is_none(), "the ticket of {sni} allows early data");

        // Data all the same, in the clear: a record right behind the hello.
        let text = b"GET / HTTP/1.1\r\nHost: mtls.test\r\n\r\n";
        let record = [&[23, 3, 3, 0, u8::try_from(text.len()).unwrap()], &text[..]].concat();
        let address = stage.https;
        let attack = move || request(address, connection, &[&flight, &record], "mtls.test");
        assert!(tokio::task::spawn_blocking(attack).await.unwrap().is_err(), "{sni}");
        assert_eq!(stage.passed(), passed);
    }
}

#[tokio::test]
async fn class_n_renegotiation_is_refused() {
    let stage = stage().await;
    for sni in ["open.test", "mtls.test"] {
        // `R` at the start of a line makes s_client renegotiate.
        let output = s_client(stage.https, &["-tls1_2", "-servername", sni], "R\n").await;
        assert!(output.contains("RENEGOTIATING") && output.contains("no renegotiation"), "{sni}: {output}");
    }
    assert_eq!(stage.passed(), 0);
}
