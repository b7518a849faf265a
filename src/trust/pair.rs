//! A certificate and its key.

use std::sync::Arc;

use rustls::crypto::KeyProvider;
use rustls::sign::SigningKey;
use rustls_pki_types::CertificateDer;

use super::judge::public_key;
use super::pem;

/// Puts a certificate chain and its private key together.
///
/// # Errors
/// A sentence, when one of them cannot be read, or the key is of an unknown kind or belongs to another certificate.
pub fn pair(
    provider: &dyn KeyProvider,
    certificates: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, Arc<dyn SigningKey>), String> {
    let chain = pem::certificates(certificates).map_err(|why| format!("the certificate {why}"))?;
    let key = pem::private_key(key).map_err(|why| format!("the key {why}"))?;
    let key = provider.load_private_key(key).map_err(|_| {
        "the key is of no usable kind (RSA of 2048 bits or more, ECDSA P-256, P-384 or P-521, or Ed25519)".to_owned()
    })?;
    let holder = public_key(&chain[0]).ok_or("the certificate is no X.509 certificate")?;
    if key.public_key().is_some_and(|public| public != holder) {
        return Err("the key does not belong to the certificate".to_owned());
    }
    Ok((chain, key))
}

/// Whether a certificate chain and a private key can be put together.
///
/// # Errors
/// As [`pair`].
pub fn check_pair(certificates: &[u8], key: &[u8]) -> Result<(), String> {
    pair(rustls::crypto::aws_lc_rs::default_provider().key_provider, certificates, key).map(|_| ())
}
