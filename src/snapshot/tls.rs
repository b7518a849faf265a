//! TLS of one host.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::{ClientAuth, HostTable};
use crate::model::{Invalid, ObjectKey, Problem, Protocols, Validity};

/// TLS settings of the hosts of one ApisixTls.
#[derive(Debug)]
pub struct HostTls {
    /// The certificates in use, kept so that they can go on serving when their Secrets break. Empty where there are none.
    pub certificates: Vec<ServerCertificate>,
    /// What this value was made from.
    pub inputs: Inputs,
    /// The ApisixTls that owns the host.
    pub object: ObjectKey,
    /// What clients must prove.
    pub policy: Policy,
    /// What is wrong with the parts that this value was made from.
    pub problems: Vec<Problem>,
    /// What the handshake offers; `None` where the object does not say it in a way that can be read.
    pub protocols: Option<Protocols>,
    /// The server's side of the handshake; `Err` refuses every handshake and says why.
    ///
    /// Where the policy is [`Policy::Require`], the handshake asks for a client certificate, has TLS check the proof of
    /// possession, and accepts whatever chain is sent, or none: the chain is judged per request by [`ClientAuth::judge`].
    pub server: Result<Arc<rustls::ServerConfig>, Arc<Invalid>>,
    /// How long the authorities and revocation lists of the policy are valid.
    pub validities: Arc<[Validity]>,
}

/// A certificate that a host shows.
#[derive(Clone)]
pub struct ServerCertificate {
    /// The chain with its private key.
    pub key: Arc<rustls::sign::CertifiedKey>,
    /// The Secret that it is from.
    pub secret: ObjectKey,
    /// The Secret's value that it was read from.
    pub source: Arc<dyn Any + Send + Sync>,
    /// How long it is valid.
    pub validity: Validity,
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").field("secret", &self.secret).finish_non_exhaustive()
    }
}

/// The values that something was compiled from, compared by identity: equal means that nothing needs to be made again.
#[derive(Clone, Default)]
pub struct Inputs(Vec<Arc<dyn Any + Send + Sync>>);

impl Inputs {
    /// Adds an input.
    pub fn push(&mut self, input: Arc<dyn Any + Send + Sync>) {
        self.0.push(input);
    }

    /// Whether both were made from the very same values in the same order.
    pub fn same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} inputs", self.0.len())
    }
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

/// The names of the headers that the policies of `tls` forward, each as [`dashed`] has it.
pub fn identity_headers(tls: &HostTable<Arc<HostTls>>) -> Arc<[Arc<str>]> {
    let mut names = BTreeSet::new();
    for (_, host) in tls.iter() {
        if let Policy::Require(auth) = &host.policy {
            names.extend(auth.settings.forward.headers.iter().map(|(name, _)| dashed(name)));
        }
    }
    names.into_iter().collect()
}

/// The name of a header in lower case and with a hyphen for everything but letters and digits: the names that CGI and its like
/// cannot tell from one another are one name.
pub fn dashed(name: &str) -> Arc<str> {
    name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-").into()
}
