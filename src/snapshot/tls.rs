//! TLS of one host.

use std::sync::Arc;

use super::ClientAuth;
use crate::model::{Invalid, ObjectKey};

/// TLS settings of the hosts of one ApisixTls.
#[derive(Debug)]
pub struct HostTls {
    /// The ApisixTls that owns the host.
    pub object: ObjectKey,
    /// What clients must prove.
    pub policy: Policy,
    /// The server's side of the handshake, ALPN `h2` and `http/1.1`; `Err` refuses every handshake and says why.
    ///
    /// Where the policy is [`Policy::Require`], the handshake asks for a client certificate, has TLS check the proof of
    /// possession, and accepts whatever chain is sent, or none: the chain is judged per request by [`ClientAuth::judge`].
    pub server: Result<Arc<rustls::ServerConfig>, Arc<Invalid>>,
}

/// What clients of a host must prove.
#[derive(Clone, Debug)]
pub enum Policy {
    /// Nothing: no client authentication is configured.
    Open,
    /// The configuration is unusable: nobody is let in.
    Refuse(Arc<Invalid>),
    /// A client certificate that satisfies this.
    Require(Arc<ClientAuth>),
}

impl Policy {
    /// Whether a connection that satisfies `self` may also be used for a host with `other`: both ask for the same.
    /// An unusable policy equals nothing.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open, Self::Open) => true,
            (Self::Require(one), Self::Require(other)) => one.id == other.id,
            _ => false,
        }
    }
}
