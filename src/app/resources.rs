//! The resources of the Admin API: where they are kept, and the API itself.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use super::standalone::Standalone;
use crate::admin_api::{self, AdminApi, ApiKey, Mode, Role, TlsFiles};
use crate::config::{self, Config, Provider};
use crate::keyring::Keyring;
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::source::apisix;
use crate::store::{Connection, Embedded, Etcd, EtcdOptions, EtcdTls, Store};
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
    health: (&Readiness, &Arc<Metrics>),
) -> anyhow::Result<()> {
    let mode = if matches!(config.provider, Provider::Yaml(_)) { Mode::Standalone } else { Mode::Resources };
    if mode == Mode::Resources || config.admin.is_some() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
        made.with_context(|| format!("cannot make the data folder {}; name another with --data", data.display()))?;
    }
    let keyring = keyring(config, data).map_err(anyhow::Error::msg)?;
    let (store, prefix) = open(config, data, health)?;
    if let Some(admin) = &config.admin {
        let settings = settings(admin, data, &prefix, (mode, streams));
        let keys = keyring.clone();
        let check = move |resources: &[_]| apisix::check(resources, &keys).map_err(|why| why.to_string());
        let api = AdminApi::bind(settings, store.clone(), keyring.clone()).await?.checked_by(Box::new(check));
        tracing::info!(address = %api.local_addr()?, "serving the Admin API");
        tokio::spawn(api.run());
    }
    tokio::spawn(apisix::run(store, keyring, prefix, changes));
    Ok(())
}

fn open(
    config: &Config,
    data: &Path,
    (readiness, metrics): (&Readiness, &Arc<Metrics>),
) -> anyhow::Result<(Store, Arc<str>)> {
    match &config.provider {
        Provider::Embedded => {
            let store = Embedded::open(data).map_err(anyhow::Error::msg)?;
            Ok((Store::Embedded(store), PREFIX.into()))
        }
        Provider::Etcd(etcd) => {
            let store =
                Etcd::start(etcd_options(etcd, config.authorities.clone(), data)).map_err(anyhow::Error::msg)?;
            tokio::spawn(report(store.connection(), readiness.clone(), metrics.clone()));
            Ok((Store::Etcd(store), etcd.prefix.trim_end_matches('/').into()))
        }
        Provider::Yaml(path) => {
            let (file, store) = Standalone::open(path.clone())?;
            tokio::spawn(file.run());
            Ok((Store::Memory(store), PREFIX.into()))
        }
    }
}

fn etcd_options(etcd: &config::Etcd, ca: Option<PathBuf>, data: &Path) -> EtcdOptions {
    let config::EtcdTls { identity, sni, verify } = etcd.tls.clone();
    EtcdOptions {
        folder: Some(data.to_owned()),
        hosts: etcd.hosts.clone(),
        prefix: etcd.prefix.clone(),
        timeout: etcd.timeout,
        tls: EtcdTls { ca, identity, sni, verify },
        user: etcd.user.clone(),
    }
}

/// Lets `/readyz` and the metrics tell how etcd is followed. It informs only: what is known is served without etcd too.
async fn report(mut connection: watch::Receiver<Connection>, readiness: Readiness, metrics: Arc<Metrics>) {
    loop {
        let health = match *connection.borrow_and_update() {
            Connection::Connected => Ok(()),
            Connection::Connecting => Err("does not answer yet".to_owned()),
            Connection::Copy => Err("does not answer: the copy of what it told last is served".to_owned()),
            Connection::Lost => Err("does not answer: what it told last is served".to_owned()),
        };
        metrics.store_connected.set(i64::from(health.is_ok()));
        readiness.report("etcd", health);
        if connection.changed().await.is_err() {
            return;
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
