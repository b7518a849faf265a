//! The resources of APISIX's Admin API and etcd layout: their names, what a valid one looks like, what refers to what, and where secrets
//! are in them. Pure; shared by whoever writes (the Admin API) and whoever reads (`source::apisix`), so that both
//! agree about what is valid.

mod key;
mod kind;

pub use key::Key;
pub use kind::Kind;
