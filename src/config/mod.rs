//! APISIX's config.yaml: which of its keys mean what here.
//!
//! Every key is known: it works, or it is accepted with a warning because it has no meaning here, or it is an error that names the
//! nearest known key. docs/configuration.md lists them. What the file does not say keeps the value of the command line's options, which
//! come before the file where they are given.

mod deployment;
mod file;
mod keys;
mod listen;
mod nginx;
mod reader;
mod resources;
mod variables;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use self::deployment::{AdminApi, AdminKey, AdminTls, Etcd, EtcdTls, Provider, Role};
pub use self::file::{Found, find};
use self::reader::Section;
pub use self::resources::resources;

use crate::model::{HostName, Network, TlsVersions};

/// What a config.yaml says, as far as it means something here. `None` and empty mean that it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The Admin API; `None` where it is switched off, or the role has none.
    pub admin: Option<AdminApi>,
    /// `apisix.ssl.ssl_trusted_certificate`: the authorities of etcd's certificate; `None` for the system's.
    pub authorities: Option<PathBuf>,
    /// `apisix.ssl.fallback_sni`.
    pub fallback_sni: Option<HostName>,
    /// `apisix.node_listen`; `None` where the file says nothing.
    pub http: Option<Vec<SocketAddr>>,
    /// `apisix.proxy_protocol.listen_http_port`.
    pub http_proxy_protocol: Vec<SocketAddr>,
    /// `apisix.ssl.listen`; empty where `apisix.ssl.enable` is false, `None` where the file says nothing.
    pub https: Option<Vec<SocketAddr>>,
    /// `apisix.proxy_protocol.listen_https_port`.
    pub https_proxy_protocol: Vec<SocketAddr>,
    /// `apisix.data_encryption.keyring`: 16 bytes each, the first one seals.
    pub keyring: Vec<String>,
    /// `nginx_config.error_log_level`, in our words.
    pub log_level: Option<&'static str>,
    /// `plugin_attr.prometheus.export_addr`.
    pub metrics: Option<SocketAddr>,
    /// `nginx_config.http.client_max_body_size`; 0 for any.
    pub max_body_size: Option<u64>,
    /// Where the objects of the Admin API are.
    pub provider: Provider,
    /// `apisix.stream_proxy.tcp` without `tls`.
    pub stream_tcp: Vec<SocketAddr>,
    /// `apisix.stream_proxy.tcp` with `tls`.
    pub stream_tls: Vec<SocketAddr>,
    /// `apisix.stream_proxy.udp`.
    pub stream_udp: Vec<SocketAddr>,
    /// Deadlines of `nginx_config.http`.
    pub timeouts: Timeouts,
    /// `apisix.ssl.ssl_protocols`: of hosts that have none of their own.
    pub tls_versions: TlsVersions,
    /// `apisix.trusted_addresses`.
    pub trusted_addresses: Vec<Network>,
    /// `nginx_config.worker_shutdown_timeout`.
    pub worker_shutdown_timeout: Option<Duration>,
    /// `nginx_config.worker_processes`; `None` for one per CPU.
    pub workers: Option<usize>,
}

/// Deadlines of `nginx_config.http`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// `client_body_timeout`.
    pub client_body: Option<Duration>,
    /// `keepalive_timeout`.
    pub keepalive: Option<Duration>,
    /// `send_timeout`.
    pub send: Option<Duration>,
}

/// Something in the file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{message}", .key, if .key.is_empty() { "" } else { ": " })]
pub struct Error {
    /// The key's path: `deployment.etcd.host[0]`; empty where it is the whole file.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl Error {
    fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

/// A key that is accepted although it has no meaning here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The key's path.
    pub key: String,
    /// Why it has none, and what to use instead.
    pub why: &'static str,
}

impl Config {
    /// What counts where there is no file and nothing else to serve: an Admin API for this machine, and a database in the data folder.
    pub fn local() -> Self {
        Self { admin: Some(AdminApi::local()), ..Self::default() }
    }

    /// Reads the text of a config.yaml. `variable` gives environment variables.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<(Self, Vec<Warning>), Vec<Error>> {
        let value = variables::read(text, &variable).map_err(|error| vec![error])?;
        let warnings = keys::check(&value)?;
        let root = Section::root(&value);
        let (apisix, nginx) = (root.section("apisix"), root.section("nginx_config"));
        let mut config = Self::default();
        let mut errors = Vec::new();
        errors.extend(listen::read(&apisix, &mut config).err());
        errors.extend(nginx::read(&nginx, &mut config).err());
        errors.extend(deployment::read(&root, &mut config).err());
        errors.extend(metrics(&root).map(|metrics| config.metrics = metrics).err());
        if errors.is_empty() { Ok((config, warnings)) } else { Err(errors) }
    }
}

fn metrics(root: &Section<'_>) -> Result<Option<SocketAddr>, Error> {
    let address = root.section("plugin_attr").section("prometheus").section("export_addr");
    let Some(port) = address.port("port")? else { return Ok(None) };
    Ok(Some(SocketAddr::new(address.ip("ip")?.unwrap_or([127, 0, 0, 1].into()), port)))
}

#[cfg(test)]
mod tests;
