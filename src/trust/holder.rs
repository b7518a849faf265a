//! What a certificate says about its holder.

use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::Tag;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::name::rfc4514;

/// What a certificate says about its holder: for rules, headers, logs and `explain`. Text may hold any character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// SHA-256 of the certificate.
    pub certificate_sha256: [u8; 32],
    /// DNS names of the subject alternative name.
    pub dns: Vec<String>,
    /// E-mail addresses of the subject alternative name.
    pub emails: Vec<String>,
    /// IP addresses of the subject alternative name.
    pub ips: Vec<IpAddr>,
    /// The issuer's name (RFC 4514).
    pub issuer: String,
    /// End of validity, in seconds since the epoch.
    pub not_after: i64,
    /// Start of validity, in seconds since the epoch.
    pub not_before: i64,
    /// SHA-256 of the `SubjectPublicKeyInfo`.
    pub public_key_sha256: [u8; 32],
    /// The serial number, big endian, without leading zeros.
    pub serial: Vec<u8>,
    /// The subject's name (RFC 4514).
    pub subject: String,
    /// URIs of the subject alternative name.
    pub uris: Vec<String>,
}

impl Holder {
    /// Reads a certificate; `None` for what is none, and where the subject alternative name cannot be read.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        rest.is_empty().then(|| Self::of(der, &certificate))?
    }

    /// The same of a certificate that has been parsed.
    pub(super) fn of(der: &[u8], certificate: &X509Certificate<'_>) -> Option<Self> {
        let mut holder = Self {
            certificate_sha256: sha256(der),
            dns: Vec::new(),
            emails: Vec::new(),
            ips: Vec::new(),
            issuer: rfc4514(certificate.issuer()),
            not_after: certificate.validity().not_after.timestamp(),
            not_before: certificate.validity().not_before.timestamp(),
            public_key_sha256: sha256(certificate.public_key().raw),
            serial: certificate.serial.to_bytes_be(),
            subject: rfc4514(certificate.subject()),
            uris: Vec::new(),
        };
        let names = certificate.subject_alternative_name().ok()?;
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => holder.dns.push((*name).to_owned()),
                GeneralName::RFC822Name(name) => holder.emails.push((*name).to_owned()),
                GeneralName::URI(uri) => holder.uris.push((*uri).to_owned()),
                GeneralName::IPAddress(bytes) => holder.ips.extend(address(bytes)),
                // Left out, it would make two URIs look like one, which is a SPIFFE id.
                GeneralName::Invalid(Tag(1 | 2 | 6), _) => return None,
                _ => {}
            }
        }
        Some(holder)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    sum
}

#[cfg(test)]
mod tests;
