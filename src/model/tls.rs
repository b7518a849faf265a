//! TLS hosts as their objects describe them, before any Secret is read.

use std::sync::Arc;

use super::{HostPattern, Invalid, ObjectKey};

/// Intermediates allowed between the client's certificate and a trust anchor where `depth` is left out: 1, which is
/// APISIX's own default and nginx's. (APISIX's ingress controller 2.x sends 0 instead; see docs/compatibility.md.)
pub const DEFAULT_DEPTH: u32 = 1;

/// One ApisixTls.
///
/// Its parts fail one by one, because a host that was claimed must be refused, not served without its policy, when
/// another part of the object cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsHost {
    /// `spec.secret`: certificate and key.
    pub certificate: Result<ObjectKey, Invalid>,
    /// `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// `spec.client`; `Ok(None)` where the object has none. `Err` refuses every client of these hosts.
    pub client_auth: Result<Option<ClientAuthRef>, Invalid>,
    /// The hosts that could be read.
    pub hosts: Vec<HostPattern>,
    /// The hosts that could not be read: each is reported, and serves nobody.
    pub unreadable_hosts: Vec<Invalid>,
}

/// `spec.client` of an ApisixTls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthRef {
    /// `caSecret`: the trust anchors.
    pub ca: ObjectKey,
    /// How many intermediates may stand between the client's certificate and a trust anchor.
    pub depth: u32,
}
