//! Certificate revocation lists (RFC 5280 section 5).
//!
//! They are consulted after the path is verified, in one way for both verifiers. webpki's own check takes the first list of
//! an issuer's name, whoever signed it, and verifies its signature anew for each client; this one reads every list of the
//! issuer, and verifies a signature once per list and key.

use std::fmt;

use rustls_pki_types::UnixTime;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::anchors::seconds;
use super::holder::sha256;
use super::name::rfc4514;
use super::{Cause, Refusal};
use crate::model::RevocationSettings;

mod list;

pub use list::RevocationList;
use list::uris;

/// The revocation lists of a policy.
pub struct Revocation {
    lists: Vec<RevocationList>,
    settings: RevocationSettings,
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

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").field("lists", &self.lists).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
