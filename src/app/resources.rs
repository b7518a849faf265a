//! The resources of the Admin API: where they are kept, and the API itself.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::standalone::Standalone;
use crate::admin_api::{self, AdminApi, ApiKey, Mode, Role, TlsFiles};
use crate::config::{self, Config, Provider};
use crate::keyring::Keyring;
use crate::source::apisix;
use crate::store::{Embedded, Store};
use crate::world::Change;

/// What keys begin with where no etcd says otherwise (APISIX).
const PREFIX: &str = "/apisix";

/// Opens the store that `config` names, serves the Admin API over it, and tells `changes` of the resources.
///
/// # Errors
/// When the store, the keyring or the Admin API cannot be opened.
pub(super) async fn start(
    config: &Config,
    data: &Path,
    streams: bool,
    changes: mpsc::Sender<Change>,
) -> anyhow::Result<()> {
    let mode = if matches!(config.provider, Provider::Yaml(_)) { Mode::Standalone } else { Mode::Resources };
    if mode == Mode::Resources || config.admin.is_some() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
        made.with_context(|| format!("cannot make the data folder {}; name another with --data", data.display()))?;
    }
    let keyring = keyring(config, data).map_err(anyhow::Error::msg)?;
    let (store, prefix) = open(&config.provider, data)?;
    if let Some(admin) = &config.admin {
        let settings = settings(admin, data, &prefix, (mode, streams));
        let api = AdminApi::bind(settings, store.clone(), keyring.clone()).await?;
        tracing::info!(address = %api.local_addr()?, "serving the Admin API");
        tokio::spawn(api.run());
    }
    tokio::spawn(apisix::run(store, keyring, prefix, changes));
    Ok(())
}

fn open(provider: &Provider, data: &Path) -> anyhow::Result<(Store, Arc<str>)> {
    match provider {
        Provider::Embedded => {
            let store = Embedded::open(data).map_err(anyhow::Error::msg)?;
            Ok((Store::Embedded(store), PREFIX.into()))
        }
        Provider::Etcd(_) => anyhow::bail!("etcd is not served yet"),
        Provider::Yaml(path) => {
            let (file, store) = Standalone::open(path.clone())?;
            tokio::spawn(file.run());
            Ok((Store::Memory(store), PREFIX.into()))
        }
    }
}

/// The keyring that is configured; where none of one's own is, the data folder's.
fn keyring(config: &Config, data: &Path) -> Result<Arc<Keyring>, String> {
    let entries = &config.keyring;
    if entries.iter().any(|entry| !Keyring::is_public(entry)) {
        return Keyring::new(entries).map(Arc::new);
    }
    if matches!(config.provider, Provider::Yaml(_)) {
        return Keyring::fleeting(entries).map(Arc::new);
    }
    let keyring = Keyring::in_folder(data, entries)?;
    if matches!(config.provider, Provider::Etcd(_)) {
        let path = data.display();
        tracing::warn!(
            "private keys in etcd are sealed with a key that only this gateway has, in {path}: put it into data_encryption.keyring of all of them"
        );
    }
    Ok(Arc::new(keyring))
}

fn settings(
    admin: &config::AdminApi,
    data: &Path,
    prefix: &Arc<str>,
    (mode, streams): (Mode, bool),
) -> admin_api::Settings {
    let key = |key: &config::AdminKey| ApiKey {
        key: key.key.clone(),
        name: key.name.clone(),
        role: if key.read_only { Role::Viewer } else { Role::Admin },
    };
    let tls = |tls: &config::AdminTls| TlsFiles {
        certificate: tls.certificate.clone(),
        client_ca: tls.authorities.clone(),
        key: tls.key.clone(),
    };
    admin_api::Settings {
        allow: admin.allow.clone(),
        cors: admin.cors,
        data: Some(data.to_owned()),
        key_required: admin.key_required,
        keys: admin.keys.iter().map(key).collect(),
        listen: admin.listen,
        mode,
        prefix: prefix.clone(),
        streams,
        tls: admin.tls.as_ref().map(tls),
    }
}
