//! What hosts have in common is made once: a thousand hosts with one certificate and one policy cost what one costs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustls::ServerConfig;

use super::Context;
use super::certificate::certificate;
use super::data::Failed;
use super::policy::{ClientPolicy, client_policy};
use super::tls_config::{Handshake, server_config};
use crate::model::{ClientAuthRef, Invalid, Kind, ObjectKey, ObjectRef, Protocols};
use crate::snapshot::{ClientAuth, Policy, PolicyId, ServerCertificate, Snapshot};
use crate::world::World;

/// Where the values are that something is made from; they outlive the compilation.
type Places = Vec<usize>;

/// The certificates, policies and rustls configurations of one compilation and the one before it.
pub(super) struct Shared<'a> {
    certificates: HashMap<ObjectKey, Result<ServerCertificate, Failed>>,
    configs: HashMap<(Places, Option<PolicyId>, Protocols), Arc<ServerConfig>>,
    context: &'a Context,
    policies: HashMap<(Places, ClientAuthRef), Result<ClientPolicy, Invalid>>,
    /// The policies of the previous snapshot.
    known: HashMap<PolicyId, Arc<ClientAuth>>,
    world: &'a World,
}

impl<'a> Shared<'a> {
    pub(super) fn new(world: &'a World, context: &'a Context, previous: &Snapshot) -> Self {
        let mut shared = Self {
            certificates: HashMap::new(),
            configs: HashMap::new(),
            context,
            known: HashMap::new(),
            policies: HashMap::new(),
            world,
        };
        for (_, host) in previous.tls.iter() {
            for certificate in &host.certificates {
                let object = ObjectRef { kind: Kind::Secret, key: certificate.secret.clone() };
                let unchanged = world.data(&object).is_some_and(|data| place(data) == place(&certificate.source));
                if unchanged {
                    shared.certificates.entry(object.key).or_insert_with(|| Ok(certificate.clone()));
                }
            }
            let auth = match &host.policy {
                Policy::Open => None,
                Policy::Refuse(_) => continue,
                Policy::Require(auth) => Some(auth),
            };
            if let Some(auth) = auth {
                shared.known.entry(auth.id).or_insert_with(|| auth.clone());
            }
            if let (Ok(server), Some(protocols)) = (&host.server, host.protocols) {
                let key = (places(&host.certificates), auth.map(|auth| auth.id), protocols);
                shared.configs.entry(key).or_insert_with(|| server.clone());
            }
        }
        shared
    }

    /// The certificate of a Secret.
    pub(super) fn certificate(&mut self, key: &ObjectKey) -> Result<ServerCertificate, Failed> {
        match self.certificates.entry(key.clone()) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => new.insert(certificate(self.world, self.context, key)).clone(),
        }
    }

    /// The policy that `client` describes.
    pub(super) fn policy(&mut self, client: &ClientAuthRef) -> Result<ClientPolicy, Invalid> {
        let from = client.data().map(|data| self.world.data(&data.object).map_or(0, place)).collect();
        match self.policies.entry((from, client.clone())) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let mut policy = client_policy(self.world, client);
                if let Ok(policy) = &mut policy {
                    // Equal policies are one value, whatever their objects are called.
                    policy.auth = self.known.entry(policy.auth.id).or_insert_with(|| policy.auth.clone()).clone();
                }
                new.insert(policy).clone()
            }
        }
    }

    /// The server's side of the handshake.
    ///
    /// # Errors
    /// When rustls refuses the combination.
    pub(super) fn config(
        &mut self,
        certificates: &[ServerCertificate],
        auth: Option<&Arc<ClientAuth>>,
        protocols: Protocols,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let key = (places(certificates), auth.map(|auth| auth.id), protocols);
        match self.configs.entry(key) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(new) => {
                let certificates = certificates.iter().map(|certificate| certificate.key.clone()).collect();
                let handshake = Handshake { certificates, client_auth: auth, protocols };
                let config = server_config(&self.context.tls, handshake)?;
                Ok(new.insert(Arc::new(config)).clone())
            }
        }
    }
}

fn places(certificates: &[ServerCertificate]) -> Places {
    certificates.iter().map(|certificate| place(&certificate.key)).collect()
}

fn place<T: ?Sized>(value: &Arc<T>) -> usize {
    Arc::as_ptr(value).cast::<()>() as usize
}
