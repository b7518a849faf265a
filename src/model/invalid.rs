//! Why an object, or a part of it, cannot be used.

use std::fmt::{self, Write};

/// The machine-readable cause, used as a condition's `reason`. Names follow the Gateway API's where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Another object owns the host.
    Conflict,
    /// Its time is over.
    Expired,
    /// Its time is over soon.
    ExpiresSoon,
    /// The API server refused to show a referenced object.
    Forbidden,
    /// A client CA bundle is empty, broken or holds no certificate authority.
    InvalidCaCertificate,
    /// A certificate or key is broken, or the two do not belong together.
    InvalidCertificate,
    /// A revocation list is broken, or about nobody.
    InvalidRevocationList,
    /// A field has a value that cannot be honoured (APISIX's own word for it).
    InvalidSpec,
    /// A name has no address in DNS.
    NotResolved,
    /// Its time is to come.
    NotYetValid,
    /// A certificate is accepted without being verified.
    NotVerified,
    /// A referenced object does not exist.
    RefNotFound,
    /// A field is understood but not served by this version.
    Unsupported,
}

impl Reason {
    /// The reason in a condition's CamelCase.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::Expired => "Expired",
            Self::ExpiresSoon => "ExpiresSoon",
            Self::Forbidden => "Forbidden",
            Self::InvalidCaCertificate => "InvalidCACertificate",
            Self::InvalidCertificate => "InvalidCertificate",
            Self::InvalidRevocationList => "InvalidRevocationList",
            Self::InvalidSpec => "InvalidSpec",
            Self::NotResolved => "NotResolved",
            Self::NotYetValid => "NotYetValid",
            Self::NotVerified => "NotVerified",
            Self::RefNotFound => "RefNotFound",
            Self::Unsupported => "Unsupported",
        }
    }
}

/// A refusal of configuration that names the field and says what to do. It becomes a condition, never a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field's path in the object, for example `spec.http[0].match.paths[1]`.
    pub field: String,
    /// What is wrong and what to write instead, as a sentence without a final dot.
    pub message: String,
    /// The machine-readable cause.
    pub reason: Reason,
}

impl Invalid {
    /// An [`Invalid`] of `reason` at `field`.
    pub fn new(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), reason }
    }

    /// A value that cannot be honoured.
    pub fn spec(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidSpec, field, message)
    }

    /// A field that this version does not serve.
    pub fn unsupported(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Reason::Unsupported, field, message)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages quote objects: a line feed in one must not begin a line of its own in a log.
        let parts = [self.field.as_str(), ": ", self.message.as_str()];
        parts
            .iter()
            .flat_map(|part| part.chars())
            .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_from_an_object_stays_on_its_line() {
        let invalid = Invalid::spec("spec.hosts[0]", "`a\n2026 ERROR forged\u{1b}[31m` is no host");
        assert_eq!(invalid.to_string(), "spec.hosts[0]: `a\\n2026 ERROR forged\\u{1b}[31m` is no host");
    }
}
