//! PEM, as Secrets hold it.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// The certificates of a PEM file, in the file's order. Other sections and text between them are passed over.
///
/// # Errors
/// A sentence, when a section is broken or there is no certificate.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    each_certificate(pem).collect()
}

/// As [`certificates`], with an error for each broken section instead of one for the file.
pub(super) fn each_certificate(pem: &[u8]) -> impl Iterator<Item = Result<CertificateDer<'static>, String>> {
    let mut sections = CertificateDer::pem_slice_iter(pem).peekable();
    let empty = sections.peek().is_none();
    let empty = empty.then(|| Err("holds no PEM certificate (`-----BEGIN CERTIFICATE-----`)".to_owned()));
    sections.map(|section| section.map_err(|error| format!("holds no readable PEM: {error}"))).chain(empty)
}

/// The revocation lists of a file as DER, in the file's order: several in PEM (`-----BEGIN X509 CRL-----`), or one in DER.
/// Whether they are usable is for [`Revocation::new`](super::Revocation::new) to say.
///
/// # Errors
/// A sentence, when a section is broken or there is no list.
pub fn crls(file: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    const SEQUENCE: u8 = 0x30;
    if file.first() == Some(&SEQUENCE) {
        return Ok(vec![file.to_vec()]);
    }
    let found = CertificateRevocationListDer::pem_slice_iter(file)
        .map(|section| section.map(|list| list.as_ref().to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("no readable PEM: {error}"))?;
    if found.is_empty() {
        return Err("holds no revocation list (PEM `-----BEGIN X509 CRL-----`, or DER)".to_owned());
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
