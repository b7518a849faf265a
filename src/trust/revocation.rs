//! Certificate revocation lists (RFC 5280 section 5).
//!
//! They are consulted after the path is verified, in one way for both verifiers. webpki's own check takes the first list of
//! an issuer's name, whoever signed it, and verifies its signature anew for each client; this one reads every list of the
//! issuer, and verifies a signature once per list and key.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use rustls_pki_types::{SubjectPublicKeyInfoDer, UnixTime};
use webpki::{OwnedCertRevocationList, RawPublicKeyEntity};
use x509_parser::prelude::{
    CertificateRevocationList, DistributionPointName, FromDer, GeneralName, ParsedExtension, RevokedCertificate,
    X509Certificate,
};

use super::anchors::seconds;
use super::holder::sha256;
use super::name::rfc4514;
use super::strength;
use super::{Cause, Refusal};
use crate::model::RevocationSettings;

/// Keys that a list remembers to be its signer's or not. Only issuers of verified paths are asked about.
const REMEMBERED_KEYS: usize = 64;

/// Names the issuer of an entry of an indirect list.
const CERTIFICATE_ISSUER: &str = "2.5.29.29";

/// The revocation lists of a policy.
pub struct Revocation {
    lists: Vec<RevocationList>,
    settings: RevocationSettings,
}

/// One revocation list.
pub struct RevocationList {
    der: Vec<u8>,
    /// By serial number without leading zeros.
    entries: HashMap<Box<[u8]>, Entry>,
    /// The name as DER.
    issuer: Vec<u8>,
    issuer_text: String,
    next_update: i64,
    scope: Scope,
    /// Whether the list is signed by a key, by the key's SHA-256.
    signers: Mutex<HashMap<[u8; 32], bool>>,
}

struct Entry {
    /// Seconds since the epoch.
    date: i64,
    reason: Option<u8>,
}

/// Which of the issuer's certificates a list is about (`IssuingDistributionPoint`).
#[derive(Default, PartialEq, Eq)]
struct Scope {
    authorities: bool,
    clients: bool,
    /// The URIs of its distribution point; `None` where the list covers every one.
    points: Option<Vec<String>>,
}

/// A certificate of a verified path, as far as revocation is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// An intermediate, not the client's own certificate.
    authority: bool,
    /// The URIs of its `cRLDistributionPoints`.
    distribution_points: Vec<String>,
    /// The issuer's name as DER.
    issuer: Vec<u8>,
    /// SHA-256 of the issuer's `SubjectPublicKeyInfo`.
    issuer_key: [u8; 32],
    /// The issuer's keyUsage allows cRLSign.
    issuer_signs_lists: bool,
    /// Without leading zeros.
    serial: Box<[u8]>,
}

impl Link {
    /// `certificate` as issued by the holder of `issuer_key`, who may sign lists or not.
    pub(super) fn new(
        certificate: &X509Certificate<'_>,
        authority: bool,
        issuer_key: &[u8],
        issuer_signs_lists: bool,
    ) -> Self {
        Self {
            issuer_signs_lists,
            authority,
            distribution_points: distribution_points(certificate),
            issuer: certificate.issuer().as_raw().to_vec(),
            issuer_key: sha256(issuer_key),
            serial: serial(certificate.raw_serial()),
        }
    }

    /// Whether every path through the certificate gives the same answer: another certificate of the same issuer and key
    /// could only lift what this one forbids.
    pub(super) fn is_final(&self) -> bool {
        self.issuer_signs_lists
    }
}

/// What the lists say about a certificate.
enum Status {
    /// Not revoked; holds until the time (seconds since the epoch).
    Good(i64),
    /// Revoked.
    Revoked(String),
    /// No list says anything that counts.
    Unknown(String),
    /// A list is there whose signature has not been verified with the issuer's key.
    Unverified,
}

/// Why a path does not pass.
pub(super) struct Denied {
    /// The place of the certificate in the path: 0 is the client's own.
    pub(super) at: usize,
    /// What is wrong with it; `None` where a signature would have to be verified to tell.
    pub(super) refusal: Option<Refusal>,
}

impl Revocation {
    /// Revocation by `lists`, each one DER. Expired lists are taken: what they revoke stays revoked.
    ///
    /// # Errors
    /// A sentence about the first list that cannot be used: a broken one; one without `nextUpdate`, which would be believed
    /// forever; and what needs more than one list to be understood: delta lists, indirect lists, and lists of some reasons
    /// only.
    pub fn new(lists: Vec<Vec<u8>>, settings: RevocationSettings) -> Result<Self, String> {
        let read =
            |(index, der)| RevocationList::read(der).map_err(|why| format!("revocation list {} {why}", index + 1));
        Ok(Self { lists: lists.into_iter().enumerate().map(read).collect::<Result<_, _>>()?, settings })
    }

    /// Revocation by lists that were read one by one.
    pub fn of(lists: Vec<RevocationList>, settings: RevocationSettings) -> Self {
        Self { lists, settings }
    }

    /// The lists as DER, in the order that they were given.
    pub fn lists(&self) -> impl Iterator<Item = &[u8]> {
        self.lists.iter().map(|list| list.der.as_slice())
    }

    /// Each list, in the order that they were given.
    pub fn iter(&self) -> impl Iterator<Item = &RevocationList> {
        self.lists.iter()
    }

    /// How the lists are used.
    pub fn settings(&self) -> RevocationSettings {
        self.settings
    }

    /// The earliest `nextUpdate`, in seconds since the epoch; `None` without lists.
    pub fn next_update(&self) -> Option<i64> {
        self.lists.iter().map(|list| list.next_update).min()
    }

    /// Checks a verified path, the client's own certificate first. `keys` are the `SubjectPublicKeyInfo`s of the issuers in
    /// the same order; without them no signature is verified, and what would need it is denied without a refusal.
    ///
    /// Returns until when (seconds since the epoch) the answer holds.
    ///
    /// # Errors
    /// The first certificate that is revoked; where none is, the first of unknown status.
    pub(super) fn check(&self, path: &[Link], keys: Option<&[&[u8]]>, now: UnixTime) -> Result<i64, Denied> {
        let length = if self.settings.leaf_only { 1 } else { path.len() };
        let mut until = i64::MAX;
        let mut unknown = None;
        for (at, link) in path.iter().take(length).enumerate() {
            let key = keys.and_then(|keys| keys.get(at)).copied();
            match self.status(link, key, now) {
                Status::Good(next_update) => until = until.min(next_update),
                Status::Revoked(why) => return Err(Denied { at, refusal: Some(Refusal::new(Cause::Revoked, why)) }),
                Status::Unverified => return Err(Denied { at, refusal: None }),
                Status::Unknown(_) if self.settings.allow_unknown => {}
                Status::Unknown(why) => {
                    let refusal = Some(Refusal::new(Cause::RevocationUnknown, why));
                    unknown = unknown.or(Some(Denied { at, refusal }));
                }
            }
        }
        match unknown {
            Some(denied) => Err(denied),
            // A list that is believed past its end, because no list is needed at all, bounds nothing.
            None if self.settings.allow_unknown => Ok(i64::MAX),
            None => Ok(until),
        }
    }

    fn status(&self, link: &Link, key: Option<&[u8]>, now: UnixTime) -> Status {
        let mut good = None;
        let mut unverified = false;
        let mut problem = None;
        for list in self.lists.iter().filter(|list| list.issuer == link.issuer) {
            match list.is_signed_by(&link.issuer_key, key) {
                None => unverified = true,
                Some(false) => {
                    problem.get_or_insert_with(|| {
                        format!("the revocation list of {} is not signed by the issuer's key", list.issuer_text)
                    });
                }
                Some(true) => {
                    if let Some(entry) = list.entries.get(&link.serial) {
                        return Status::Revoked(entry.describe());
                    }
                    if !link.issuer_signs_lists {
                        problem.get_or_insert_with(|| {
                            format!("{} may not sign revocation lists: keyUsage lacks cRLSign", list.issuer_text)
                        });
                    } else if !list.scope.covers(link) {
                        problem.get_or_insert_with(|| {
                            format!("the revocation list of {} does not cover the certificate", list.issuer_text)
                        });
                    } else if seconds(now) > list.next_update {
                        let days = (seconds(now) - list.next_update) / 86_400;
                        problem = Some(format!("the revocation list of {} has expired {days}d ago", list.issuer_text));
                    } else {
                        good = good.max(Some(list.next_update));
                    }
                }
            }
        }
        match good {
            _ if unverified => Status::Unverified,
            Some(until) => Status::Good(until),
            None => Status::Unknown(problem.unwrap_or_else(|| {
                let name = x509_parser::prelude::X509Name::from_der(&link.issuer);
                let name = name.map(|(_, name)| rfc4514(&name)).unwrap_or_default();
                format!("no valid revocation list of issuer {name}")
            })),
        }
    }
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
    fn is_signed_by(&self, hash: &[u8; 32], key: Option<&[u8]>) -> Option<bool> {
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
    fn describe(&self) -> String {
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
    fn covers(&self, link: &Link) -> bool {
        let kind = if link.authority { self.authorities } else { self.clients };
        let named = |points: &Vec<String>| points.iter().any(|point| link.distribution_points.contains(point));
        kind && self.points.as_ref().is_none_or(named)
    }
}

fn uris<'a>(name: &'a DistributionPointName<'a>) -> impl Iterator<Item = String> + 'a {
    let names = match name {
        DistributionPointName::FullName(names) => names.as_slice(),
        DistributionPointName::NameRelativeToCRLIssuer(_) => &[],
    };
    names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    })
}

/// The distribution points of a certificate whose lists are the issuer's own and about every reason.
fn distribution_points(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() {
            let own = points.iter().filter(|point| point.reasons.is_none() && point.crl_issuer.is_none());
            found.extend(own.filter_map(|point| point.distribution_point.as_ref()).flat_map(uris));
        }
    }
    found
}

/// A serial number without leading zeros.
fn serial(raw: &[u8]) -> Box<[u8]> {
    let start = raw.iter().position(|byte| *byte != 0).unwrap_or(raw.len());
    raw[start..].into()
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

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").field("lists", &self.lists).finish_non_exhaustive()
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RevocationList");
        debug.field("issuer", &self.issuer_text).field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
