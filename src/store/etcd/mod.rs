//! A store in etcd, which several gateways share, and APISIX with them: its layout is APISIX's (`/apisix/routes/1`). Spoken to by its JSON
//! gateway (`/v3/kv/…`), as by APISIX itself: clients of its gRPC interface need `protoc` where they are built.

mod client;
mod connect;
mod copy;
mod follow;
mod message;
mod tls;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::Vacant;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use self::client::{Client, Repeat};
use self::connect::Endpoint;
use self::copy::LocalCopy;
pub use self::follow::Connection;
use self::follow::{Follower, Shared, list};
use self::message::{Lease, Prefix, Range, Step, Txn};
use self::tls::Files;
pub use self::tls::Tls;
use super::{Committed, Entry, Listing, Operation, Transaction, Unavailable, Update};

/// Which etcd, and how.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    /// The data folder, where an encrypted copy of what etcd told last is kept: a gateway that starts while etcd is away serves it. None
    /// is kept without a folder.
    pub folder: Option<PathBuf>,
    /// `http://HOST:PORT` or `https://HOST:PORT`, at least one. Port 2379 where it is left out.
    pub hosts: Vec<String>,
    /// What the keys begin with: `/apisix`.
    pub prefix: String,
    /// How long a request may take; 30 s in APISIX.
    pub timeout: Duration,
    /// TLS to the hosts that have `https`.
    pub tls: Tls,
    /// User and password.
    pub user: Option<(String, String)>,
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions").field("hosts", &self.hosts).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// A store in etcd. Reading and writing ask etcd, and a task of its own follows it for the watch. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Etcd {
    client: Arc<Client>,
    prefix: Prefix,
    shared: Arc<Shared>,
    _tasks: Arc<Tasks>,
}

/// Ends when the last clone of the store is gone.
#[derive(Debug)]
struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Etcd {
    /// Begins to follow etcd, on the runtime that this is called on. Whether it answers is seen later.
    ///
    /// # Errors
    /// A sentence about a host, the prefix or a file of `tls` that cannot be used.
    pub fn start(options: EtcdOptions) -> Result<Self, String> {
        let EtcdOptions { folder, hosts, prefix, timeout, tls, user } = options;
        let endpoints: Vec<_> = hosts.iter().map(|host| Endpoint::parse(host)).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err("etcd has no host: write at least one, http://HOST:PORT or https://HOST:PORT".to_owned());
        }
        let files = Files::new(tls);
        if endpoints.iter().any(Endpoint::is_tls) {
            files.config()?;
        }
        let prefix = Prefix::new(&prefix);
        if prefix.as_str().is_empty() {
            return Err("etcd's prefix is empty: write `/apisix`, or another one of your own".to_owned());
        }
        let client = Arc::new(Client::new(endpoints, files, user, timeout));
        let shared = Arc::new(Shared::new());
        let follower = Follower { client: client.clone(), prefix: prefix.clone(), shared: shared.clone() };
        let mut tasks = vec![tokio::spawn(follower.run()).abort_handle()];
        if let Some(folder) = folder {
            tasks.push(tokio::spawn(LocalCopy::new(&folder, prefix.as_str()).run(shared.clone())).abort_handle());
        }
        Ok(Self { client, prefix, shared, _tasks: Arc::new(Tasks(tasks)) })
    }

    /// The text under `key`.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Unavailable> {
        let range: Range = self.client.ask("/v3/kv/range", &self.prefix.get(key), Repeat::Safe).await?;
        Ok(range.kvs.iter().find_map(|found| self.prefix.entry(found)).map(|(_, entry)| entry))
    }

    /// Everything whose key begins with `prefix`, at one revision.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses.
    pub async fn list(&self, prefix: &str) -> Result<Listing, Unavailable> {
        let (_, listing) = list(&self.client, &self.prefix, prefix).await?;
        Ok(listing)
    }

    /// Does `transaction` if its guards hold. A time to live is a lease of that many seconds, rounded up; etcd has a shortest one of its own.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses. Without an answer, it may have been done.
    pub async fn commit(&self, transaction: &Transaction) -> Result<Committed, Unavailable> {
        let leases = self.leases(transaction).await?;
        let steps = transaction.operations.iter().map(|operation| match operation {
            Operation::Delete(key) => Step::Delete(key),
            Operation::Put { key, ttl, value } => {
                let lease = ttl.and_then(|ttl| leases.get(&seconds(ttl)));
                Step::Put { key, lease: lease.map(String::as_str), value }
            }
        });
        let steps: Vec<_> = steps.collect();
        let body = self.prefix.transaction(&transaction.guards, &steps);
        let done: Txn = self.client.ask("/v3/kv/txn", &body, Repeat::Unsent).await?;
        Ok(if done.succeeded { Committed::Done(done.header.revision) } else { Committed::Refused })
    }

    /// A lease for each time to live.
    async fn leases(&self, transaction: &Transaction) -> Result<BTreeMap<u64, String>, Unavailable> {
        let mut leases = BTreeMap::new();
        for operation in &transaction.operations {
            let Operation::Put { ttl: Some(ttl), .. } = operation else { continue };
            let ttl = seconds(*ttl);
            if let Vacant(place) = leases.entry(ttl) {
                let body = json!({ "TTL": ttl.to_string() });
                // One that is granted twice ends by itself.
                let lease: Lease = self.client.ask("/v3/lease/grant", &body, Repeat::Safe).await?;
                place.insert(lease.id);
            }
        }
        Ok(leases)
    }

    /// Everything as soon as etcd has told it, or its copy has; then every change.
    pub fn watch(&self) -> mpsc::UnboundedReceiver<Update> {
        self.shared.lock().watch()
    }

    /// How etcd is followed.
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.shared.connection.subscribe()
    }
}

/// Seconds, rounded up, at least one.
fn seconds(ttl: Duration) -> u64 {
    (ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).max(1)
}

impl From<client::Failure> for Unavailable {
    fn from(failure: client::Failure) -> Self {
        Self(format!("etcd: {failure}"))
    }
}
