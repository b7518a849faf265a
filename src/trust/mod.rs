//! X.509: reading PEM, and judging client certificates. No TLS connection, no clock, no I/O.

mod anchors;
mod judge;
mod openssl;
mod pem;
mod refusal;

pub use anchors::Anchors;
pub use judge::{judge, public_key, signed_by_holder};
pub use pem::{certificates, private_key};
pub use refusal::Refusal;
