//! A path that a verifier has found, and what else must be true of it.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::X509Certificate;

use super::anchors::{Anchor, seconds};
use super::judge::too_deep;
use super::name::rfc4514;
use super::revocation::{Denied, Link};
use super::{Cause, Holder, Refusal, Requirements};

/// A chain that satisfies what is required of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The verdict holds until then: the earliest `notAfter` of the path's certificates and its anchor, and the earliest
    /// `nextUpdate` of the revocation lists that it needs.
    pub valid_until: UnixTime,
    path: Arc<Path>,
}

/// What is kept of a path, to judge it again without parsing and without signatures.
#[derive(Debug, PartialEq, Eq)]
struct Path {
    /// SHA-256 of the anchor.
    anchor: [u8; 32],
    /// The client; where there are rules on the identity.
    holder: Option<Holder>,
    /// The client's own certificate and the intermediates; empty where the client's certificate is the anchor.
    links: Vec<Link>,
    /// The earliest `notAfter` and the latest `notBefore` of the path and its anchor, in seconds since the epoch.
    not_after: i64,
    not_before: i64,
}

/// A path whose signatures, times, constraints and usages are verified: the client's own certificate first.
pub(super) struct Found<'a> {
    pub(super) anchor: &'a Anchor,
    pub(super) certificates: &'a [&'a X509Certificate<'a>],
    /// The client's own certificate.
    pub(super) leaf: &'a CertificateDer<'a>,
}

impl Verified {
    /// SHA-256 of the anchor that the path ends in, as [`Anchor::certificate_sha256`] has it.
    pub fn anchor(&self) -> &[u8; 32] {
        &self.path.anchor
    }

    /// Judges the same chain again, under requirements that may have changed and at another time, in about a microsecond:
    /// no signature is verified. `None` where that takes a judgement in full. It is never laxer than [`judge`](super::judge).
    pub fn again(&self, requirements: &Requirements, now: UnixTime) -> Option<Result<Self, Refusal>> {
        let Requirements { anchors, depth, identities, revocation } = requirements;
        let path = &self.path;
        let anchor = anchors.iter().find(|anchor| *anchor.certificate_sha256() == path.anchor)?;
        let intermediates = path.links.len().saturating_sub(1);
        let deep = |limit: u32| intermediates > limit as usize;
        let out_of_date = seconds(now) < path.not_before || seconds(now) > path.not_after;
        if !anchor.is_valid(now) || out_of_date || deep(*depth) {
            return None;
        }
        let mut until = path.not_after;
        if let Some(revocation) = revocation {
            match revocation.check(&path.links, None, now) {
                Ok(lists) => until = until.min(lists),
                // Every path holds the client's own certificate, under the same key; there may be one around an intermediate.
                Err(Denied { at: 0, refusal: Some(refusal) }) if path.links.first().is_some_and(Link::is_final) => {
                    return Some(Err(refusal));
                }
                Err(_) => return None,
            }
        }
        if !identities.is_empty()
            && let Err(refusal) = identities.check(path.holder.as_ref()?)
        {
            return Some(Err(refusal));
        }
        Some(Ok(Self { valid_until: time(until), path: path.clone() }))
    }
}

impl Found<'_> {
    /// Judges what the verifiers do not: depth, the anchor's `pathLenConstraint`, revocation, and the identity.
    pub(super) fn judge(&self, requirements: &Requirements, now: UnixTime) -> Result<Verified, Refusal> {
        let Requirements { depth, identities, revocation, .. } = requirements;
        let intermediates = self.certificates.len().saturating_sub(1);
        if intermediates > *depth as usize {
            return Err(too_deep(intermediates, *depth));
        }
        let issuers = self.certificates.get(1..).unwrap_or_default();
        let counted = issuers.iter().filter(|issuer| issuer.subject().as_raw() != issuer.issuer().as_raw()).count();
        if self.anchor.path_length().is_some_and(|limit| counted > limit as usize) {
            return Err(Refusal::new(Cause::Invalid, "more intermediates than the anchor's pathLenConstraint allows"));
        }
        let keys: Vec<_> =
            issuers.iter().map(|issuer| issuer.public_key().raw).chain([self.anchor.public_key()]).collect();
        let links = self.links(&keys);
        let times = self.certificates.iter().map(|certificate| certificate.validity());
        let not_after =
            times.clone().map(|times| times.not_after.timestamp()).fold(self.anchor.not_after(), std::cmp::min);
        let not_before = times.map(|times| times.not_before.timestamp()).fold(self.anchor.not_before(), std::cmp::max);
        let mut until = not_after;
        if let Some(revocation) = revocation {
            until = until.min(revocation.check(&links, Some(&keys), now).map_err(|denied| self.denied(denied))?);
        }
        let mut holder = None;
        if !identities.is_empty() {
            let read = self.certificates.first().and_then(|certificate| Holder::of(self.leaf, certificate));
            let read = read.ok_or_else(|| Refusal::new(Cause::Invalid, "broken subjectAltName"))?;
            identities.check(&read)?;
            holder = Some(read);
        }
        let anchor = *self.anchor.certificate_sha256();
        Ok(Verified { valid_until: time(until), path: Arc::new(Path { anchor, holder, links, not_after, not_before }) })
    }

    /// Nothing is asked about the anchor itself, nor about a client certificate that is the anchor: it is trusted until it
    /// is taken out of the bundle.
    fn links(&self, keys: &[&[u8]]) -> Vec<Link> {
        if self.anchor.certificate_sha256() == &super::holder::sha256(self.leaf) {
            return Vec::new();
        }
        let link = |(at, certificate): (usize, &&X509Certificate<'_>)| {
            let signs_lists = match self.certificates.get(at + 1) {
                Some(issuer) => issuer.key_usage().ok().flatten().is_none_or(|usage| usage.value.crl_sign()),
                None => self.anchor.signs_lists(),
            };
            Link::new(certificate, at > 0, keys.get(at).copied().unwrap_or_default(), signs_lists)
        };
        self.certificates.iter().enumerate().map(link).collect()
    }

    fn denied(&self, denied: Denied) -> Refusal {
        match (denied.refusal, self.certificates.get(denied.at)) {
            (Some(Refusal::NotVerified { cause, why }), Some(certificate)) if denied.at > 0 => {
                Refusal::new(cause, format!("intermediate {}: {why}", rfc4514(certificate.subject())))
            }
            (Some(refusal), _) => refusal,
            (None, _) => Refusal::new(Cause::RevocationUnknown, "revocation cannot be checked"),
        }
    }
}

fn time(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
