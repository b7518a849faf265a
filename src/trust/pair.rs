//! A certificate and its key.

use std::sync::Arc;

use rustls::crypto::KeyProvider;
use rustls::sign::SigningKey;
use rustls_pki_types::CertificateDer;

use super::judge::public_key;
use super::pem;

/// Why a certificate and a key cannot be put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpaired {
    /// The certificate cannot be used: why.
    #[error("the certificate {0}")]
    Certificate(String),
    /// The key cannot be used: why, without any part of it.
    #[error("the key {0}")]
    Key(String),
    /// They are of different pairs.
    #[error("the key does not belong to the certificate")]
    Mismatch,
}

/// Puts a certificate chain and its private key together.
///
/// # Errors
/// When one of them cannot be read, or the key is of an unknown kind or belongs to another certificate.
pub fn pair(
    provider: &dyn KeyProvider,
    certificates: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, Arc<dyn SigningKey>), Unpaired> {
    let chain = pem::certificates(certificates).map_err(Unpaired::Certificate)?;
    let holder = chain.first().and_then(public_key);
    let holder = holder.ok_or_else(|| Unpaired::Certificate("is no X.509 certificate".to_owned()))?;
    let key = provider.load_private_key(pem::private_key(key).map_err(Unpaired::Key)?).map_err(|_| {
        let usable = "RSA of 2048 bits or more, ECDSA P-256, P-384 or P-521, or Ed25519";
        Unpaired::Key(format!("is of no usable kind ({usable})"))
    })?;
    if key.public_key().is_some_and(|public| public != holder) {
        return Err(Unpaired::Mismatch);
    }
    Ok((chain, key))
}

/// Whether a certificate chain and a private key can be put together.
///
/// # Errors
/// As [`pair`].
pub fn check_pair(certificates: &[u8], key: &[u8]) -> Result<(), Unpaired> {
    pair(rustls::crypto::aws_lc_rs::default_provider().key_provider, certificates, key).map(|_| ())
}
