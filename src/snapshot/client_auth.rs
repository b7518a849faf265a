//! Client authentication of a host: a value, shared by all hosts that ask for the same.

use std::fmt;

use rustls_pki_types::{CertificateDer, UnixTime};

use crate::trust::{Anchors, Refusal, judge};

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

/// What a client must prove.
#[derive(Debug)]
pub struct ClientAuth {
    /// The certificate authorities that vouch for clients.
    pub anchors: Anchors,
    /// Intermediates allowed between the client's certificate and an anchor.
    pub depth: u32,
    /// The hash of all of the above.
    pub id: PolicyId,
}

/// A client that satisfied a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The verdict holds until then: the earliest `notAfter` of the certificates that the client sent.
    pub valid_until: UnixTime,
}

impl ClientAuth {
    /// A policy of these anchors.
    pub fn new(anchors: Anchors, depth: u32) -> Self {
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        digest.update(b"portcullis policy 1\0");
        digest.update(&depth.to_be_bytes());
        for certificate in anchors.certificates() {
            digest.update(&(certificate.len() as u64).to_be_bytes());
            digest.update(certificate);
        }
        let mut id = [0; 32];
        id.copy_from_slice(digest.finish().as_ref());
        Self { anchors, depth, id: PolicyId(id) }
    }

    /// Judges the chain that a client sent (its own certificate first; empty where it sent none) at the time `now`.
    /// Proof of possession of the key is TLS's business and has happened.
    ///
    /// # Errors
    /// Why the client is refused.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Identity, Refusal> {
        judge(chain, &self.anchors, self.depth, now).map(|valid_until| Identity { valid_until })
    }
}
