//! TLS to upstreams, before any Secret is read.

use super::ObjectKey;

/// How we and an upstream's endpoints prove to each other who we are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// The Secret of the client certificate and its key: `tlsSecret`.
    pub client: Option<ObjectKey>,
    /// What the endpoint's certificate must be: `tlsVerify`.
    pub verify: VerifyServer,
}

/// What an endpoint's certificate must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VerifyServer {
    /// Issued for the name by an authority of this Secret.
    Authorities(ObjectKey),
    /// Anything (APISIX). The endpoint must hold its key.
    No,
    /// Issued for the name by an authority that the system trusts.
    SystemRoots,
}

impl UpstreamTls {
    /// The Secrets that it is made from.
    pub fn secrets(&self) -> impl Iterator<Item = &ObjectKey> {
        let authorities = match &self.verify {
            VerifyServer::Authorities(secret) => Some(secret),
            VerifyServer::No | VerifyServer::SystemRoots => None,
        };
        self.client.iter().chain(authorities)
    }
}
