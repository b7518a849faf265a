//! Class P: certificates and handshakes that are meant to cost us time or memory. None of them is let in, and others are served
//! meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis::proxy::Settings;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::attacker::{Attacker, PROTOCOLS, VERSIONS, every_server, provider};
use crate::forger::{Forger, client_params};
use crate::hello::first_flight;
use crate::objects::{client_tls, secret, trusts};
use crate::pki::{Certified, PKI};
use crate::stage::Stage;

const HOST: &str = "mtls.test";

async fn stage(authority: &Forger) -> Stage {
    Stage::new([secret("ca", &[("cert", &authority.pem)]), client_tls("mtls", &[HOST], trusts("ca"))]).await
}

#[tokio::test]
async fn class_p_a_chain_of_many_certificates_is_refused_in_bounded_time() {
    let root = Forger::root("root");
    let stage = stage(&root).await;
    let leaf = root.client(|_| ());
    let filler: Vec<_> = (0..20).map(|n| root.intermediate(&format!("{n:0>250}")).client(|_| ()).chain).collect();
    let filler: Vec<CertificateDer<'static>> = filler.into_iter().map(|chain| chain[1].clone()).collect();
    let chain = |bytes: usize| {
        let mut chain = leaf.chain.clone();
        while chain.iter().map(|certificate| certificate.len()).sum::<usize>() < bytes {
            chain.push(filler[chain.len() % filler.len()].clone());
        }
        Certified { chain, key: rcgen::KeyPair::try_from(leaf.key.serialize_der()).unwrap(), pem: String::new() }
    };
    for version in VERSIONS {
        for alpn in PROTOCOLS {
            let attack = async {
                // The leaf is a good one: what is wrong is what is sent along with it.
                let long = Attacker::new(version, alpn, Some(&chain(55 << 10)));
                assert_eq!(long.status(stage.https, HOST, HOST).await, Some(400), "{version:?} {alpn}: 55 KiB");
                let huge = Attacker::new(version, alpn, Some(&chain(100 << 10)));
                assert_eq!(huge.status(stage.https, HOST, HOST).await, None, "{version:?} {alpn}: 100 KiB");
            };
            tokio::time::timeout(Duration::from_secs(10), attack).await.expect("it took too long");
        }
    }
    assert_eq!(stage.passed(), 0);
    let good = Attacker::new(&rustls::version::TLS13, "h2", Some(&leaf));
    assert_eq!(good.status(stage.https, HOST, HOST).await, Some(200));
}

/// A public key of RSA with a modulus of this many bytes. Nobody has the private one.
struct Rsa(Vec<u8>);

impl Rsa {
    fn new(bytes: u16) -> Self {
        let long = |tag: u8, content: Vec<u8>| {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [vec![tag, 0x82, length[0], length[1]], content].concat()
        };
        let modulus = [vec![0], vec![0xd3; usize::from(bytes)]].concat(); // odd, and its first bit set
        Self(long(0x30, [long(2, modulus), vec![2, 3, 1, 0, 1]].concat()))
    }
}

impl rcgen::PublicKeyData for Rsa {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

/// Signs anything with nonsense.
#[derive(Clone, Debug)]
struct Nonsense(usize);

impl SigningKey for Nonsense {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

impl Signer for Nonsense {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(vec![0x51; self.0])
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::RSA_PSS_SHA256
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl rustls::client::ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn class_p_a_huge_rsa_key_proves_nothing_and_costs_little() {
    let root = Forger::root("root");
    let stage = stage(&root).await;
    for bits in [16_384u16, 65_528 / 2] {
        let certificate = root.sign(&client_params(), &Rsa::new(bits / 8));
        for version in VERSIONS {
            let key = CertifiedKey::new(vec![certificate.clone()], Arc::new(Nonsense(usize::from(bits / 8))));
            let builder = rustls::ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]);
            let builder = builder.unwrap().dangerous().with_custom_certificate_verifier(every_server());
            let attacker = Attacker::with(builder.with_client_cert_resolver(Arc::new(Always(Arc::new(key)))));
            let attack = attacker.status(stage.https, HOST, HOST);
            let status = tokio::time::timeout(Duration::from_secs(5), attack).await.expect("it took too long");
            assert_eq!(status, None, "{version:?} RSA of {bits} bits");
        }
    }
    assert_eq!(stage.passed(), 0);
}

#[tokio::test]
async fn class_p_half_open_handshakes_end_in_time_and_others_are_served() {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings {
        handshake_timeout: Duration::from_millis(700),
        http: vec![loopback],
        https: vec![loopback],
        ..Settings::default()
    };
    let stage = Stage::with(settings, [client_tls("mtls", &[HOST], trusts("clients"))]).await;
    let attacker = Attacker::new(&rustls::version::TLS13, "h2", None);
    let (flight, _) = first_flight(&attacker.config, HOST);
    let mut half_open = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(stage.https).await.unwrap();
        // Some break off within the hello, some after it.
        stream.write_all(if n % 2 == 0 { &flight[..flight.len() / 2] } else { &flight }).await.unwrap();
        half_open.push(stream);
    }
    let good = Attacker::new(&rustls::version::TLS13, "h2", Some(&PKI.clients.client()));
    assert_eq!(good.status(stage.https, HOST, HOST).await, Some(200));
    let ended = async {
        while stage.metric("portcullis_handshakes_total{result=\"timeout\"}") < 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("half-open handshakes stay");
    assert_eq!(stage.passed(), 1);
}
