//! TLS to etcd, from files that may be rotated.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use crate::possession::AnyServer;
use crate::trust;

/// How TLS to etcd is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// A file of authorities; those of the system without it (APISIX's `ssl_trusted_certificate`).
    pub ca: Option<PathBuf>,
    /// The files of our certificate and its key, for an etcd that asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that is asked for and verified; the endpoint's by default.
    pub sni: Option<String>,
    /// Whether etcd's certificate is verified.
    pub verify: bool,
}

impl Default for Tls {
    /// The system's authorities, no certificate of ours.
    fn default() -> Self {
        Self { ca: None, identity: None, sni: None, verify: true }
    }
}

/// Makes configurations. The files are read again for every connection, so that a rotated certificate is used by the next one.
#[derive(Debug)]
pub(super) struct Files {
    tls: Tls,
    last: Mutex<Option<Made>>,
}

/// The last configuration that could be made, and what the files held.
#[derive(Clone, Debug)]
struct Made {
    config: Arc<ClientConfig>,
    read: Read,
}

/// What the files hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    pub(super) fn new(tls: Tls) -> Self {
        Self { tls, last: Mutex::default() }
    }

    /// The name that is asked for in the place of the endpoint's.
    pub(super) fn sni(&self) -> Option<&str> {
        self.tls.sni.as_deref()
    }

    /// The configuration that the files make now. Where they make none, as between the two writes of a rotation, the last one that they made.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (self.make(last.as_ref()), &*last) {
            (Ok(made), _) => Ok(last.insert(made).config.clone()),
            (Err(error), Some(made)) => {
                tracing::warn!(error, "the files for TLS to etcd cannot be used; what they held before is");
                Ok(made.config.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn make(&self, last: Option<&Made>) -> Result<Made, String> {
        let identity = self.tls.identity.as_ref();
        let read = Read {
            ca: self.tls.ca.as_deref().map(read).transpose()?,
            identity: identity
                .map(|(certificate, key)| Ok::<_, String>((read(certificate)?, read(key)?)))
                .transpose()?,
        };
        match last {
            Some(last) if last.read == read => Ok(last.clone()),
            _ => Ok(Made { config: Arc::new(self.build(&read)?), read }),
        }
    }

    fn build(&self, read: &Read) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let builder = if self.tls.verify {
            builder.with_root_certificates(self.roots(read.ca.as_deref())?)
        } else {
            let any = AnyServer::new(provider.signature_verification_algorithms);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(any))
        };
        let mut config = match &read.identity {
            // By a resolver, because rustls' own way refuses certificates of X.509 v1.
            Some((certificate, key)) => {
                let key = self.identity(&provider, certificate, key)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn roots(&self, ca: Option<&[u8]>) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        let (name, certificates) = match (ca, &self.tls.ca) {
            (Some(pem), Some(path)) => {
                let name = path.display().to_string();
                let certificates = trust::certificates(pem).map_err(|why| format!("{name}: {why}"))?;
                (name, certificates)
            }
            _ => ("the system".to_owned(), rustls_native_certs::load_native_certs().certs),
        };
        // A bundle may hold some that are none, and others count.
        let (usable, _) = roots.add_parsable_certificates(certificates);
        if usable == 0 {
            return Err(format!("{name}: holds no authority that etcd's certificate could be from"));
        }
        Ok(roots)
    }

    fn identity(&self, provider: &CryptoProvider, certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
        let (certificate_path, key_path) = self.tls.identity.as_ref().ok_or("no certificate is configured")?;
        let (certificate_path, key_path) = (certificate_path.display(), key_path.display());
        let pair = trust::pair(provider.key_provider, certificate, key);
        let (chain, key) = pair.map_err(|why| format!("{certificate_path} and {key_path}: {why}"))?;
        Ok(CertifiedKey::new(chain, key))
    }
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, String> {
    let path = path.as_ref();
    fs::read(path).map_err(|error: io::Error| format!("{}: cannot be read: {error}", path.display()))
}
