//! One revocation list.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use rustls_pki_types::SubjectPublicKeyInfoDer;
use webpki::{OwnedCertRevocationList, RawPublicKeyEntity};
use x509_parser::prelude::{
    CertificateRevocationList, DistributionPointName, FromDer, GeneralName, ParsedExtension, RevokedCertificate,
};

use super::{Link, serial};
use crate::trust::name::rfc4514;
use crate::trust::strength;

/// Keys that a list remembers to be its signer's or not. Only issuers of verified paths are asked about.
const REMEMBERED_KEYS: usize = 64;

/// Names the issuer of an entry of an indirect list.
const CERTIFICATE_ISSUER: &str = "2.5.29.29";

/// One revocation list.
pub struct RevocationList {
    pub(super) der: Vec<u8>,
    /// By serial number without leading zeros.
    pub(super) entries: HashMap<Box<[u8]>, Entry>,
    /// The name as DER.
    pub(super) issuer: Vec<u8>,
    pub(super) issuer_text: String,
    pub(super) next_update: i64,
    pub(super) scope: Scope,
    /// Whether the list is signed by a key, by the key's SHA-256.
    signers: Mutex<HashMap<[u8; 32], bool>>,
}

pub(super) struct Entry {
    /// Seconds since the epoch.
    date: i64,
    reason: Option<u8>,
}

/// Which of the issuer's certificates a list is about (`IssuingDistributionPoint`).
#[derive(Default, PartialEq, Eq)]
pub(super) struct Scope {
    authorities: bool,
    clients: bool,
    /// The URIs of its distribution point; `None` where the list covers every one.
    points: Option<Vec<String>>,
}

impl RevocationList {
    /// The issuer's name (RFC 4514).
    pub fn issuer(&self) -> &str {
        &self.issuer_text
    }

    /// `nextUpdate`, in seconds since the epoch: from then on the list counts as expired.
    pub fn next_update(&self) -> i64 {
        self.next_update
    }

    /// Whether it is about the same certificates as `other`, and is valid for longer.
    pub fn outlives(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.scope == other.scope && self.next_update > other.next_update
    }

    /// The number of revoked certificates.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Reads a list; see [`Revocation::new`].
    ///
    /// # Errors
    /// A sentence without a subject.
    pub fn read(der: Vec<u8>) -> Result<Self, String> {
        let (rest, list) =
            CertificateRevocationList::from_der(&der).map_err(|_| "is no X.509 revocation list".to_owned())?;
        if !rest.is_empty() {
            return Err("has bytes after its end".to_owned());
        }
        let issuer_text = rfc4514(list.issuer());
        let unusable = |why: &str| format!("({issuer_text}) {why}");
        // `openssl ca -gencrl` writes lists without extensions by default, which webpki does not read. Where there are some,
        // webpki says what is wrong with them.
        if list.extensions().is_empty() {
            let extensions = || list.iter_revoked_certificates().flat_map(RevokedCertificate::extensions);
            if extensions().any(|extension| extension.oid.to_id_string() == CERTIFICATE_ISSUER) {
                return Err(unusable(&describe(&webpki::Error::UnsupportedIndirectCrl)));
            }
            if extensions().any(|extension| extension.critical) {
                return Err(unusable(&describe(&webpki::Error::UnsupportedCriticalExtension)));
            }
        } else {
            OwnedCertRevocationList::from_der(&der).map_err(|error| unusable(&describe(&error)))?;
        }
        if list.tbs_cert_list.signature != list.signature_algorithm {
            return Err(unusable("names two signature algorithms"));
        }
        let algorithm = strength::signature_algorithm(&der).unwrap_or_default();
        if strength::algorithms(algorithm).next().is_none() {
            let oid = list.signature_algorithm.oid();
            return Err(unusable(&format!("is signed with an algorithm that is too weak or unknown: {oid}")));
        }
        let next_update = list.next_update().ok_or_else(|| unusable("has no nextUpdate"))?.timestamp();
        let scope = Scope::of(&list).map_err(unusable)?;
        let entries = list.iter_revoked_certificates().map(|entry| {
            let date = entry.revocation_date.timestamp();
            (serial(entry.raw_serial()), Entry { date, reason: entry.reason_code().map(|(_, code)| code.0) })
        });
        let entries = entries.collect();
        let issuer = list.issuer().as_raw().to_vec();
        Ok(Self { entries, issuer, next_update, scope, signers: Mutex::default(), issuer_text, der })
    }

    /// Whether the list is signed by the key with that hash; `None` where that is not known and `key` is not given.
    pub(super) fn is_signed_by(&self, hash: &[u8; 32], key: Option<&[u8]>) -> Option<bool> {
        let signers = || self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = signers().get(hash) {
            return Some(*known);
        }
        let signed = self.verify(key?);
        let mut signers = signers();
        if signers.len() < REMEMBERED_KEYS {
            signers.insert(*hash, signed);
        }
        Some(signed)
    }

    fn verify(&self, key: &[u8]) -> bool {
        let Ok((_, list)) = CertificateRevocationList::from_der(&self.der) else { return false };
        let key = SubjectPublicKeyInfoDer::from(key);
        let Ok(key) = RawPublicKeyEntity::try_from(&key) else { return false };
        let (message, signature) = (list.tbs_cert_list.as_ref(), list.signature_value.as_ref());
        let algorithm = strength::signature_algorithm(&self.der).unwrap_or_default();
        strength::algorithms(algorithm).any(|algorithm| key.verify_signature(algorithm, message, signature).is_ok())
    }
}

impl Entry {
    /// `revoked 2026-11-20 (keyCompromise)`.
    pub(super) fn describe(&self) -> String {
        // RFC 5280 section 5.3.1.
        const REASONS: [&str; 11] = [
            "unspecified",
            "keyCompromise",
            "cACompromise",
            "affiliationChanged",
            "superseded",
            "cessationOfOperation",
            "certificateHold",
            "",
            "removeFromCRL",
            "privilegeWithdrawn",
            "aACompromise",
        ];
        let date = jiff::Timestamp::from_second(self.date).map(|date| date.strftime("%Y-%m-%d").to_string());
        let date = date.unwrap_or_default();
        match self.reason.and_then(|reason| REASONS.get(usize::from(reason))) {
            Some(reason) => format!("revoked {date} ({reason})"),
            None => format!("revoked {date}"),
        }
    }
}

impl Scope {
    fn of(list: &CertificateRevocationList<'_>) -> Result<Self, &'static str> {
        const ID: &str = "2.5.29.28";
        let Some(extension) = list.extensions().iter().find(|extension| extension.oid.to_id_string() == ID) else {
            return Ok(Self { authorities: true, clients: true, points: None });
        };
        let ParsedExtension::IssuingDistributionPoint(point) = extension.parsed_extension() else {
            return Err("has a broken issuingDistributionPoint");
        };
        Ok(Self {
            authorities: !point.only_contains_user_certs,
            clients: !point.only_contains_ca_certs,
            points: point.distribution_point.as_ref().map(|name| uris(name).collect()),
        })
    }

    /// A list of one distribution point covers those certificates that name the point (RFC 5280 section 6.3.3, and what
    /// OpenSSL does). webpki would take it for a certificate without a distribution point too, which may be on another list.
    pub(super) fn covers(&self, link: &Link) -> bool {
        let kind = if link.authority { self.authorities } else { self.clients };
        let named = |points: &Vec<String>| points.iter().any(|point| link.distribution_points.contains(point));
        kind && self.points.as_ref().is_none_or(named)
    }
}

pub(super) fn uris<'a>(name: &'a DistributionPointName<'a>) -> impl Iterator<Item = String> + 'a {
    let names = match name {
        DistributionPointName::FullName(names) => names.as_slice(),
        DistributionPointName::NameRelativeToCRLIssuer(_) => &[],
    };
    names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    })
}

/// webpki's errors about a list in words.
fn describe(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnsupportedDeltaCrl => "is a delta list: give complete lists".to_owned(),
        webpki::Error::UnsupportedIndirectCrl => {
            "is an indirect list: give lists of the issuers that signed the certificates".to_owned()
        }
        webpki::Error::UnsupportedRevocationReasonsPartitioning => {
            "is about some revocation reasons only: give lists of all reasons".to_owned()
        }
        webpki::Error::UnsupportedCrlIssuingDistributionPoint => {
            "has an issuingDistributionPoint without a full name".to_owned()
        }
        webpki::Error::UnsupportedCriticalExtension => "has a critical extension that is not known".to_owned(),
        webpki::Error::UnsupportedCrlVersion => "is of an unknown version".to_owned(),
        other => format!("is broken: {other}"),
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RevocationList");
        debug.field("issuer", &self.issuer_text).field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}
