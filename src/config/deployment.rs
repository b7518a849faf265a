//! `deployment`: who keeps the objects, and who may change them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Item, Section};
use super::{Config, Error};
use crate::model::Network;

/// Where the objects of the Admin API are.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Provider {
    /// In a database of our own: where the file names no etcd.
    #[default]
    Embedded,
    /// In etcd.
    Etcd(Etcd),
    /// In this file: the `apisix.yaml` beside the config.yaml.
    Yaml(PathBuf),
}

/// What a process is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The Admin API without traffic.
    ControlPlane,
    /// Traffic without an Admin API.
    DataPlane,
    /// Both.
    #[default]
    Traditional,
}

/// `deployment.admin`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminApi {
    /// `allow_admin`: who may connect; APISIX's default is 127.0.0.0/24.
    pub allow: Vec<Network>,
    /// `enable_admin_cors`: on by default.
    pub cors: bool,
    /// `admin_key_required`: on by default.
    pub key_required: bool,
    /// `admin_key`, without those whose key is empty.
    pub keys: Vec<AdminKey>,
    /// `admin_listen`; 0.0.0.0:9180 by default (APISIX).
    pub listen: SocketAddr,
    /// With `https_admin`.
    pub tls: Option<AdminTls>,
}

impl AdminApi {
    /// On 127.0.0.1:9180, for this machine alone, with a key that is made.
    pub(super) fn local() -> Self {
        let allow = Network::parse("127.0.0.0/8").into_iter().collect();
        let listen = SocketAddr::new([127, 0, 0, 1].into(), 9180);
        Self { allow, cors: true, key_required: true, keys: Vec::new(), listen, tls: None }
    }
}

/// One of `admin_key`.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminKey {
    /// The key.
    pub key: String,
    /// Its name, for the log.
    pub name: String,
    /// Whether it may only read: `role: viewer`.
    pub read_only: bool,
}

impl std::fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminKey").field("name", &self.name).field("read_only", &self.read_only).finish_non_exhaustive()
    }
}

/// `admin_api_mtls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminTls {
    /// `admin_ssl_ca_cert`: whose client certificates are let in; `None` where none is asked for.
    pub authorities: Option<PathBuf>,
    /// `admin_ssl_cert`.
    pub certificate: PathBuf,
    /// `admin_ssl_cert_key`.
    pub key: PathBuf,
}

/// `deployment.etcd`.
#[derive(Clone, PartialEq)]
pub struct Etcd {
    /// `host`: `http://…` or `https://…`, at least one.
    pub hosts: Vec<String>,
    /// `prefix`: `/apisix` by default.
    pub prefix: String,
    /// `timeout`: 30 s by default (APISIX).
    pub timeout: Duration,
    /// `tls`.
    pub tls: EtcdTls,
    /// `user` and `password`.
    pub user: Option<(String, String)>,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.user.as_ref().map(|(user, _)| user);
        f.debug_struct("Etcd").field("hosts", &self.hosts).field("user", &user).finish_non_exhaustive()
    }
}

/// `deployment.etcd.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdTls {
    /// `cert` and `key`: our certificate.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `sni`: the name that is asked for and verified; the host's by default.
    pub sni: Option<String>,
    /// `verify`: on by default.
    pub verify: bool,
}

pub(super) fn read(root: &Section<'_>, config: &mut Config) -> Result<(), Error> {
    let deployment = root.section("deployment");
    let (role, section) = match deployment.text("role")? {
        None | Some("traditional") => (Role::Traditional, "role_traditional"),
        Some("data_plane") => (Role::DataPlane, "role_data_plane"),
        Some("control_plane") => (Role::ControlPlane, "role_control_plane"),
        Some(role) => {
            let message = format!("`{role}` is no role; there are traditional, data_plane and control_plane");
            return Err(Error::new("deployment.role", message));
        }
    };
    let etcd = deployment.section("etcd");
    config.provider = match deployment.section(section).text("config_provider")? {
        Some("yaml") => Provider::Yaml("apisix.yaml".into()),
        None | Some("etcd") if etcd.is_there() => Provider::Etcd(read_etcd(&etcd)?),
        None | Some("etcd") => Provider::Embedded,
        Some(other) => {
            let message = format!("`{other}` is not served; write `etcd` or `yaml`");
            return Err(Error::new(format!("deployment.{section}.config_provider"), message));
        }
    };
    if role == Role::DataPlane && config.provider == Provider::Embedded {
        return Err(Error::new("deployment.etcd.host", "a data plane needs it: it has no Admin API of its own"));
    }
    if role == Role::ControlPlane {
        config.http = Some(Vec::new());
        config.https = Some(Vec::new());
        for list in [
            &mut config.http_proxy_protocol,
            &mut config.https_proxy_protocol,
            &mut config.stream_tcp,
            &mut config.stream_tls,
            &mut config.stream_udp,
        ] {
            list.clear();
        }
    }
    let enabled = root.section("apisix").truth("enable_admin")? != Some(false);
    if role != Role::DataPlane && enabled {
        config.admin = Some(read_admin(&deployment.section("admin"))?);
    }
    Ok(())
}

fn read_admin(admin: &Section<'_>) -> Result<AdminApi, Error> {
    let listen = admin.section("admin_listen");
    let port = listen.port("port")?.unwrap_or(9180);
    let ip = listen.ip("ip")?.unwrap_or([0, 0, 0, 0].into());
    let version = admin.text("admin_api_version")?.unwrap_or("v3");
    if version != "v3" {
        return Err(Error::new("deployment.admin.admin_api_version", format!("`{version}` is not served; `v3` is")));
    }
    let network = |item: Item<'_>| {
        let text = item.value.as_str().ok_or_else(|| item.error("must be an address or a network"))?;
        Network::parse(text).map_err(|why| item.error(why))
    };
    let allow = match admin.get("allow_admin") {
        None => vec![network(Item { path: String::new(), value: &"127.0.0.0/24".into() })?],
        Some(_) => admin.list("allow_admin").into_iter().map(network).collect::<Result<_, _>>()?,
    };
    let keys = admin.list("admin_key").iter().map(key).collect::<Result<Vec<_>, _>>()?;
    Ok(AdminApi {
        allow,
        cors: admin.truth("enable_admin_cors")?.unwrap_or(true),
        key_required: admin.truth("admin_key_required")?.unwrap_or(true),
        keys: keys.into_iter().flatten().collect(),
        listen: SocketAddr::new(ip, port),
        tls: admin_tls(admin)?,
    })
}

/// One of `admin_key`; `None` where its key is empty, which means that one is to be made.
fn key(item: &Item<'_>) -> Result<Option<AdminKey>, Error> {
    let section = Section::of(item);
    section.only(&["name", "key", "role"])?;
    let read_only = match section.text("role")? {
        None | Some("admin") => false,
        Some("viewer") => true,
        Some(role) => return Err(item.error(format!("`{role}` is no role; there are `admin` and `viewer`"))),
    };
    let key = section.text("key")?.unwrap_or_default();
    let name = section.text("name")?.unwrap_or_default().to_owned();
    Ok((!key.is_empty()).then(|| AdminKey { key: key.to_owned(), name, read_only }))
}

fn admin_tls(admin: &Section<'_>) -> Result<Option<AdminTls>, Error> {
    let mtls = admin.section("admin_api_mtls");
    let file = |key| mtls.text(key).map(|path| path.filter(|path| !path.is_empty()).map(PathBuf::from));
    let (authorities, certificate, key) =
        (file("admin_ssl_ca_cert")?, file("admin_ssl_cert")?, file("admin_ssl_cert_key")?);
    if admin.truth("https_admin")? != Some(true) {
        if authorities.is_some() {
            // Whoever asks for client certificates does not mean an open port.
            let message = "must be true where `admin_api_mtls.admin_ssl_ca_cert` is set";
            return Err(Error::new("deployment.admin.https_admin", message));
        }
        return Ok(None);
    }
    let needed =
        |key: &str| Error::new(format!("deployment.admin.admin_api_mtls.{key}"), "is needed for `https_admin`");
    Ok(Some(AdminTls {
        authorities,
        certificate: certificate.ok_or_else(|| needed("admin_ssl_cert"))?,
        key: key.ok_or_else(|| needed("admin_ssl_cert_key"))?,
    }))
}

fn read_etcd(etcd: &Section<'_>) -> Result<Etcd, Error> {
    let host = |item: &Item<'_>| {
        let text = item.value.as_str().filter(|text| text.starts_with("http://") || text.starts_with("https://"));
        let host = text.and_then(|text| text.parse::<http::Uri>().ok()).filter(|host| host.host().is_some());
        let host = host.ok_or_else(|| item.error("must be an address such as `https://etcd:2379`"))?;
        Ok(host.to_string().trim_end_matches('/').to_owned())
    };
    let hosts: Vec<_> = etcd.list("host").iter().map(host).collect::<Result<_, _>>()?;
    if hosts.is_empty() {
        return Err(Error::new("deployment.etcd.host", "must name at least one address such as `https://etcd:2379`"));
    }
    let user = match (etcd.text("user")?, etcd.text("password")?) {
        (Some(user), Some(password)) => Some((user.to_owned(), password.to_owned())),
        (None, None) => None,
        _ => return Err(Error::new("deployment.etcd.user", "needs a `password`, and a password needs a `user`")),
    };
    let prefix = etcd.text("prefix")?.unwrap_or("/apisix").trim_end_matches('/');
    if prefix.is_empty() {
        return Err(Error::new("deployment.etcd.prefix", "must not be empty: everything below it is taken for ours"));
    }
    let tls = etcd.section("tls");
    let file = |key| tls.text(key).map(|path| path.map(PathBuf::from));
    let identity = match (file("cert")?, file("key")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(Error::new("deployment.etcd.tls", "needs both `cert` and `key`, or neither")),
    };
    Ok(Etcd {
        hosts,
        prefix: prefix.to_owned(),
        timeout: etcd.duration("timeout")?.filter(|timeout| !timeout.is_zero()).unwrap_or(Duration::from_secs(30)),
        tls: EtcdTls {
            identity,
            sni: tls.text("sni")?.map(str::to_owned),
            verify: tls.truth("verify")?.unwrap_or(true),
        },
        user,
    })
}
