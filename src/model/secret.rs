//! Secrets, as far as we read them.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

/// The data of a Secret, decoded. Only the keys in [`Secret::KEYS`] are kept. Debug output never shows a value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret {
    data: BTreeMap<&'static str, Bytes>,
}

impl Secret {
    /// The keys that certificates, private keys and client CAs are looked up under.
    pub const KEYS: [&'static str; 5] = ["ca.crt", "cert", "key", "tls.crt", "tls.key"];

    /// Keeps the entries whose key is in [`Secret::KEYS`].
    pub fn new<K: AsRef<str>>(data: impl IntoIterator<Item = (K, Bytes)>) -> Self {
        let known = |key: &str| Self::KEYS.into_iter().find(|known| *known == key);
        Self { data: data.into_iter().filter_map(|(key, value)| Some((known(key.as_ref())?, value))).collect() }
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.data.get(key)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.data.iter().map(|(key, value)| (key, format!("{} bytes", value.len())))).finish()
    }
}
