//! The judgement of a client's certificate chain.

use std::cell::Cell;
use std::collections::HashMap;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, RawPublicKeyEntity};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::anchors::seconds;
use super::{Cause, Refusal, Requirements, openssl};

/// webpki stops at this many intermediates (its `MAX_SUB_CA_COUNT`); longer chains go to the other verifier.
const WEBPKI_INTERMEDIATES: usize = 6;

/// Certificates of one name in a client's chain: room for an authority that renewed its key twice. Path building tries
/// every order of those, so ten of one name, a few KiB to send, would cost 80 ms each time.
const SAME_SUBJECT: usize = 3;

/// A chain that satisfies what is required of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The verdict holds until then: the earliest `notAfter` of the certificates that the client sent and of the anchors.
    pub valid_until: UnixTime,
}

/// Judges `chain`, the client's own certificate first, against `requirements`: signatures, validity,
/// constraints, key usage and extended key usage for client authentication, and the number of intermediates.
///
/// webpki judges what it can. X.509 v1 leaves, which `openssl x509 -req` makes without extensions and webpki refuses, and
/// chains beyond webpki's limit are judged by AWS-LC's `X509_verify_cert`, after the checks that it would be laxer about.
///
/// # Errors
/// Why the chain is refused.
pub fn judge(chain: &[CertificateDer<'_>], requirements: &Requirements, now: UnixTime) -> Result<Verified, Refusal> {
    let Requirements { anchors, depth, .. } = requirements;
    let depth = *depth;
    let Some((leaf, intermediates)) = chain.split_first() else { return Err(Refusal::NotPresent) };
    let refused = |why: &str| Refusal::new(Cause::Invalid, why);
    let parsed = parse(leaf).ok_or_else(|| refused("the client certificate is no X.509 certificate"))?;
    if parsed.key_usage().map_err(|_| refused("broken keyUsage"))?.is_some_and(|usage| !usage.value.digital_signature())
    {
        return Err(Refusal::new(Cause::Usage, "keyUsage does not allow digitalSignature"));
    }
    if ambiguous(intermediates) {
        return Err(refused("the chain holds too many certificates of one name"));
    }
    let valid: Vec<_> = anchors.valid(now).filter(|(anchor, _)| anchor.trust().is_some()).collect();
    if valid.is_empty() {
        return Err(Refusal::new(Cause::NoAnchor, "every client CA certificate is expired or not yet valid"));
    }
    let beyond_webpki = parsed.version() == X509Version::V1
        || (depth as usize > WEBPKI_INTERMEDIATES && intermediates.len() > WEBPKI_INTERMEDIATES);
    if beyond_webpki {
        by_openssl(leaf, intermediates, &valid.iter().map(|(_, der)| der.as_ref()).collect::<Vec<_>>(), depth, now)?;
    } else {
        let trusted: Vec<_> = valid.iter().filter_map(|(anchor, _)| anchor.trust().cloned()).collect();
        by_webpki(leaf, intermediates, &trusted, depth, now)?;
    }
    Ok(Verified {
        valid_until: valid_until(
            &parsed,
            intermediates,
            valid.iter().map(|(anchor, _)| anchor.not_after()).min().unwrap_or_default(),
            now,
        ),
    })
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, certificate)| certificate)
}

/// Whether more than [`SAME_SUBJECT`] certificates have the same subject.
fn ambiguous(certificates: &[CertificateDer<'_>]) -> bool {
    let mut counts = HashMap::new();
    certificates.iter().filter_map(parse).any(|certificate| {
        let count = counts.entry(certificate.subject().as_raw().to_vec()).or_insert(0);
        *count += 1;
        *count > SAME_SUBJECT
    })
}

/// The earliest `notAfter` among the leaf and those intermediates and anchors that are valid now. One that took no part can
/// only make the verdict be renewed earlier.
fn valid_until(
    leaf: &X509Certificate<'_>,
    intermediates: &[CertificateDer<'_>],
    anchors: i64,
    now: UnixTime,
) -> UnixTime {
    let ends = intermediates.iter().filter_map(parse).map(|certificate| certificate.validity().not_after.timestamp());
    let end =
        ends.filter(|end| *end >= seconds(now)).fold(leaf.validity().not_after.timestamp().min(anchors), std::cmp::min);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(end).unwrap_or(0)))
}

fn by_webpki(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    anchors: &[rustls_pki_types::TrustAnchor<'_>],
    depth: u32,
    now: UnixTime,
) -> Result<(), Refusal> {
    let too_deep = Cell::new(None);
    let within_depth = |path: &webpki::VerifiedPath<'_>| {
        let found = path.intermediate_certificates().count();
        if found > depth as usize {
            too_deep.set(Some(found));
            return Err(Error::MaximumPathDepthExceeded);
        }
        Ok(())
    };
    let verified = EndEntityCert::try_from(leaf).and_then(|leaf| {
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        let usage = KeyUsage::client_auth();
        leaf.verify_for_usage(algorithms, anchors, intermediates, now, usage, None, Some(&within_depth)).map(|_| ())
    });
    verified.map_err(|error| match too_deep.get() {
        Some(found) => Refusal::new(Cause::Depth, format!("depth {found} exceeds {depth}")),
        None => describe(&error),
    })
}

/// webpki's errors in the words that our users know.
fn describe(error: &Error) -> Refusal {
    let (cause, why) = match error {
        Error::CaUsedAsEndEntity => (Cause::Usage, "the client certificate is a certificate authority (CA:TRUE)"),
        Error::CertExpired { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
            return Refusal::new(Cause::Expired, format!("certificate has expired {days}d ago"));
        }
        Error::CertNotValidYet { .. } => (Cause::NotYetValid, "certificate is not yet valid"),
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
            (Cause::Usage, "extendedKeyUsage does not allow clientAuth")
        }
        Error::UnknownIssuer => (Cause::UnknownIssuer, "unknown issuer"),
        other => return Refusal::new(Cause::Invalid, other.to_string()),
    };
    Refusal::new(cause, why)
}

fn by_openssl(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    anchors: &[&[u8]],
    depth: u32,
    now: UnixTime,
) -> Result<(), Refusal> {
    let mut issuers = Vec::new();
    for (index, certificate) in std::iter::once(leaf).chain(intermediates).enumerate() {
        let refused = |cause, why: String| Refusal::new(cause, format!("certificate {}: {why}", index + 1));
        let parsed = parse(certificate).ok_or_else(|| refused(Cause::Invalid, "is no X.509 certificate".to_owned()))?;
        strong(&parsed).map_err(|why| refused(Cause::Weak, why))?;
        let is_ca = parsed.basic_constraints().ok().flatten().is_some_and(|extension| extension.value.ca);
        if index == 0 && is_ca {
            return Err(describe(&Error::CaUsedAsEndEntity));
        }
        // An X.509 v1 certificate carries no CA flag: it never vouches for another.
        if index > 0 && parsed.version() == X509Version::V3 {
            issuers.push(certificate.as_ref());
        }
    }
    openssl::verify(leaf, &issuers, anchors, depth, seconds(now)).map_err(|why| Refusal::new(Cause::Invalid, why))
}

/// Refuses what webpki refuses and AWS-LC would let pass: signatures with SHA-1 or MD5, and RSA keys under 2048 bits.
fn strong(certificate: &X509Certificate<'_>) -> Result<(), String> {
    use x509_parser::oid_registry as oid;
    let accepted = [
        oid::OID_PKCS1_SHA256WITHRSA,
        oid::OID_PKCS1_SHA384WITHRSA,
        oid::OID_PKCS1_SHA512WITHRSA,
        oid::OID_PKCS1_RSASSAPSS,
        oid::OID_SIG_ECDSA_WITH_SHA256,
        oid::OID_SIG_ECDSA_WITH_SHA384,
        oid::OID_SIG_ECDSA_WITH_SHA512,
        oid::OID_SIG_ED25519,
    ];
    let algorithm = certificate.signature_algorithm.oid();
    if !accepted.contains(algorithm) {
        return Err(format!("signature algorithm {algorithm} is too weak or unknown"));
    }
    match certificate.public_key().parsed() {
        Ok(x509_parser::public_key::PublicKey::RSA(key)) if key.key_size() < 2048 => {
            Err(format!("RSA key of {} bits is too short", key.key_size()))
        }
        Ok(_) => Ok(()),
        Err(_) => Err("public key cannot be read".to_owned()),
    }
}

/// The public key (`SubjectPublicKeyInfo`) of a certificate of any X.509 version; `None` for what is no certificate.
pub fn public_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    Some(SubjectPublicKeyInfoDer::from(parse(certificate)?.public_key().raw.to_vec()))
}

/// Whether `signature` over `message` was made with the key of `certificate`, under one of `algorithms`: TLS's proof of
/// possession, for certificates of every X.509 version.
pub fn signed_by_holder(
    certificate: &CertificateDer<'_>,
    message: &[u8],
    signature: &[u8],
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> bool {
    let Some(key) = public_key(certificate) else { return false };
    let Ok(key) = RawPublicKeyEntity::try_from(&key) else { return false };
    algorithms.iter().any(|algorithm| key.verify_signature(*algorithm, message, signature).is_ok())
}

#[cfg(test)]
mod tests;
