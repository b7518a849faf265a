//! rustls configurations: one handshake for every host, with or without a client certificate.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::model::{Alpn, Mode, Protocols, TlsVersions};
use crate::possession::{tls12_signature, tls13_signature};
use crate::snapshot::{ClientAuth, PolicyId, Rejection};
use crate::trust::{self, Cause};

/// What all hosts share: cryptography and the keys of session tickets.
///
/// The ticket keys live as long as the process and survive every recompilation, so that an unrelated change ends no
/// session. They rotate by themselves (rustls' default: every 6 hours, accepted for 12).
#[derive(Clone)]
pub struct TlsContext {
    provider: Arc<CryptoProvider>,
    roots: Arc<Roots>,
    tickets: Arc<dyn ProducesTickets>,
    versions: TlsVersions,
}

/// The authorities that the system trusts. They are read when the first object asks for them: most never do, and all of them
/// take a megabyte.
struct Roots {
    load: fn() -> Vec<CertificateDer<'static>>,
    loaded: OnceLock<Vec<CertificateDer<'static>>>,
}

impl Roots {
    fn of(load: fn() -> Vec<CertificateDer<'static>>) -> Arc<Self> {
        Arc::new(Self { load, loaded: OnceLock::new() })
    }
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsContext").finish_non_exhaustive()
    }
}

impl TlsContext {
    /// A context with fresh ticket keys.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        Ok(Self { provider, roots: Roots::of(Vec::new), tickets, versions: TlsVersions::Both })
    }

    /// The context with the versions of hosts that offer every one (APISIX's `ssl.ssl_protocols`).
    #[must_use]
    pub fn offering(self, versions: TlsVersions) -> Self {
        Self { versions, ..self }
    }

    /// The context with the authorities that the system trusts, which `load` gives. Those that can be none are left out.
    #[must_use]
    pub fn trusting(self, load: fn() -> Vec<CertificateDer<'static>>) -> Self {
        Self { roots: Roots::of(load), ..self }
    }

    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    pub(super) fn roots(&self) -> &[CertificateDer<'static>] {
        self.roots.loaded.get_or_init(|| {
            let usable = |root: &CertificateDer<'static>| RootCertStore::empty().add(root.clone()).is_ok();
            (self.roots.load)().into_iter().filter(usable).collect()
        })
    }

    /// Puts a certificate chain and its private key together.
    ///
    /// # Errors
    /// A sentence, when the key is of an unknown kind or belongs to another certificate.
    pub fn certified_key(&self, certificates: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, String> {
        let (chain, key) = trust::pair(self.provider.key_provider, certificates, key).map_err(|why| why.to_string())?;
        Ok(Arc::new(CertifiedKey::new(chain, key)))
    }
}

/// What a handshake is made of.
#[derive(Debug)]
pub struct Handshake<'a> {
    /// The host's certificates; the first one whose key fits the client's signature algorithms is shown. Not empty.
    pub certificates: Vec<Arc<CertifiedKey>>,
    /// What clients must prove, where they must prove anything.
    pub client_auth: Option<&'a Arc<ClientAuth>>,
    /// Which protocols are offered.
    pub protocols: Protocols,
}

/// The server's side of a handshake. Session tickets are bound to the policy; there is no early data.
///
/// With `client_auth` the handshake asks for a client certificate and completes whatever the client sends (unless the
/// policy has it fail with an alert): the chain is
/// judged per request, so that a refused client gets an HTTP answer that says why. TLS itself has checked by then that the
/// client holds the key of what it sent. A resumed session brings the chain of its first handshake, which is judged in
/// the same way: resumption never carries a verdict.
///
/// # Errors
/// When rustls refuses the combination.
pub fn server_config(context: &TlsContext, handshake: Handshake<'_>) -> Result<ServerConfig, rustls::Error> {
    let Handshake { certificates, client_auth, protocols } = handshake;
    let versions = if protocols.versions == TlsVersions::Both { context.versions } else { protocols.versions };
    let versions: &[&SupportedProtocolVersion] = match versions {
        TlsVersions::Both => &[&TLS13, &TLS12],
        TlsVersions::Tls12 => &[&TLS12],
        TlsVersions::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(context.provider.clone()).with_protocol_versions(versions)?;
    let builder = match client_auth {
        None => builder.with_no_client_auth(),
        Some(auth) => builder.with_client_cert_verifier(Arc::new(AskForCertificate {
            algorithms: context.provider.signature_verification_algorithms,
            judge: auth.alerts().then(|| auth.clone()),
            subjects: auth.requirements.anchors.subjects().map(DistinguishedName::from).collect(),
        })),
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByAlgorithm(certificates)));
    let alpn: &[&[u8]] = match protocols.alpn {
        Alpn::Both => &[b"h2", b"http/1.1"],
        Alpn::Http1 => &[b"http/1.1"],
        Alpn::Http2 => &[b"h2"],
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(PolicyTickets {
        policy: client_auth.map_or([0; 32], |auth| *PolicyId::as_bytes(&auth.session)),
        tickets: context.tickets.clone(),
    });
    // rustls' default of 2 costs every full handshake a second encryption; a stateless ticket can be used again.
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    Ok(config)
}

/// Shows the first certificate whose key can sign in a way that the client verifies. Where there is none the first one is
/// shown, so that the handshake ends with the alert for that.
#[derive(Debug)]
struct ByAlgorithm(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByAlgorithm {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls leaves out what the version and cipher suites of the client cannot use.
        let fits =
            |certificate: &&Arc<CertifiedKey>| certificate.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(fits).or_else(|| self.0.first()).cloned()
    }
}

/// Session tickets that only open under the policy they were made under. Hosts with equal policies share them; SNI
/// equality is checked by rustls.
struct PolicyTickets {
    policy: [u8; 32],
    tickets: Arc<dyn ProducesTickets>,
}

/// The largest session state that becomes a ticket, in bytes: room for a client certificate and a few intermediates. A
/// longer chain is sent again in a full handshake instead of travelling in every ticket.
const MAX_TICKET: usize = 8 << 10;

impl fmt::Debug for PolicyTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyTickets").finish_non_exhaustive()
    }
}

impl ProducesTickets for PolicyTickets {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.len() > MAX_TICKET {
            return None;
        }
        self.tickets.encrypt(&[&self.policy, plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.tickets.decrypt(cipher)?;
        Some(plain.strip_prefix(&self.policy)?.to_vec())
    }
}

/// Asks for a client certificate and checks that the client holds its key. Judges it only where the policy wants an alert;
/// otherwise that is left to the request, which can be answered.
#[derive(Debug)]
struct AskForCertificate {
    algorithms: WebPkiSupportedAlgorithms,
    judge: Option<Arc<ClientAuth>>,
    subjects: Vec<DistinguishedName>,
}

impl ClientCertVerifier for AskForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.judge.as_ref().is_some_and(|auth| auth.settings.mode == Mode::Require)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let Some(auth) = &self.judge else { return Ok(ClientCertVerified::assertion()) };
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        auth.judge(&chain, now).map(|_| ClientCertVerified::assertion()).map_err(|refusal| {
            let error = alert(refusal.cause());
            let chain = chain.into_iter().map(CertificateDer::into_owned).collect();
            Rejection { chain, refusal }.leave();
            error.into()
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        tls12_signature(&self.algorithms, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        tls13_signature(&self.algorithms, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The error whose alert (RFC 8446 section 6.2) says most about `cause`: as OpenSSL, and `access_denied` for what it does not
/// know.
fn alert(cause: Cause) -> CertificateError {
    match cause {
        Cause::Expired => CertificateError::Expired, // certificate_expired
        Cause::Identity => CertificateError::ApplicationVerificationFailure, // access_denied
        Cause::Invalid | Cause::NotPresent | Cause::Weak => CertificateError::BadEncoding, // bad_certificate
        Cause::Depth | Cause::NoAnchor | Cause::UnknownIssuer => CertificateError::UnknownIssuer, // unknown_ca
        Cause::NotYetValid => CertificateError::NotValidYet, // certificate_expired
        Cause::Revoked => CertificateError::Revoked, // certificate_revoked
        Cause::RevocationUnknown => CertificateError::UnknownRevocationStatus, // unknown_ca
        Cause::Usage => CertificateError::InvalidPurpose, // unsupported_certificate
    }
}

#[cfg(test)]
mod tests;
