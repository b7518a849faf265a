//! Rules on who a client may be.

use crate::model::IdentityRule;

/// The identities that are let in; without any rule everyone is.
#[derive(Debug, Default)]
pub struct IdentityRules {
    rules: Vec<IdentityRule>,
}

impl IdentityRules {
    /// Compiles rules.
    ///
    /// # Errors
    /// A sentence about a regular expression that is broken or too large.
    pub fn new(rules: &[IdentityRule]) -> Result<Self, String> {
        Ok(Self { rules: rules.to_vec() })
    }

    /// Whether everyone is let in.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}
