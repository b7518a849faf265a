//! Handshakes in memory, with keys and certificates made by the `openssl` program as users make them.

use std::fs;
use std::process::Command;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, ResolvesClientCert};
use rustls::server::ServerConnection;
use rustls::{HandshakeKind, SupportedProtocolVersion, version};
use rustls_pki_types::ServerName;
use tempfile::TempDir;

use super::*;
use crate::model::ClientSettings;
use crate::trust::Anchors;

fn tickets(policy: u8, context: &TlsContext) -> PolicyTickets {
    PolicyTickets { policy: [policy; 32], tickets: context.tickets.clone() }
}

#[test]
fn a_ticket_opens_under_its_own_policy_only() {
    let context = TlsContext::new().unwrap();
    let ticket = tickets(1, &context).encrypt(b"session").unwrap();
    assert_eq!(tickets(1, &context).decrypt(&ticket).as_deref(), Some(b"session".as_slice()));
    assert_eq!(tickets(2, &context).decrypt(&ticket), None);
    assert_eq!(tickets(1, &TlsContext::new().unwrap()).decrypt(&ticket), None);
}

#[test]
fn a_long_client_chain_makes_no_ticket() {
    let context = TlsContext::new().unwrap();
    assert!(tickets(1, &context).encrypt(&vec![0; MAX_TICKET]).is_some());
    assert!(tickets(1, &context).encrypt(&vec![0; MAX_TICKET + 1]).is_none());
}

/// A folder with a CA and what it has issued.
struct Pki(TempDir);

const RSA: &str = "genrsa -traditional -out NAME.key 2048";
const EC: &str = "ecparam -name prime256v1 -genkey -out NAME.key";
const V3: &str = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:a.example\n";

impl Pki {
    fn new() -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        pki.openssl("ecparam -name prime256v1 -genkey -noout -out ca.key");
        pki.openssl("req -x509 -new -key ca.key -subj /CN=ca -days 30 -out ca.pem");
        pki
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Without extensions the certificate is X.509 v1.
    fn issue(&self, name: &str, key: &str, extensions: Option<&str>) {
        self.openssl(&key.replace("NAME", name));
        self.openssl(&format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
        fs::write(self.0.path().join("ext"), extensions.unwrap_or_default()).unwrap();
        let extfile = if extensions.is_some() { " -extfile ext" } else { "" };
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out {name}.pem{extfile}"
        ));
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.0.path().join(file)).unwrap()
    }

    fn certified_key(&self, context: &TlsContext, certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, String> {
        context.certified_key(&self.read(&format!("{certificate}.pem")), &self.read(&format!("{key}.key")))
    }
}

#[test]
fn keys_of_every_form_are_read_and_belong_to_their_certificate_only() {
    let pki = Pki::new();
    let context = TlsContext::new().unwrap();
    let forms = [
        ("pkcs1", RSA, "BEGIN RSA PRIVATE KEY"),
        ("sec1", EC, "BEGIN EC PRIVATE KEY"),
        ("pkcs8", "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384 -out NAME.key", "BEGIN PRIVATE KEY"),
        ("ed25519", "genpkey -algorithm ed25519 -out NAME.key", "BEGIN PRIVATE KEY"),
    ];
    for (name, key, header) in forms {
        for (certificate, extensions) in [(format!("{name}-v3"), Some(V3)), (format!("{name}-v1"), None)] {
            pki.issue(&certificate, key, extensions);
            assert!(String::from_utf8(pki.read(&format!("{certificate}.key"))).unwrap().contains(header), "{name}");
            pki.certified_key(&context, &certificate, &certificate)
                .unwrap_or_else(|why| panic!("{certificate}: {why}"));
        }
        let wrong = pki.certified_key(&context, &format!("{name}-v3"), &format!("{name}-v1")).unwrap_err();
        assert_eq!(wrong, "the key does not belong to the certificate");
    }
    pki.openssl("genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:x -out encrypted.key");
    let encrypted = pki.certified_key(&context, "sec1-v3", "encrypted").unwrap_err();
    assert!(encrypted.contains("not encrypted"), "{encrypted}");
}

/// A client that trusts every server and sends what it is told to.
#[derive(Debug)]
struct Client(Option<Arc<CertifiedKey>>, WebPkiSupportedAlgorithms);

impl ResolvesClientCert for Client {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl ServerCertVerifier for Client {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.1.supported_schemes()
    }
}

fn client(
    context: &TlsContext,
    certificate: Option<&Arc<CertifiedKey>>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let client = || Client(certificate.cloned(), context.provider.signature_verification_algorithms);
    let config = ClientConfig::builder_with_provider(context.provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(client()))
        .with_client_cert_resolver(Arc::new(client()));
    Arc::new(config)
}

/// Carries what the two say to each other, for longer than any handshake takes.
fn talk(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

/// Runs a handshake; the server's side of the finished connection, or the error of either side.
fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<ServerConnection, rustls::Error> {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from("a.example").unwrap())?;
    let mut server = ServerConnection::new(server.clone())?;
    talk(&mut client, &mut server)?;
    assert!(!server.is_handshaking());
    Ok(server)
}

fn shown(certificate: Arc<CertifiedKey>, client_auth: Option<&Arc<ClientAuth>>) -> Handshake<'_> {
    Handshake { certificates: vec![certificate], client_auth, protocols: Protocols::default() }
}

fn require(context: &TlsContext, pki: &Pki, anchor: &str) -> (Arc<ClientAuth>, Arc<ServerConfig>) {
    let settings = ClientSettings { depth: 1, ..ClientSettings::default() };
    let anchors = Anchors::from_pem(&pki.read(&format!("{anchor}.pem"))).unwrap();
    let auth = Arc::new(ClientAuth::new(anchors, None, settings).unwrap());
    let certificate = pki.certified_key(context, "server", "server").unwrap();
    let config = server_config(context, shown(certificate, Some(&auth))).unwrap();
    (auth, Arc::new(config))
}

#[test]
fn clients_of_every_kind_prove_possession_and_are_judged_in_both_tls_versions() {
    let pki = Pki::new();
    let context = TlsContext::new().unwrap();
    pki.issue("server", EC, None);
    for (name, key, extensions) in
        [("rsa1", RSA, None), ("rsa3", RSA, Some(V3)), ("ec1", EC, None), ("ec3", EC, Some(V3))]
    {
        pki.issue(name, key, extensions);
    }
    let (auth, server) = require(&context, &pki, "ca");
    for version in [&version::TLS12, &version::TLS13] {
        for name in ["rsa1", "rsa3", "ec1", "ec3"] {
            let certificate = pki.certified_key(&context, name, name).unwrap();
            let connection = handshake(&client(&context, Some(&certificate), version), &server).unwrap();
            auth.judge(connection.peer_certificates().unwrap(), UnixTime::now())
                .unwrap_or_else(|why| panic!("{name} {version:?}: {why}"));
        }
        let connection = handshake(&client(&context, None, version), &server).unwrap();
        assert_eq!(connection.peer_certificates(), None, "without a certificate the handshake completes: HTTP answers");
    }
}

#[test]
fn a_certificate_without_its_key_fails_the_handshake() {
    let pki = Pki::new();
    let context = TlsContext::new().unwrap();
    pki.issue("server", EC, None);
    for (name, key) in [("ec", EC), ("rsa", RSA)] {
        for extensions in [None, Some(V3)] {
            pki.issue(name, key, extensions);
            pki.issue("thief", key, extensions);
            let stolen = trust::certificates(&pki.read(&format!("{name}.pem"))).unwrap();
            let own = pki.certified_key(&context, "thief", "thief").unwrap();
            let forged = Arc::new(CertifiedKey::new(stolen, own.key.clone()));
            let (_, server) = require(&context, &pki, "ca");
            for version in [&version::TLS12, &version::TLS13] {
                let outcome = handshake(&client(&context, Some(&forged), version), &server);
                assert!(outcome.is_err(), "{name} {extensions:?} {version:?}");
            }
        }
    }
}

#[test]
fn a_resumed_session_brings_its_chain_and_no_verdict_and_ends_with_its_policy() {
    let pki = Pki::new();
    let context = TlsContext::new().unwrap();
    pki.issue("server", EC, None);
    pki.issue("user", EC, Some(V3));
    pki.openssl("req -x509 -new -key ca.key -subj /CN=other -days 30 -out other.pem");
    let (auth, server) = require(&context, &pki, "ca");
    let (_, other) = require(&context, &pki, "other");
    let open = Arc::new(
        server_config(&context, shown(pki.certified_key(&context, "server", "server").unwrap(), None)).unwrap(),
    );
    for version in [&version::TLS12, &version::TLS13] {
        let user = client(&context, Some(&pki.certified_key(&context, "user", "user").unwrap()), version);
        let kind = |server: &Arc<ServerConfig>| {
            let connection = handshake(&user, server).unwrap();
            let chain = connection.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
            (connection.handshake_kind().unwrap(), auth.judge(&chain, UnixTime::now()).is_ok())
        };
        assert_eq!(kind(&server), (HandshakeKind::Full, true), "{version:?}");
        assert_eq!(kind(&server), (HandshakeKind::Resumed, true), "{version:?}: the chain is there to be judged again");
        assert_eq!(kind(&other).0, HandshakeKind::Full, "{version:?}: another policy does not open the ticket");
        assert_eq!(kind(&server).0, HandshakeKind::Full, "{version:?}");
        assert_eq!(kind(&open).0, HandshakeKind::Full, "{version:?}: nor does a host without client authentication");
        assert_eq!(kind(&server), (HandshakeKind::Full, true), "{version:?}: nor the other way round");
    }
}

#[test]
fn the_certificate_is_chosen_by_the_client_s_signature_algorithms() {
    let pki = Pki::new();
    let context = TlsContext::new().unwrap();
    pki.issue("ec", EC, Some(V3));
    pki.issue("rsa", RSA, Some(V3));
    let [ec, rsa] = ["ec", "rsa"].map(|name| pki.certified_key(&context, name, name).unwrap());
    let both =
        Handshake { certificates: vec![ec.clone(), rsa.clone()], client_auth: None, protocols: Protocols::default() };
    let both = Arc::new(server_config(&context, both).unwrap());
    let only_ec = Arc::new(server_config(&context, shown(ec.clone(), None)).unwrap());
    let algorithms = context.provider.signature_verification_algorithms;
    let only = |schemes: &[SignatureScheme]| WebPkiSupportedAlgorithms {
        mapping: algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| schemes.contains(scheme))
            .copied()
            .collect::<Vec<_>>()
            .leak(),
        ..algorithms
    };
    let rsa_client = only(&[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256]);
    for version in [&version::TLS12, &version::TLS13] {
        let shown = |server: &Arc<ServerConfig>, algorithms: WebPkiSupportedAlgorithms| {
            let config = ClientConfig::builder_with_provider(context.provider.clone())
                .with_protocol_versions(&[version])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Client(None, algorithms)))
                .with_no_client_auth();
            let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("a.example").unwrap())?;
            let mut server = ServerConnection::new(server.clone())?;
            talk(&mut client, &mut server)?;
            Ok::<_, rustls::Error>(client.peer_certificates().unwrap()[0].clone().into_owned())
        };
        assert_eq!(shown(&both, algorithms).unwrap(), ec.cert[0], "{version:?}");
        assert_eq!(shown(&both, rsa_client).unwrap(), rsa.cert[0], "{version:?}");
        assert!(shown(&only_ec, rsa_client).is_err(), "{version:?}");
    }
}

#[test]
fn a_host_offers_the_versions_and_protocols_that_it_is_set_to() {
    let pki = Pki::new();
    let context = TlsContext::new().unwrap();
    pki.issue("server", EC, Some(V3));
    let certificate = pki.certified_key(&context, "server", "server").unwrap();
    let server = |alpn, versions| {
        let protocols = Protocols { alpn, versions };
        Arc::new(server_config(&context, Handshake { protocols, ..shown(certificate.clone(), None) }).unwrap())
    };
    let negotiated = |server: &Arc<ServerConfig>, version, alpn: &[&str]| {
        let mut client = Arc::unwrap_or_clone(client(&context, None, version));
        client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let connection = handshake(&Arc::new(client), server).ok()?;
        Some(String::from_utf8(connection.alpn_protocol().unwrap_or_default().to_vec()).unwrap())
    };
    let both = ["http/1.1", "h2"];
    let (tls12, tls13) = (&version::TLS12, &version::TLS13);
    let default = server(Alpn::Both, TlsVersions::Both);
    assert_eq!(negotiated(&default, tls12, &both).as_deref(), Some("h2"));
    assert_eq!(negotiated(&default, tls13, &[]).as_deref(), Some(""));
    let new = server(Alpn::Http1, TlsVersions::Tls13);
    assert_eq!(negotiated(&new, tls13, &both).as_deref(), Some("http/1.1"));
    assert_eq!((negotiated(&new, tls12, &both), negotiated(&new, tls13, &["h2"])), (None, None));
    let old = server(Alpn::Http2, TlsVersions::Tls12);
    assert_eq!(negotiated(&old, tls12, &both).as_deref(), Some("h2"));
    assert_eq!((negotiated(&old, tls13, &both), negotiated(&old, tls12, &["http/1.1"])), (None, None));
}
