//! The judgement of a client's certificate chain.

use std::cell::RefCell;
use std::collections::HashMap;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, RawPublicKeyEntity};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::anchors::{Anchor, seconds};
use super::path::Found;
use super::{Cause, Refusal, Requirements, Verified, openssl, strength};

/// webpki stops at this many intermediates (its `MAX_SUB_CA_COUNT`); longer chains go to the other verifier.
const WEBPKI_INTERMEDIATES: usize = 6;

/// Certificates of one name in a client's chain: room for an authority that renewed its key twice. Path building tries
/// every order of those, so ten of one name, a few KiB to send, would cost 80 ms each time.
const SAME_SUBJECT: usize = 3;

/// Judges `chain`, the client's own certificate first, against `requirements`: signatures, validity,
/// constraints, key usage and extended key usage for client authentication, the number of intermediates, revocation, and
/// the identity.
///
/// webpki judges what it can. X.509 v1 leaves, which `openssl x509 -req` makes without extensions and webpki refuses, and
/// chains beyond webpki's limit are judged by AWS-LC's `X509_verify_cert`, after the checks that it would be laxer about.
/// A certificate that is itself one of the anchors needs no path.
///
/// # Errors
/// Why the chain is refused.
pub fn judge(chain: &[CertificateDer<'_>], requirements: &Requirements, now: UnixTime) -> Result<Verified, Refusal> {
    judge_for(Purpose::Client, chain, requirements, now)
}

/// What a certificate is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// TLS client authentication.
    Client,
    /// For test vectors that are about servers.
    #[cfg(test)]
    Server,
}

fn judge_for(
    purpose: Purpose,
    chain: &[CertificateDer<'_>],
    requirements: &Requirements,
    now: UnixTime,
) -> Result<Verified, Refusal> {
    let Some((leaf, intermediates)) = chain.split_first() else { return Err(Refusal::NotPresent) };
    let parsed = parse(leaf).ok_or_else(|| invalid("the client certificate is no X.509 certificate"))?;
    if requirements.anchors.valid(now).next().is_none() {
        return Err(Refusal::new(Cause::NoAnchor, "every client CA certificate is expired or not yet valid"));
    }
    let case = Case { leaf, parsed: &parsed, intermediates, requirements, now, purpose };
    case.leaf()?;
    if let Some(anchor) = requirements.anchors.find(leaf) {
        return case.pinned(anchor);
    }
    if ambiguous(intermediates) {
        return Err(invalid("the chain holds too many certificates of one name"));
    }
    let deep = requirements.depth as usize > WEBPKI_INTERMEDIATES && intermediates.len() > WEBPKI_INTERMEDIATES;
    if parsed.version() == X509Version::V1 || deep { case.by_openssl() } else { case.by_webpki() }
}

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::new(Cause::Invalid, why)
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

/// A chain and what is asked about it.
struct Case<'a> {
    leaf: &'a CertificateDer<'a>,
    parsed: &'a X509Certificate<'a>,
    intermediates: &'a [CertificateDer<'a>],
    requirements: &'a Requirements,
    now: UnixTime,
    purpose: Purpose,
}

impl Case<'_> {
    /// What both verifiers are asked to find: a client's certificate that may sign, made with algorithms that hold.
    fn leaf(&self) -> Result<(), Refusal> {
        let usage = self.parsed.key_usage().map_err(|_| invalid("broken keyUsage"))?;
        if usage.is_some_and(|usage| !usage.value.digital_signature()) {
            return Err(Refusal::new(Cause::Usage, "keyUsage does not allow digitalSignature"));
        }
        strength::check(self.leaf, self.parsed).map_err(|why| Refusal::new(Cause::Weak, why))?;
        in_date(self.parsed, self.now)
    }

    /// The client's certificate is itself an anchor: who holds its key is trusted, whether it is an authority or not.
    fn pinned(&self, anchor: &Anchor) -> Result<Verified, Refusal> {
        let usage = self.parsed.extended_key_usage().map_err(|_| invalid("broken extendedKeyUsage"))?;
        let allowed = |usage: &x509_parser::prelude::ExtendedKeyUsage<'_>| match self.purpose {
            Purpose::Client => usage.client_auth,
            #[cfg(test)]
            Purpose::Server => usage.server_auth,
        };
        if usage.is_some_and(|usage| !allowed(usage.value)) {
            return Err(describe(&Error::EmptyEkuExtension));
        }
        Found { anchor, certificates: &[self.parsed], leaf: self.leaf }.judge(self.requirements, self.now)
    }

    fn by_webpki(&self) -> Result<Verified, Refusal> {
        let authorities = || self.requirements.anchors.valid(self.now).map(|(anchor, _)| anchor);
        let trusted: Vec<_> = authorities().filter_map(Anchor::trust).collect();
        let verdict = RefCell::new(None);
        let examine = |path: &webpki::VerifiedPath<'_>| {
            let anchors = authorities().filter(|anchor| anchor.trust().as_ref() == Some(path.anchor()));
            let found = self.examine(path, anchors);
            let passes = found.is_ok();
            let mut verdict = verdict.borrow_mut();
            // Of several paths that do not pass, one that tells of a revocation is the one to know about.
            if passes || verdict.is_none() || matches!(&found, Err(refusal) if refusal.cause() == Cause::Revoked) {
                *verdict = Some(found);
            }
            if passes { Ok(()) } else { Err(Error::MaximumPathDepthExceeded) }
        };
        let verified = EndEntityCert::try_from(self.leaf).and_then(|leaf| {
            let algorithms = webpki::ALL_VERIFICATION_ALGS;
            let usage = match self.purpose {
                Purpose::Client => KeyUsage::client_auth(),
                #[cfg(test)]
                Purpose::Server => KeyUsage::server_auth(),
            };
            leaf.verify_for_usage(algorithms, &trusted, self.intermediates, self.now, usage, None, Some(&examine))
                .map(|_| ())
        });
        match (verified, verdict.into_inner()) {
            (Ok(()), Some(verdict)) | (Err(_), Some(verdict @ Err(_))) => verdict,
            // webpki's own limit: a longer chain gets here where the policy allows less than that.
            (Err(Error::MaximumPathDepthExceeded), _) => {
                Err(too_deep(self.intermediates.len(), self.requirements.depth))
            }
            (Err(error), _) => Err(describe(&error)),
            (Ok(()), None) => Err(invalid("the path cannot be examined")),
        }
    }

    /// Judges a path of webpki under the first of `anchors`, which are equal to webpki but may differ in `notAfter`, that
    /// lets it pass.
    fn examine<'a>(
        &self,
        path: &webpki::VerifiedPath<'_>,
        anchors: impl Iterator<Item = &'a Anchor>,
    ) -> Result<Verified, Refusal> {
        let intermediates: Vec<_> = path.intermediate_certificates().map(webpki::Cert::der).collect();
        let intermediates = intermediates.iter().map(parse).collect::<Option<Vec<_>>>();
        let intermediates = intermediates.ok_or_else(|| invalid("an intermediate cannot be read"))?;
        let certificates: Vec<_> = std::iter::once(self.parsed).chain(&intermediates).collect();
        let mut verdict = Err(describe(&Error::UnknownIssuer));
        for anchor in anchors {
            verdict = Found { anchor, certificates: &certificates, leaf: self.leaf }.judge(self.requirements, self.now);
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    fn by_openssl(&self) -> Result<Verified, Refusal> {
        let anchors = &self.requirements.anchors;
        let is_ca = self.parsed.basic_constraints().ok().flatten().is_some_and(|extension| extension.value.ca);
        if is_ca {
            return Err(describe(&Error::CaUsedAsEndEntity));
        }
        let mut issuers = Vec::new();
        for (index, der) in self.intermediates.iter().enumerate() {
            let refused = |cause, why: &str| Refusal::new(cause, format!("certificate {}: {why}", index + 2));
            let parsed = parse(der).ok_or_else(|| refused(Cause::Invalid, "is no X.509 certificate"))?;
            strength::check(der, &parsed).map_err(|why| refused(Cause::Weak, &why))?;
            // An X.509 v1 certificate carries no CA flag: it never vouches for another.
            if parsed.version() == X509Version::V3 {
                issuers.push((der, parsed));
            }
        }
        let trusted = || anchors.valid(self.now).filter(|(anchor, _)| anchor.trust().is_some());
        let roots: Vec<_> = trusted().map(|(_, der)| der.as_ref()).collect();
        let ders: Vec<_> = issuers.iter().map(|(der, _)| der.as_ref()).collect();
        let path =
            openssl::verify(self.leaf, &ders, &roots, seconds(self.now), self.purpose).map_err(
                |error| match error {
                    openssl::Error::OutOfDate => {
                        let found = issuers.iter().find_map(|(_, certificate)| in_date(certificate, self.now).err());
                        found.unwrap_or_else(|| invalid("a certificate of the chain is out of date"))
                    }
                    openssl::Error::Known(error) => describe(&error),
                    openssl::Error::Other(why) => invalid(why),
                },
            )?;
        // The path ends at the first anchor in it; what AWS-LC put behind that took no part in the trust.
        let mut certificates = vec![self.parsed];
        for der in path.iter().skip(1) {
            if let Some((anchor, _)) = trusted().find(|(_, known)| known.as_ref() == der.as_slice()) {
                return Found { anchor, certificates: &certificates, leaf: self.leaf }
                    .judge(self.requirements, self.now);
            }
            let (_, certificate) = issuers
                .iter()
                .find(|(known, _)| known.as_ref() == der.as_slice())
                .ok_or_else(|| invalid("the path cannot be examined"))?;
            certificates.push(certificate);
        }
        Err(describe(&Error::UnknownIssuer))
    }
}

/// More intermediates than `depth`.
pub(super) fn too_deep(found: usize, depth: u32) -> Refusal {
    Refusal::new(Cause::Depth, format!("depth {found} exceeds {depth}"))
}

fn in_date(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), Refusal> {
    let validity = certificate.validity();
    if seconds(now) > validity.not_after.timestamp() {
        return Err(expired(seconds(now) - validity.not_after.timestamp()));
    }
    if seconds(now) < validity.not_before.timestamp() {
        return Err(Refusal::new(Cause::NotYetValid, "certificate is not yet valid"));
    }
    Ok(())
}

fn expired(seconds: i64) -> Refusal {
    Refusal::new(Cause::Expired, format!("certificate has expired {}d ago", seconds / 86_400))
}

/// webpki's errors in the words that our users know.
fn describe(error: &Error) -> Refusal {
    let (cause, why) = match error {
        Error::CaUsedAsEndEntity => (Cause::Usage, "the client certificate is a certificate authority (CA:TRUE)"),
        Error::CertExpired { time, not_after } => return expired(seconds(*time) - seconds(*not_after)),
        Error::CertNotValidYet { .. } => (Cause::NotYetValid, "certificate is not yet valid"),
        Error::EndEntityUsedAsCa => (Cause::Usage, "an issuer in the chain is no certificate authority (CA:FALSE)"),
        Error::InvalidSignatureForPublicKey => {
            (Cause::UnknownIssuer, "unknown issuer: the authority of that name has another key")
        }
        Error::MaximumNameConstraintComparisonsExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumSignatureChecksExceeded => (Cause::Invalid, "the chain is too complex"),
        Error::NameConstraintViolation => (Cause::Invalid, "an issuer's nameConstraints do not allow the certificate"),
        Error::PathLenConstraintViolated => {
            (Cause::Invalid, "more intermediates than an issuer's pathLenConstraint allows")
        }
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
            (Cause::Usage, "extendedKeyUsage does not allow clientAuth")
        }
        Error::SignatureAlgorithmMismatch => (Cause::Invalid, "a certificate names two signature algorithms"),
        Error::UnknownIssuer => (Cause::UnknownIssuer, "unknown issuer"),
        Error::UnsupportedCertVersion => {
            (Cause::Usage, "an issuer in the chain is X.509 v1 and so can be no certificate authority")
        }
        Error::UnsupportedCriticalExtension => (Cause::Invalid, "a critical extension is not known"),
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            (Cause::Weak, "a key or signature algorithm in the chain is too weak or unknown")
        }
        other => return invalid(format!("malformed certificate: {other}")),
    };
    Refusal::new(cause, why)
}

/// The public key (`SubjectPublicKeyInfo`) of a certificate of any X.509 version; `None` for what is no certificate.
pub fn public_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    Some(SubjectPublicKeyInfoDer::from(parse(certificate)?.public_key().raw.to_vec()))
}

/// When a certificate ends, in seconds since the epoch; `None` for what is no certificate.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    Some(parse(certificate)?.validity().not_after.timestamp())
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
mod limbo;
#[cfg(test)]
mod tests;
