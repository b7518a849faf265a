//! Trust anchors: the certificate authorities that vouch for clients.

use std::fmt;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

/// The certificate authorities of one bundle; never empty. Sorted, without duplicates, so that equal sets are equal values.
pub struct Anchors {
    anchors: Vec<Anchor>,
    certificates: Vec<CertificateDer<'static>>,
}

struct Anchor {
    not_after: i64,
    not_before: i64,
    trust: TrustAnchor<'static>,
}

impl Anchors {
    /// Reads a PEM bundle in which every certificate must be usable as a certificate authority.
    ///
    /// # Errors
    /// A sentence that names the certificate by its place in the file. X.509 v1 and `CA:FALSE` are refused: whoever holds
    /// such a certificate could otherwise issue client certificates with it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let mut certificates = super::certificates(pem)?;
        for (index, certificate) in certificates.iter().enumerate() {
            check(certificate).map_err(|why| format!("certificate {} {why}", index + 1))?;
        }
        certificates.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        certificates.dedup();
        let anchors = certificates.iter().map(anchor).collect::<Result<_, _>>()?;
        Ok(Self { anchors, certificates })
    }

    /// The certificates, sorted by their bytes.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The anchors that are valid at `now`: an expired authority vouches for nobody (OpenSSL's rule; webpki would not look).
    pub(super) fn valid(
        &self,
        now: UnixTime,
    ) -> impl Iterator<Item = (&TrustAnchor<'static>, &CertificateDer<'static>)> {
        let now = seconds(now);
        let both = self.anchors.iter().zip(&self.certificates);
        both.filter(move |(a, _)| a.not_before <= now && now <= a.not_after).map(|(a, c)| (&a.trust, c))
    }

    /// When the first of the anchors that are valid at `now` expires, in seconds since the epoch.
    pub(super) fn next_expiry(&self, now: UnixTime) -> i64 {
        let now = seconds(now);
        let valid = self.anchors.iter().filter(|a| a.not_before <= now && now <= a.not_after);
        valid.map(|anchor| anchor.not_after).min().unwrap_or(now)
    }

    /// The subjects as DER, for the list in the handshake's `CertificateRequest`.
    pub fn subjects(&self) -> impl Iterator<Item = Vec<u8>> {
        self.certificates.iter().filter_map(|der| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            Some(certificate.subject().as_raw().to_vec())
        })
    }

    /// When the last of the anchors expires, in seconds since the epoch.
    pub fn not_after(&self) -> i64 {
        self.anchors.iter().map(|anchor| anchor.not_after).max().unwrap_or(i64::MIN)
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchors").field("certificates", &self.certificates.len()).finish_non_exhaustive()
    }
}

/// `UnixTime` as the seconds that certificates' times are compared with.
pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn check(der: &CertificateDer<'_>) -> Result<(), String> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| "is no X.509 certificate".to_owned())?;
    if !rest.is_empty() {
        return Err("has bytes after its end".to_owned());
    }
    if certificate.version() != X509Version::V3 {
        return Err(
            "is X.509 v1 and so can be no certificate authority; make one with basicConstraints CA:TRUE".to_owned()
        );
    }
    let constraints = certificate.basic_constraints().map_err(|_| "has broken basicConstraints".to_owned())?;
    if !constraints.is_some_and(|extension| extension.value.ca) {
        return Err(format!(
            "({}) is no certificate authority: basicConstraints is not CA:TRUE",
            certificate.subject()
        ));
    }
    let usage = certificate.key_usage().map_err(|_| "has a broken keyUsage".to_owned())?;
    if usage.is_some_and(|extension| !extension.value.key_cert_sign()) {
        return Err(format!("({}) may not sign certificates: keyUsage lacks keyCertSign", certificate.subject()));
    }
    Ok(())
}

fn anchor(der: &CertificateDer<'static>) -> Result<Anchor, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| "is no X.509 certificate".to_owned())?;
    let trust = webpki::anchor_from_trusted_cert(der)
        .map_err(|error| format!("certificate ({}) is unusable: {error}", certificate.subject()))?
        .to_owned();
    let validity = certificate.validity();
    Ok(Anchor { not_after: validity.not_after.timestamp(), not_before: validity.not_before.timestamp(), trust })
}
