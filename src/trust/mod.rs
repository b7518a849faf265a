//! X.509: reading PEM, and judging client certificates. No TLS connection, no clock, no I/O.

mod anchors;
mod holder;
mod identity;
mod judge;
mod name;
mod openssl;
mod pair;
mod path;
mod pem;
mod refusal;
mod requirements;
mod revocation;
mod strength;

#[cfg(test)]
mod testing;

pub use anchors::{Anchor, Anchors, seconds};
pub use holder::Holder;
pub use identity::IdentityRules;
pub use judge::{judge, not_after, public_key, signed_by_holder};
pub use name::hex;
pub use pair::{Unpaired, check_pair, pair};
pub use path::Verified;
pub use pem::{certificates, crls, private_key};
pub use refusal::{Cause, Refusal};
pub use requirements::Requirements;
pub use revocation::{Revocation, RevocationList};
