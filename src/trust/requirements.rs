//! What a client's certificate chain must satisfy.

use super::{Anchors, IdentityRules, Revocation};

/// What a chain must satisfy.
#[derive(Debug)]
pub struct Requirements {
    /// The certificate authorities that vouch for clients.
    pub anchors: Anchors,
    /// Intermediates allowed between the client's certificate and an anchor.
    pub depth: u32,
    /// Which identities are let in.
    pub identities: IdentityRules,
    /// The revocation lists; `None` where revocation is not checked.
    pub revocation: Option<Revocation>,
}
