//! The keys and signature algorithms that are strong enough: those of webpki, for every verifier.

use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::prelude::X509Certificate;

/// RSA key sizes in bits. The upper bound keeps what a verification costs bounded: a 16384 bit key takes 50 times as long.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Refuses a certificate whose key is weak, or which was signed with a weak algorithm.
///
/// # Errors
/// What is weak.
pub(super) fn check(der: &[u8], certificate: &X509Certificate<'_>) -> Result<(), String> {
    let algorithm = signature_algorithm(der).ok_or("signature algorithm cannot be read")?;
    if algorithms(algorithm).next().is_none() {
        let oid = certificate.signature_algorithm.oid();
        return Err(format!("signature algorithm {oid} is too weak or unknown"));
    }
    key(certificate)
}

/// Refuses a certificate whose key is weak, however it was signed: a trust anchor is trusted without its signature.
///
/// # Errors
/// What is weak.
pub(super) fn key(certificate: &X509Certificate<'_>) -> Result<(), String> {
    let key = certificate.public_key();
    let algorithm = Any::from_der(key.raw).ok().and_then(|(_, outer)| contents(outer.data)).unwrap_or_default();
    if !webpki::ALL_VERIFICATION_ALGS.iter().any(|known| known.public_key_alg_id().as_ref() == algorithm) {
        return Err(format!("public key of an unknown kind ({})", key.algorithm.oid()));
    }
    match key.parsed() {
        Ok(x509_parser::public_key::PublicKey::RSA(key)) if !RSA_BITS.contains(&key.key_size()) => {
            let which = if key.key_size() < *RSA_BITS.start() { "short" } else { "long" };
            Err(format!("RSA key of {} bits is too {which}", key.key_size()))
        }
        Ok(_) => Ok(()),
        Err(_) => Err("public key cannot be read".to_owned()),
    }
}

/// webpki's algorithms for the contents of an `AlgorithmIdentifier`.
pub(super) fn algorithms(identifier: &[u8]) -> impl Iterator<Item = &'static dyn SignatureVerificationAlgorithm> {
    let matching = move |known: &&&dyn SignatureVerificationAlgorithm| known.signature_alg_id().as_ref() == identifier;
    webpki::ALL_VERIFICATION_ALGS.iter().filter(matching).copied()
}

/// The contents of the outer `signatureAlgorithm` of a certificate or revocation list.
pub(super) fn signature_algorithm(der: &[u8]) -> Option<&[u8]> {
    let (_, outer) = Any::from_der(der).ok()?;
    let (rest, _) = Any::from_der(outer.data).ok()?;
    contents(rest)
}

/// The contents of the first element.
fn contents(der: &[u8]) -> Option<&[u8]> {
    Any::from_der(der).ok().map(|(_, element)| element.data)
}
