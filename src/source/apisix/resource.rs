//! One resource on its way into the model.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::keyring::Keyring;
use crate::model::{Invalid, Meta, ObjectKey};
use crate::resource::Key;
use crate::source::parse::json;
use crate::world::Observed;

/// What every translation knows of its resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource<'a> {
    /// Which one.
    pub(super) key: &'a Key,
    /// What opens its secrets.
    pub(super) keyring: &'a Keyring,
    /// Its age, and the revision that changed it last.
    pub(super) meta: Meta,
    /// The store's prefix.
    pub(super) prefix: &'a Arc<str>,
}

impl Resource<'_> {
    /// What the resource is called in the model.
    pub(super) fn name(&self) -> ObjectKey {
        self.part("")
    }

    /// What a part of the resource is called in the model.
    pub(super) fn part(&self, suffix: &str) -> ObjectKey {
        ObjectKey::new(self.prefix.clone(), format!("{}{suffix}", self.key))
    }

    /// With the resource's metadata.
    pub(super) fn observed<T>(&self, value: Result<T, Invalid>) -> Observed<T> {
        Observed { meta: self.meta, value }
    }

    /// The private key at `field`, which may be sealed.
    pub(super) fn open(&self, text: &str, field: &str) -> Result<String, Invalid> {
        plain(text, field)?;
        self.keyring.open(text).map_err(|why| Invalid::spec(field, why.to_string()))
    }
}

/// Refuses a text that stands elsewhere.
pub(super) fn plain(text: &str, field: &str) -> Result<(), Invalid> {
    match ["$secret://", "$env://", "$ENV://"].iter().find(|scheme| text.starts_with(**scheme)) {
        None => Ok(()),
        Some(scheme) => Err(Invalid::unsupported(field, format!("`{scheme}` is not served: write the PEM itself"))),
    }
}

/// Fields that say nothing about what is served.
const NOTES: [&str; 6] = ["create_time", "desc", "id", "labels", "name", "update_time"];

/// Reads a resource, or an upstream inside one at `field`, whose fields are all known.
pub(super) fn read<T: DeserializeOwned>(mut value: Value, field: &str) -> Result<T, Invalid> {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| !NOTES.contains(&name.as_str()));
    }
    part(value, field)
}

/// Reads an object at `field` of a resource, whose fields are all known.
pub(super) fn part<T: DeserializeOwned>(mut value: Value, field: &str) -> Result<T, Invalid> {
    let Some(fields) = value.as_object_mut() else { return Err(Invalid::spec(field, "must be an object")) };
    // What is null was not set: lua-cjson writes it so.
    fields.retain(|_, value| !value.is_null());
    json::read(value, field).map_err(|mut invalid: Invalid| {
        // serde quotes what it could not read, which may be a private key in the wrong place.
        if let Some((_, expected)) = invalid.message.rsplit_once(", expected ")
            && invalid.message.starts_with("invalid ")
        {
            invalid.message = format!("has a wrong type or value: expected {expected}");
        }
        invalid
    })
}

/// An id that refers to another resource: a text or a number.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "must be an id: a text or a number")]
pub(super) enum Id {
    Number(u64),
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
