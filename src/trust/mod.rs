//! X.509: reading PEM, and judging client certificates. No TLS connection, no clock, no I/O.

mod anchors;
mod holder;
mod identity;
mod judge;
mod name;
mod openssl;
mod pem;
mod refusal;
mod requirements;
mod revocation;
mod strength;

pub use anchors::{Anchor, Anchors};
pub use holder::Holder;
pub use identity::IdentityRules;
pub use judge::{Verified, judge, public_key, signed_by_holder};
pub use pem::{certificates, crls, private_key};
pub use refusal::{Cause, Refusal};
pub use requirements::Requirements;
pub use revocation::Revocation;
