//! What is wrong with an object that is ours.

use super::Invalid;

/// Something that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it does to the object.
    pub effect: Effect,
    /// What and where it is.
    pub invalid: Invalid,
}

/// What a problem does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The object, or a host of it, is not served at all, or refuses its clients.
    Refused,
    /// A rule of the object, the one that the field names, is not served; the others are.
    RuleRefused,
    /// The object is served, but a reference of it is not resolved: for example a Service without such a port.
    Unresolved,
    /// The object is served with an older value: for example the last good certificate.
    Stale,
    /// The object is served as it is written, but that will not or should not last: a certificate expires soon.
    Warning,
}
