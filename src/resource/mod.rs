//! The resources of APISIX's Admin API and etcd layout: their names, what a valid one looks like, what refers to what, and where secrets
//! are in them. Pure; shared by whoever writes (the Admin API) and whoever reads (`source::apisix`), so that both
//! agree about what is valid.

mod check;
mod key;
mod kind;
mod places;
mod references;
mod schema;
pub mod secrets;
mod vars;

pub use check::check;
pub use key::Key;
pub use kind::Kind;
pub use references::{may_refer, references};
pub use schema::{check as check_shape, schema};

use serde_json::Value;

use crate::keyring::Keyring;

/// Whether a stored or sent resource is valid by itself. Its secrets may be sealed.
///
/// # Errors
/// A text that names the field, in APISIX's words where it has some. Never with any part of a secret.
pub fn check_sealed(kind: Kind, value: &Value, keyring: &Keyring) -> Result<(), String> {
    let mut value = value.clone();
    secrets::open(kind, &mut value, keyring)?;
    check(kind, &value)
}
