//! The resources of APISIX's Admin API, as their store tells of them, into the model: a route or stream route becomes an ApisixRoute, an
//! upstream an ApisixUpstream, an ssl an ApisixTls and its Secrets, so that there is one way through `compile` and the proxy.
//!
//! Objects are called by the store's prefix and their key: `/apisix/routes/1`. An upstream inside a route or a service has its owner's
//! key. A service is none of itself: it is merged into its routes (apisix/init.lua).

mod check;
mod checks;
mod plugins;
mod resource;
mod resources;
mod route;
mod service;
mod ssl;
mod stream_route;
mod timeouts;
mod upstream;
mod vars;

use std::sync::Arc;

use tokio::sync::mpsc;

pub use self::check::check;
use self::resources::Resources;
use crate::keyring::Keyring;
use crate::store::Store;
use crate::world::Change;

/// Tells `changes` of everything in `store` until nobody listens. Objects are called by `prefix`, the store's own (`/apisix`); `keyring`
/// opens their secrets.
pub async fn run(store: Store, keyring: Arc<Keyring>, prefix: Arc<str>, changes: mpsc::Sender<Change>) {
    let mut resources = Resources::new(prefix, keyring);
    let mut updates = store.watch();
    while let Some(update) = updates.recv().await {
        if changes.send(resources.take(update)).await.is_err() {
            return;
        }
    }
}
