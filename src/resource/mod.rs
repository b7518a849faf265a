//! The resources of APISIX's Admin API and etcd layout: their names, what a valid one looks like, what refers to what, and where secrets
//! are in them. Pure; shared by whoever writes (the Admin API) and whoever reads (`source::apisix`), so that both
//! agree about what is valid.

mod check;
mod environment;
mod key;
mod kind;
mod places;
mod references;
mod schema;
pub mod secrets;
mod vars;

pub use check::check;
pub use environment::{Environment, process_environment};
pub use key::Key;
pub use kind::Kind;
pub use references::references;
pub use schema::{check as check_shape, schema};

use serde_json::Value;

use crate::keyring::Keyring;

/// What a stored or sent resource means: its secrets opened, `$env://NAME` replaced, and all of it checked.
///
/// # Errors
/// A text that names the field, in APISIX's words where it has some. Never with any part of a secret.
pub fn usable(kind: Kind, value: &Value, keyring: &Keyring, environment: Environment<'_>) -> Result<Value, String> {
    let mut value = value.clone();
    secrets::open(kind, &mut value, keyring)?;
    environment::resolve(kind, &mut value, environment)?;
    check(kind, &value)?;
    Ok(value)
}
