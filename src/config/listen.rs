//! `apisix`: where traffic arrives, and what is believed of it.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

use super::reader::{Item, Section, any};
use super::{Config, Error};
use crate::model::{HostName, Network, TlsVersions};

/// The length of a keyring's entry: an AES-128 key.
const KEY: usize = 16;

pub(super) fn read(apisix: &Section<'_>, config: &mut Config) -> Result<(), Error> {
    if apisix.get("node_listen").is_some() {
        config.http = Some(listeners(&apisix.list("node_listen"))?);
    }
    streams(&apisix.section("stream_proxy"), config)?;
    proxy_protocol(&apisix.section("proxy_protocol"), config)?;
    tls(&apisix.section("ssl"), config)?;
    router(apisix)?;
    let entries = apisix.section("data_encryption").list("keyring");
    let entries = if entries.is_empty() { apisix.section("ssl").list("key_encrypt_salt") } else { entries };
    config.keyring = entries.iter().map(key).collect::<Result<_, _>>()?;
    let network = |item: &Item<'_>| {
        let text = item.value.as_str().ok_or_else(|| item.error("must be an address or a network"))?;
        Network::parse(text).map(Network::to_canonical).map_err(|why| item.error(why))
    };
    config.trusted_addresses = apisix.list("trusted_addresses").iter().map(network).collect::<Result<_, _>>()?;
    Ok(())
}

/// An entry of the keyring. The entry itself is never repeated.
fn key(item: &Item<'_>) -> Result<String, Error> {
    let text = item.value.as_str().filter(|text| text.len() == KEY);
    text.map(str::to_owned).ok_or_else(|| item.error(format!("must be a text of {KEY} bytes (an AES-128 key)")))
}

/// Ports, or maps of `ip` and `port`.
fn listeners(items: &[Item<'_>]) -> Result<Vec<SocketAddr>, Error> {
    let listener = |item: &Item<'_>| {
        if !item.value.is_object() {
            return item.listener();
        }
        let section = Section::of(item);
        section.only(&["ip", "port", "enable_http2", "enable_http3", "enable_quic"])?;
        for key in ["enable_http3", "enable_quic"] {
            if section.truth(key)? == Some(true) {
                return Err(Error::new(format!("{}.{key}", item.path), "is not served; HTTP/1.1 and HTTP/2 are"));
            }
        }
        let port = section.port("port")?.ok_or_else(|| item.error("needs a `port`"))?;
        Ok(section.ip("ip")?.map_or(any(port), |ip| SocketAddr::new(ip, port)))
    };
    items.iter().map(listener).collect()
}

fn streams(streams: &Section<'_>, config: &mut Config) -> Result<(), Error> {
    for item in streams.list("tcp") {
        if !item.value.is_object() {
            config.stream_tcp.push(item.listener()?);
            continue;
        }
        let section = Section::of(&item);
        section.only(&["addr", "tls"])?;
        let address = section.get("addr").ok_or_else(|| item.error("needs an `addr`"))?.listener()?;
        let list = if section.truth("tls")? == Some(true) { &mut config.stream_tls } else { &mut config.stream_tcp };
        list.push(address);
    }
    config.stream_udp = streams.list("udp").iter().map(Item::listener).collect::<Result<_, _>>()?;
    Ok(())
}

fn proxy_protocol(section: &Section<'_>, config: &mut Config) -> Result<(), Error> {
    config.http_proxy_protocol.extend(section.port("listen_http_port")?.map(any));
    config.https_proxy_protocol.extend(section.port("listen_https_port")?.map(any));
    for key in ["enable_tcp_pp", "enable_tcp_pp_to_upstream"] {
        if section.truth(key)? == Some(true) {
            let message = "is not served: streams would begin with bytes that nobody reads; set it to false";
            return Err(Error::new(format!("apisix.proxy_protocol.{key}"), message));
        }
    }
    Ok(())
}

fn tls(ssl: &Section<'_>, config: &mut Config) -> Result<(), Error> {
    config.fallback_sni = match ssl.get("fallback_sni") {
        None => None,
        Some(item) => {
            let host = item.value.as_str().and_then(HostName::parse);
            Some(host.ok_or_else(|| item.error("must be a host name"))?)
        }
    };
    config.authorities = match ssl.text("ssl_trusted_certificate")? {
        None | Some("system") => None,
        // APISIX 3.11 and later: several, the system's among them.
        Some(list) => match list.split(',').map(str::trim).find(|path| *path != "system") {
            Some(_) if list.contains(',') => {
                let message = "names several files; write the path of one file that holds all certificates";
                return Err(Error::new("apisix.ssl.ssl_trusted_certificate", message));
            }
            path => path.map(PathBuf::from),
        },
    };
    if ssl.truth("enable")? == Some(false) {
        config.https = Some(Vec::new());
        if !config.https_proxy_protocol.is_empty() {
            let message = "needs `apisix.ssl.enable: true`";
            return Err(Error::new("apisix.proxy_protocol.listen_https_port", message));
        }
    } else if ssl.get("listen").is_some() {
        config.https = Some(listeners(&ssl.list("listen"))?);
    } else if ssl.get("listen_port").is_some() {
        config.https = Some(listeners(&ssl.list("listen_port"))?);
    }
    if let Some(versions) = ssl.text("ssl_protocols")? {
        config.tls_versions = tls_versions(versions)?;
    }
    Ok(())
}

/// `TLSv1.2 TLSv1.3`. Older ones are left out: nobody should get less than what the file says is the least, and nothing offers them any more.
fn tls_versions(text: &str) -> Result<TlsVersions, Error> {
    let has = |version: &str| text.split_whitespace().any(|word| word == version);
    let known = ["SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
    let unknown = text.split_whitespace().find(|word| !known.contains(word));
    match (unknown, has("TLSv1.2"), has("TLSv1.3")) {
        (None, true, true) => Ok(TlsVersions::Both),
        (None, true, false) => Ok(TlsVersions::Tls12),
        (None, false, true) => Ok(TlsVersions::Tls13),
        _ => Err(Error::new("apisix.ssl.ssl_protocols", "must name TLSv1.2, TLSv1.3 or both")),
    }
}

/// What would route requests differently.
fn router(apisix: &Section<'_>) -> Result<(), Error> {
    let router = apisix.section("router");
    if let Some(kind) = router.text("http")?.filter(|kind| !["radixtree_host_uri", "radixtree_uri"].contains(kind)) {
        let message = format!("`{kind}` is not served: paths have no parameters; use `radixtree_host_uri`");
        return Err(Error::new("apisix.router.http", message));
    }
    for key in ["delete_uri_tail_slash", "normalize_uri_like_servlet", "match_uri_encoded_slash"] {
        if apisix.truth(key)? == Some(true) {
            let message = "is not served: paths are normalised in one way (docs/http.md); set it to false";
            return Err(Error::new(format!("apisix.{key}"), message));
        }
    }
    if let Some(Item { path, value: Value::String(mode) }) = apisix.get("proxy_mode")
        && !["http", "stream", "http&stream"].contains(&mode.as_str())
    {
        return Err(Error::new(path, "must be `http`, `stream` or `http&stream`"));
    }
    Ok(())
}
