//! The certificate that the Admin API shows, and those that its clients show.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme, client::danger::HandshakeSignatureValid,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::settings::TlsFiles;
use crate::possession::{tls12_signature, tls13_signature};
use crate::trust::{self, Anchors, Holder, IdentityRules, Refusal, Requirements};

/// Intermediates that a client's chain may have.
const DEPTH: u32 = 10;

/// What the files hold. They are looked at before each connection and request: that takes no watch, and misses nothing.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    loaded: Loaded,
    stamps: Vec<Option<Stamp>>,
}

/// What the files held when they were last good.
#[derive(Clone, Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// What clients must prove; `None` where they need no certificate.
    requirements: Option<Arc<Requirements>>,
}

/// What tells whether a file is still the same: when it was changed, its inode, its length.
type Stamp = (i64, i64, u64, u64);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be used; it names the file.
    pub(super) fn open(files: TlsFiles) -> anyhow::Result<Self> {
        let stamps = stamps(&files);
        let state = Mutex::new(State { loaded: Loaded::read(&files)?, stamps });
        Ok(Self { files, state })
    }

    /// Makes the handshake. Whom it completes for is not yet let in: [`Self::judge`] says that.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.current().config).accept(stream).await
    }

    /// The name of the client that sent `chain`, by the authorities that the file holds now; `None` where no certificate is needed.
    ///
    /// # Errors
    /// Why it is not let in.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<Option<String>, Refusal> {
        let Some(requirements) = self.current().requirements else { return Ok(None) };
        trust::judge(chain, &requirements, UnixTime::now())?;
        Ok(chain.first().and_then(Holder::read).map(|holder| holder.subject))
    }

    fn current(&self) -> Loaded {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps != state.stamps {
            // Said once for each state of the files: a certificate is often replaced before its key.
            match Loaded::read(&self.files) {
                Ok(loaded) => {
                    state.loaded = loaded;
                    tracing::info!("the Admin API shows a new certificate, {}", self.files.certificate.display());
                }
                Err(error) => {
                    tracing::error!("the Admin API goes on with its last good certificate: {error:#}");
                    // Who is let in does not depend on what is shown: an authority that was taken out of its file counts no more.
                    match requirements(&self.files) {
                        Ok(requirements) => state.loaded.requirements = requirements,
                        Err(error) => {
                            tracing::error!("the Admin API goes on with its last good authorities: {error:#}")
                        }
                    }
                }
            }
            state.stamps = stamps;
        }
        state.loaded.clone()
    }
}

impl Loaded {
    fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (chain, key) = trust::pair(provider.key_provider, &read(&files.certificate)?, &read(&files.key)?)
            .with_context(|| format!("{} and {}", files.certificate.display(), files.key.display()))?;
        let requirements = requirements(files)?;
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match &requirements {
            None => builder.with_no_client_auth(),
            Some(requirements) => builder.with_client_cert_verifier(Arc::new(AskForCertificate {
                provider,
                subjects: requirements.anchors.subjects().map(DistinguishedName::from).collect(),
            })),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), requirements })
    }
}

/// What clients must prove, by the file of authorities.
fn requirements(files: &TlsFiles) -> anyhow::Result<Option<Arc<Requirements>>> {
    let Some(path) = &files.client_ca else { return Ok(None) };
    let anchors = Anchors::from_pem(&read(path)?).map_err(|why| anyhow::anyhow!("{} {why}", path.display()))?;
    let identities = IdentityRules::default();
    Ok(Some(Arc::new(Requirements { anchors, depth: DEPTH, identities, revocation: None })))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn stamps(files: &TlsFiles) -> Vec<Option<Stamp>> {
    let paths = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    let stamp = |path: &std::path::PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.ctime(), found.ctime_nsec(), found.ino(), found.len()))
    };
    paths.into_iter().flatten().map(stamp).collect()
}

/// Completes the handshake whatever the client sends, once it has proved to hold the key: a client that is refused gets an answer that
/// says so, as nginx gives one.
#[derive(Debug)]
struct AskForCertificate {
    provider: Arc<CryptoProvider>,
    subjects: Vec<DistinguishedName>,
}

impl ClientCertVerifier for AskForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        tls12_signature(&self.provider.signature_verification_algorithms, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        tls13_signature(&self.provider.signature_verification_algorithms, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
