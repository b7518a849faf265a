//! Changes that are made together or not at all.

use std::sync::Arc;
use std::time::Duration;

/// Operations that are done if every guard holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// What must hold.
    pub guards: Vec<Guard>,
    /// What is done then, in order. No key twice (etcd's rule).
    pub operations: Vec<Operation>,
}

/// What must hold for a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The key does not exist.
    Absent(Arc<str>),
    /// The key exists.
    Present(Arc<str>),
    /// The key was changed last by this revision.
    Unchanged(Arc<str>, u64),
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Removes a key, if it is there.
    Delete(Arc<str>),
    /// Gives a key a text.
    Put {
        /// The key.
        key: Arc<str>,
        /// How long the key stays; `None` for ever.
        ttl: Option<Duration>,
        /// The text.
        value: Arc<str>,
    },
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It was done, as this revision.
    Done(u64),
    /// A guard did not hold; nothing was done.
    Refused,
}
