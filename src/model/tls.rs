//! TLS hosts as their objects describe them, before any Secret is read.

use std::sync::Arc;

use super::{ClientAuthRef, HostPattern, Invalid, Kind, ObjectKey, ObjectRef};

/// Intermediates allowed between the client's certificate and a trust anchor where `depth` is left out: 1, which is
/// APISIX's own default and nginx's. (APISIX's ingress controller 2.x sends 0 instead; see docs/compatibility.md.)
pub const DEFAULT_DEPTH: u32 = 1;

/// One ApisixTls.
///
/// Its parts fail one by one, because a host that was claimed must be refused, not served without its policy, when
/// another part of the object cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsHost {
    /// The Secrets of certificates and keys: `spec.secret`, then `spec.additionalSecrets`. Never empty. The first one whose key
    /// fits the client's signature algorithms is used.
    pub certificates: Result<Vec<ObjectKey>, Box<Invalid>>,
    /// `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// `spec.client`; `Ok(None)` where the object has none. `Err` refuses every client of these hosts.
    pub client_auth: Result<Option<Box<ClientAuthRef>>, Invalid>,
    /// The hosts that could be read.
    pub hosts: Vec<HostPattern>,
    /// What the handshake offers; `Err` refuses every handshake.
    pub protocols: Result<Protocols, Box<Invalid>>,
    /// The hosts that could not be read: each is reported, and serves nobody.
    pub unreadable_hosts: Vec<Invalid>,
}

impl TlsHost {
    /// The Secrets and `ConfigMap`s that it is made from: certificates first.
    pub fn references(&self) -> impl Iterator<Item = ObjectRef> {
        let secret = |key: &ObjectKey| ObjectRef { kind: Kind::Secret, key: key.clone() };
        let client = self.client_auth.iter().flatten().flat_map(|client| client.data());
        self.certificates.iter().flatten().map(secret).chain(client.map(|data| data.object.clone()))
    }
}

/// What a handshake offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Protocols {
    /// The application protocols.
    pub alpn: Alpn,
    /// The versions of TLS.
    pub versions: TlsVersions,
}

/// The application protocols that a handshake offers (RFC 7301).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// `h2`, then `http/1.1`.
    #[default]
    Both,
    /// `http/1.1` alone.
    Http1,
    /// `h2` alone.
    Http2,
}

/// The versions of TLS that a handshake offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsVersions {
    /// TLS 1.2 and 1.3.
    #[default]
    Both,
    /// TLS 1.2 alone.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}
