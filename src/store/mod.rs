//! Where the resources of the Admin API are kept: texts under keys, with revisions, transactions and a watch. Two kinds: etcd, which several
//! gateways (and APISIX itself) share, and a database of our own in a folder. What the texts mean is [`crate::resource`]'s matter.
//!
//! Keys are those of [`crate::resource::Key`], without the prefix (`/apisix`), which is the store's own matter.

mod embedded;
mod etcd;
mod memory;
mod state;
mod transaction;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

pub use self::embedded::Embedded;
pub use self::etcd::{Connection, Etcd, EtcdOptions, Tls as EtcdTls};
pub use self::memory::Memory;
pub use self::transaction::{Committed, Guard, Operation, Transaction};

/// A text in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The text: JSON.
    pub value: Arc<str>,
    /// The revision that made the key: APISIX's `createdIndex`.
    pub created: u64,
    /// The revision that changed it last: APISIX's `modifiedIndex`.
    pub modified: u64,
}

/// Everything below a prefix, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The texts by their keys.
    pub entries: BTreeMap<Arc<str>, Entry>,
    /// The store's revision when they were read.
    pub revision: u64,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The key.
    pub key: Arc<str>,
    /// The text; `None` when the key is gone.
    pub entry: Option<Entry>,
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Everything that there is: at the beginning, and whenever events may have been missed (compaction).
    All(Listing),
    /// The events of one transaction or several, in order; they belong together.
    Events(Vec<Event>),
}

/// The store does not answer. Shown to whoever writes with status 503; traffic goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// One store of any kind. Clones are the same store.
#[derive(Clone, Debug)]
pub enum Store {
    /// In a file of this gateway's data folder.
    Embedded(Embedded),
    /// In etcd, with others.
    Etcd(Etcd),
    /// Gone with the process.
    Memory(Memory),
}

impl Store {
    /// The text under `key`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Unavailable> {
        match self {
            Self::Embedded(embedded) => Ok(embedded.get(key)),
            Self::Etcd(etcd) => etcd.get(key).await,
            Self::Memory(memory) => Ok(memory.get(key)),
        }
    }

    /// Everything whose key begins with `prefix`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self, prefix: &str) -> Result<Listing, Unavailable> {
        match self {
            Self::Embedded(embedded) => Ok(embedded.list(prefix)),
            Self::Etcd(etcd) => etcd.list(prefix).await,
            Self::Memory(memory) => Ok(memory.list(prefix)),
        }
    }

    /// Does `transaction` if its guards hold.
    ///
    /// # Errors
    /// When the store does not answer: it may have been done then.
    pub async fn commit(&self, transaction: &Transaction) -> Result<Committed, Unavailable> {
        match self {
            Self::Embedded(embedded) => embedded.commit(transaction.clone()).await,
            Self::Etcd(etcd) => etcd.commit(transaction).await,
            Self::Memory(memory) => Ok(memory.commit(transaction)),
        }
    }

    /// Everything, then every change, for as long as the receiver is there. A store that does not answer is asked again; whoever reads
    /// this never notices but by the silence.
    pub fn watch(&self) -> mpsc::UnboundedReceiver<Update> {
        match self {
            Self::Embedded(embedded) => embedded.watch(),
            Self::Etcd(etcd) => etcd.watch(),
            Self::Memory(memory) => memory.watch(),
        }
    }

    /// Whether changes that others make are heard of now. Of no meaning for a store of our own, which nobody else changes.
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Embedded(_) | Self::Memory(_) => true,
            Self::Etcd(etcd) => *etcd.connection().borrow() == Connection::Connected,
        }
    }
}
