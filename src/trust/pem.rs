//! PEM, as Secrets hold it.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The certificates of a PEM file, in the file's order. Other sections and text between them are passed over.
///
/// # Errors
/// A sentence, when a section is broken or there is no certificate.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("no readable PEM: {error}"))?;
    if found.is_empty() {
        return Err("holds no PEM certificate (`-----BEGIN CERTIFICATE-----`)".to_owned());
    }
    Ok(found)
}

/// The first private key of a PEM file: PKCS#8, PKCS#1 (`RSA PRIVATE KEY`) or SEC1 (`EC PRIVATE KEY`), not encrypted.
/// An `EC PARAMETERS` section, which openssl writes before a SEC1 key, is passed over.
///
/// # Errors
/// A sentence without any part of the key.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => {
            "holds no PEM private key (`-----BEGIN PRIVATE KEY-----`, not encrypted)".to_owned()
        }
        _ => "no readable PEM private key".to_owned(),
    })
}
