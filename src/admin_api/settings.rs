//! How the Admin API is served.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::Network;

/// How the Admin API is served: `deployment.admin` of APISIX's `config.yaml`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Clients that are let in, by their addresses (`allow_admin`); empty lets everyone in. Judged before the key. By default
    /// `127.0.0.0/24`, as APISIX.
    pub allow: Vec<Network>,
    /// Whether pages of any origin may call (`enable_admin_cors`). Off by default.
    pub cors: bool,
    /// The folder for what is our own: a key that was made because none was configured. `None` where there is no folder; such a key
    /// ends with the process then.
    pub data: Option<PathBuf>,
    /// Whether a key is asked for (`admin_key_required`). On by default.
    pub key_required: bool,
    /// The keys (`admin_key`). Where there is none, one is found: [`super::PUBLIC_KEY`] says when which.
    pub keys: Vec<ApiKey>,
    /// The address. Port 0 takes a free one. By default `127.0.0.1:9180`.
    pub listen: SocketAddr,
    /// How the configuration is sent (`config_provider`). By default resource by resource.
    pub mode: Mode,
    /// What keys begin with in answers (`deployment.etcd.prefix`). By default `/apisix`.
    pub prefix: Arc<str>,
    /// Whether there are listeners for streams; without one, stream routes are refused as APISIX refuses them (`proxy_mode`).
    pub streams: bool,
    /// The certificate that is shown (`https_admin`); `None` serves plain HTTP.
    pub tls: Option<TlsFiles>,
}

/// How the configuration is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Resource by resource.
    Resources,
    /// As one document, to `configs`; nothing else is served (`config_provider: yaml`). The store is one in memory then.
    Standalone,
}

/// A key of the Admin API.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The secret.
    pub key: String,
    /// What the log calls who uses it.
    pub name: String,
    /// What it allows.
    pub role: Role,
}

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// GET.
    Viewer,
}

/// Files in PEM (`admin_api_mtls`). They are read again when they change, for the next connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and its intermediates (`admin_ssl_cert`).
    pub certificate: PathBuf,
    /// Who vouches for clients (`admin_ssl_ca_cert`); `None` asks clients for no certificate.
    pub client_ca: Option<PathBuf>,
    /// The certificate's key (`admin_ssl_cert_key`).
    pub key: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow: Network::parse("127.0.0.0/24").into_iter().collect(),
            cors: false,
            data: None,
            key_required: true,
            keys: Vec::new(),
            listen: (Ipv4Addr::LOCALHOST, 9180).into(),
            mode: Mode::Resources,
            prefix: "/apisix".into(),
            streams: false,
            tls: None,
        }
    }
}

impl Settings {
    /// Whether nobody but this machine, or who holds a certificate, can reach the address.
    pub(super) fn is_sheltered(&self) -> bool {
        let listens_here = self.listen.ip().to_canonical().is_loopback();
        let admits_here = !self.allow.is_empty() && self.allow.iter().all(|network| network.is_loopback());
        listens_here || admits_here || self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}
