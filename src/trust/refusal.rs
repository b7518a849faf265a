//! Why a client is refused.

use std::fmt;

/// Why a client certificate does not satisfy a policy. Its text is what the error log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client sent no certificate.
    NotPresent,
    /// The chain does not verify; the text says why, for example `unknown issuer` or `expired`.
    NotVerified(String),
}

impl fmt::Display for Refusal {
    /// APISIX's words, which its users have alerts on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPresent => f.write_str("client certificate was not present"),
            Self::NotVerified(why) => write!(f, "client certificate verification is not passed: FAILED:{why}"),
        }
    }
}

impl std::error::Error for Refusal {}
