//! Sources turn foreign objects into our model, one object at a time and without joins, and tell the world what changed.
//! They are total: an object that cannot be used becomes an [`crate::model::Invalid`], never a gap.

pub mod apisix;
pub mod dns;
pub mod kubernetes;
pub mod manifests;
pub mod parse;
