//! TLS to upstreams.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls_pki_types::ServerName;

use super::Inputs;
use crate::model::{HostName, UpstreamProtocol, UpstreamTls, Validity};

/// The client's side of handshakes with endpoints, and all that it is made of. Two of the same `id` are equal.
pub struct ClientTls {
    /// What rustls needs.
    pub config: Arc<rustls::ClientConfig>,
    /// A hash of our certificate, the authorities that are trusted, and the protocol. Connections are shared only under equal
    /// ones.
    pub id: [u8; 32],
    /// What it was made from.
    pub inputs: Inputs,
    /// What is spoken inside.
    pub protocol: UpstreamProtocol,
    /// What it was asked to be.
    pub settings: UpstreamTls,
    /// How long our certificate is valid, where there is one.
    pub validity: Option<Validity>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for ClientTls {}

impl Hash for ClientTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Ord for ClientTls {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl PartialOrd for ClientTls {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// TLS to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secure {
    /// The handshake.
    pub client: Arc<ClientTls>,
    /// Whom the handshake is for.
    pub name: NameOf,
}

/// The name that a handshake asks for (SNI), and that the endpoint's certificate is verified for: that of the `Host` which is
/// sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameOf {
    /// The client's.
    Client,
    /// The endpoint's address, which is no SNI. A node that has a name of its own has it as [`NameOf::Fixed`].
    Node,
    /// This one.
    Fixed(HostName),
}

impl Secure {
    /// The name for a request of `host`, in normal form. Empty for the endpoint's address.
    pub fn name<'a>(&'a self, host: Option<&'a HostName>) -> &'a str {
        match &self.name {
            NameOf::Client => host.map_or("", HostName::as_str),
            NameOf::Node => "",
            NameOf::Fixed(name) => name.as_str(),
        }
    }
}

/// `name`, as [`Secure::name`] gives it, as rustls wants it; `None` where it is neither a DNS name nor an address.
pub fn server_name(name: &str, address: SocketAddr) -> Option<ServerName<'static>> {
    if name.is_empty() {
        return Some(ServerName::IpAddress(address.ip().to_canonical().into()));
    }
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match literal.parse::<IpAddr>() {
        Ok(ip) => Some(ServerName::IpAddress(ip.into())),
        Err(_) => ServerName::try_from(name.to_owned()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_no_sni_and_names_are() {
        let ip = SocketAddr::from(([10, 0, 0, 1], 443));
        for (name, expected) in [
            ("", "10.0.0.1"),
            ("a.example", "a.example"),
            ("under_score.example", "under_score.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("[::1]", "::1"),
        ] {
            let name = server_name(name, ip).unwrap();
            assert_eq!(name.to_str(), expected);
            assert_eq!(matches!(name, ServerName::DnsName(_)), expected.ends_with("example"));
        }
        assert_eq!(server_name("-", ip), None);
    }
}
