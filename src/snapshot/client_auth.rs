//! Client authentication of a host: a value, shared by all hosts that ask for the same.

use std::fmt;
use std::hash::{Hash, Hasher};

use regex::RegexSet;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::model::{ClientSettings, Failure, Mode, is_plain_path};
use crate::trust::{Anchors, IdentityRules, Refusal, Requirements, Revocation, Verified, judge};

/// Names a policy by its content: hosts with equal settings have equal ids, whatever their objects are called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId([u8; 32]);

impl PolicyId {
    /// The id as bytes: a SHA-256 of the settings.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PolicyId {
    /// The first 8 bytes in hexadecimal: enough to compare in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a client must prove, and what becomes of it.
#[derive(Debug)]
pub struct ClientAuth {
    /// The hash of everything here: what decides whether a connection for one host may be used for another.
    pub id: PolicyId,
    /// What the chain must satisfy.
    pub requirements: Requirements,
    /// The hash of everything but the content of revocation lists: what session tickets are bound to. A list that is
    /// published anew each hour must not end every session; the chain of a resumed session is judged again anyway.
    pub session: PolicyId,
    /// What the ApisixTls itself says.
    pub settings: ClientSettings,
    /// The paths that need no client certificate, if [`ClientAuth::skips`] them.
    pub skip: RegexSet,
}

impl ClientAuth {
    /// A policy.
    ///
    /// # Errors
    /// A sentence about a regular expression that is broken or too large.
    pub fn new(anchors: Anchors, revocation: Option<Revocation>, settings: ClientSettings) -> Result<Self, String> {
        let skip = RegexSet::new(settings.skip.iter()).map_err(|error| error.to_string())?;
        let identities = IdentityRules::new(&settings.identities)?;
        let mut digest = Sha256(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256));
        digest.write(b"portcullis policy 2\0");
        settings.hash(&mut digest);
        anchors.certificates().hash(&mut digest);
        revocation.as_ref().map(Revocation::settings).hash(&mut digest);
        let session = digest.id();
        for list in revocation.iter().flat_map(Revocation::lists) {
            list.hash(&mut digest);
        }
        let id = digest.id();
        let requirements = Requirements { anchors, depth: settings.depth, identities, revocation };
        Ok(Self { id, requirements, session, settings, skip })
    }

    /// Whether clients are judged in the handshake, which fails with an alert for those that are refused. Under `Observe` none
    /// is.
    pub fn alerts(&self) -> bool {
        self.settings.failure == Failure::Alert && self.settings.mode != Mode::Observe
    }

    /// Whether a [normal path](crate::model::normal_path) needs no client certificate: it is matched, and everyone takes it for
    /// what it seems to be.
    pub fn skips(&self, path: &str) -> bool {
        self.skip.is_match(path) && is_plain_path(path)
    }

    /// Judges the chain that a client sent (its own certificate first; empty where it sent none) at the time `now`.
    /// Proof of possession of the key is TLS's business and has happened.
    ///
    /// # Errors
    /// Why the client is refused.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Verified, Refusal> {
        judge(chain, &self.requirements, now)
    }
}

/// SHA-256 of whatever is hashed into it. `Hash` writes lengths before contents, so that no two values write the same.
#[derive(Clone)]
struct Sha256(aws_lc_rs::digest::Context);

impl Sha256 {
    fn id(&self) -> PolicyId {
        let mut id = [0; 32];
        id.copy_from_slice(self.0.clone().finish().as_ref());
        PolicyId(id)
    }
}

impl Hasher for Sha256 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.id().0.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}
