//! Why a client is refused.

use std::fmt;

/// Why a client certificate does not satisfy a policy. Its text is what the error log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client sent no certificate.
    NotPresent,
    /// The chain does not satisfy the policy.
    NotVerified {
        /// The cause, for metrics.
        cause: Cause,
        /// The cause in full, for people: `depth 2 exceeds 1`.
        why: String,
    },
}

/// The machine-readable cause of a refusal: the value of a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// More intermediates than `depth` allows.
    Depth,
    /// A certificate of the chain has expired.
    Expired,
    /// No rule on the identity matches.
    Identity,
    /// A certificate or the chain is malformed, or breaks a rule of path validation that has no cause of its own.
    Invalid,
    /// Every trust anchor has expired or is not yet valid.
    NoAnchor,
    /// No certificate was sent.
    NotPresent,
    /// A certificate of the chain is not yet valid.
    NotYetValid,
    /// Revoked.
    Revoked,
    /// No valid revocation list says anything about a certificate.
    RevocationUnknown,
    /// No chain leads to a trust anchor.
    UnknownIssuer,
    /// keyUsage, extendedKeyUsage or basicConstraints do not allow client authentication.
    Usage,
    /// A weak key or signature algorithm.
    Weak,
}

impl Cause {
    /// Every cause, in declaration order.
    pub const ALL: [Self; 12] = [
        Self::Depth,
        Self::Expired,
        Self::Identity,
        Self::Invalid,
        Self::NoAnchor,
        Self::NotPresent,
        Self::NotYetValid,
        Self::Revoked,
        Self::RevocationUnknown,
        Self::UnknownIssuer,
        Self::Usage,
        Self::Weak,
    ];

    /// The cause in `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Depth => "depth",
            Self::Expired => "expired",
            Self::Identity => "identity",
            Self::Invalid => "invalid",
            Self::NoAnchor => "no_anchor",
            Self::NotPresent => "not_present",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Usage => "usage",
            Self::Weak => "weak",
        }
    }
}

impl Refusal {
    /// A chain that does not satisfy the policy.
    pub fn new(cause: Cause, why: impl Into<String>) -> Self {
        Self::NotVerified { cause, why: why.into() }
    }

    /// The cause.
    pub fn cause(&self) -> Cause {
        match self {
            Self::NotPresent => Cause::NotPresent,
            Self::NotVerified { cause, .. } => *cause,
        }
    }
}

impl fmt::Display for Refusal {
    /// APISIX's words, which its users have alerts on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPresent => f.write_str("client certificate was not present"),
            Self::NotVerified { why, .. } => write!(f, "client certificate verification is not passed: FAILED:{why}"),
        }
    }
}

impl std::error::Error for Refusal {}
