//! Secrets and `ConfigMap`s, as far as we read them.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

/// The data of a Secret or ConfigMap, decoded. Debug output never shows a value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Data(BTreeMap<String, Bytes>);

impl Data {
    /// Data with these entries.
    pub fn new<K: Into<String>>(entries: impl IntoIterator<Item = (K, Bytes)>) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.0.get(key)
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, value)| (key, format!("{} bytes", value.len())))).finish()
    }
}
