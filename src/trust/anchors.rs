//! Trust anchors: the certificate authorities that vouch for clients.

use std::fmt;

use rustls_pki_types::{CertificateDer, Der, TrustAnchor, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::holder::sha256;
use super::name::rfc4514;
use super::{pem, strength};

/// Extensions that a critical flag does not make unusable: both verifiers know them (the numbers below 2.5.29).
const KNOWN_EXTENSIONS: [&str; 6] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"];

/// The certificates that vouch for clients; never empty. Sorted, without duplicates, so that equal sets are equal values.
///
/// A certificate authority vouches for what it has issued. A self-signed certificate that is no authority is a pin: it
/// vouches for itself, and for nobody else.
pub struct Anchors {
    anchors: Vec<Anchor>,
    certificates: Vec<CertificateDer<'static>>,
}

/// One of [`Anchors`].
pub struct Anchor {
    certificate_sha256: [u8; 32],
    not_after: i64,
    not_before: i64,
    /// `pathLenConstraint`, which webpki does not look at in an anchor.
    path_length: Option<u32>,
    /// The `SubjectPublicKeyInfo`.
    public_key: Vec<u8>,
    /// keyUsage allows cRLSign, or there is none.
    signs_lists: bool,
    subject: String,
    /// `None` for a pin.
    trust: Option<TrustAnchor<'static>>,
}

impl Anchor {
    /// SHA-256 of the certificate.
    pub fn certificate_sha256(&self) -> &[u8; 32] {
        &self.certificate_sha256
    }

    /// End of validity, in seconds since the epoch.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Start of validity, in seconds since the epoch.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// The subject (RFC 4514).
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether it vouches for anybody at `now`: an expired authority does not (OpenSSL's rule; webpki would not look).
    pub fn is_valid(&self, now: UnixTime) -> bool {
        self.not_before <= seconds(now) && seconds(now) <= self.not_after
    }

    pub(super) fn path_length(&self) -> Option<u32> {
        self.path_length
    }

    pub(super) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    pub(super) fn signs_lists(&self) -> bool {
        self.signs_lists
    }

    /// What webpki wants of it; `None` for a pin.
    pub(super) fn trust(&self) -> Option<TrustAnchor<'_>> {
        self.trust.as_ref().map(|trust| TrustAnchor {
            subject: Der::from_slice(&trust.subject),
            subject_public_key_info: Der::from_slice(&trust.subject_public_key_info),
            name_constraints: trust.name_constraints.as_deref().map(Der::from_slice),
        })
    }

    fn read(der: &CertificateDer<'static>) -> Result<Self, String> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| "is no X.509 certificate".to_owned())?;
        if !rest.is_empty() {
            return Err("has bytes after its end".to_owned());
        }
        let subject = rfc4514(certificate.subject());
        let authority = check(&certificate).map_err(|why| format!("({subject}) {why}"))?;
        let unusable = |why: &str| format!("({subject}) is unusable: {why}");
        strength::key(&certificate).map_err(|why| unusable(&why))?;
        let trust = if authority {
            Some(webpki::anchor_from_trusted_cert(der).map_err(|error| unusable(&error.to_string()))?.to_owned())
        } else {
            None
        };
        let constraints = certificate.basic_constraints().ok().flatten();
        let usage = certificate.key_usage().ok().flatten();
        Ok(Self {
            certificate_sha256: sha256(der),
            not_after: certificate.validity().not_after.timestamp(),
            not_before: certificate.validity().not_before.timestamp(),
            path_length: constraints.and_then(|extension| extension.value.path_len_constraint),
            public_key: certificate.public_key().raw.to_vec(),
            signs_lists: usage.is_none_or(|extension| extension.value.crl_sign()),
            subject,
            trust,
        })
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchor").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl Anchors {
    /// Reads PEM bundles and takes what is usable. Beside the result there is a sentence for each certificate that is left
    /// out, with the place of its bundle (from 0): `certificate 2 (CN=x) is no certificate authority: …`. Expired ones are
    /// taken: time passes, and whether one counts is seen when a client is judged; [`Anchor::is_valid`] tells for reports.
    ///
    /// X.509 v1 and `CA:FALSE` are left out: whoever holds such a certificate could otherwise issue client certificates
    /// with it.
    ///
    /// # Errors
    /// Where none is usable, the first of the sentences.
    pub fn read<'a>(bundles: impl IntoIterator<Item = &'a [u8]>) -> (Result<Self, String>, Vec<(usize, String)>) {
        let mut found = Vec::new();
        let mut left_out = Vec::new();
        for (bundle, pem) in bundles.into_iter().enumerate() {
            for (index, certificate) in pem::each_certificate(pem).enumerate() {
                let read = certificate.and_then(|der| {
                    let anchor = Anchor::read(&der).map_err(|why| format!("certificate {} {why}", index + 1))?;
                    Ok((der, anchor))
                });
                match read {
                    Ok(read) => found.push(read),
                    Err(why) => left_out.push((bundle, why)),
                }
            }
        }
        found.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
        found.dedup_by(|(a, _), (b, _)| a == b);
        let (certificates, anchors): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        if anchors.is_empty() {
            let why = left_out.first().map_or("holds no certificate", |(_, why)| why);
            return (Err(why.to_owned()), left_out);
        }
        (Ok(Self { anchors, certificates }), left_out)
    }

    /// Reads one PEM bundle, every certificate of which must be usable.
    ///
    /// # Errors
    /// A sentence that names the first certificate that is not, by its place in the file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        match Self::read([pem]) {
            (_, left_out) if !left_out.is_empty() => {
                Err(left_out.into_iter().map(|(_, why)| why).next().unwrap_or_default())
            }
            (anchors, _) => anchors,
        }
    }

    /// The certificates, sorted by their bytes.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Each anchor, in the order of [`Anchors::certificates`].
    pub fn iter(&self) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter()
    }

    /// The anchors that are valid at `now`, with their certificates.
    pub(super) fn valid(&self, now: UnixTime) -> impl Iterator<Item = (&Anchor, &CertificateDer<'static>)> {
        self.anchors.iter().zip(&self.certificates).filter(move |(anchor, _)| anchor.is_valid(now))
    }

    /// The anchor that is this very certificate, valid or not.
    pub(super) fn find(&self, der: &CertificateDer<'_>) -> Option<&Anchor> {
        let at = self.certificates.binary_search_by(|known| known.as_ref().cmp(der.as_ref())).ok()?;
        self.anchors.get(at)
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
        self.anchors.iter().map(Anchor::not_after).max().unwrap_or(i64::MIN)
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchors").field("certificates", &self.certificates.len()).finish_non_exhaustive()
    }
}

/// `UnixTime` as the seconds that certificates' times are compared with.
pub fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// The critical extension that is not understood, if there is one.
pub(super) fn unknown_critical(certificate: &X509Certificate<'_>) -> Option<String> {
    let unknown = |extension: &&x509_parser::prelude::X509Extension<'_>| {
        extension.critical && !KNOWN_EXTENSIONS.contains(&extension.oid.to_id_string().as_str())
    };
    certificate.extensions().iter().find(unknown).map(|extension| extension.oid.to_id_string())
}

/// Whether the certificate is an authority; false for one that can be pinned.
fn check(certificate: &X509Certificate<'_>) -> Result<bool, String> {
    if certificate.version() != X509Version::V3 {
        return Err(
            "is X.509 v1 and so can be no certificate authority; make one with basicConstraints CA:TRUE".to_owned()
        );
    }
    if let Some(oid) = unknown_critical(certificate) {
        return Err(format!("has a critical extension that is not known: {oid}"));
    }
    let constraints = certificate.basic_constraints().map_err(|_| "has broken basicConstraints".to_owned())?;
    let usage = certificate.key_usage().map_err(|_| "has a broken keyUsage".to_owned())?;
    if !constraints.is_some_and(|extension| extension.value.ca) {
        if certificate.subject().as_raw() == certificate.issuer().as_raw() {
            return Ok(false);
        }
        return Err("is no certificate authority: basicConstraints is not CA:TRUE".to_owned());
    }
    if usage.is_some_and(|extension| !extension.value.key_cert_sign()) {
        return Err("may not sign certificates: keyUsage lacks keyCertSign".to_owned());
    }
    let purposes = certificate.extended_key_usage().map_err(|_| "has a broken extendedKeyUsage".to_owned())?;
    if purposes.is_some_and(|extension| !extension.value.client_auth && !extension.value.any) {
        return Err("may not vouch for clients: extendedKeyUsage lacks clientAuth".to_owned());
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
