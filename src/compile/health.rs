//! Whose health is looked after, and how.

use std::sync::Arc;

use http::HeaderValue;

use super::Context;
use super::upstream_tls::ClientConfigs;
use super::upstreams::Endpoints;
use crate::model::{
    CheckKind, HealthCheck, Invalid, PassHost, UpstreamProtocol, UpstreamSettings, UpstreamTls, VerifyServer,
};
use crate::snapshot::{CheckId, ClientTls, Node, Watched};
use crate::world::World;

impl Endpoints<'_> {
    /// Looks after the health of the nodes of `upstream`, where its settings say so.
    ///
    /// # Errors
    /// As with [`tls_of`].
    pub(super) fn look_after(
        &mut self,
        world: &World,
        context: &Context,
        nodes: &mut [Node],
        settings: &UpstreamSettings,
        upstream: String,
    ) -> Result<(), Invalid> {
        let Some(check) = &settings.health else { return Ok(()) };
        let tls = tls_of(world, context, check, settings.tls.as_deref(), &mut self.tls)?;
        let id = CheckId { check: check.clone(), host: rewritten(&settings.host), tls, upstream: upstream.into() };
        for node in nodes {
            self.watch(node, &id);
        }
        Ok(())
    }

    /// Looks after the health of `node`.
    fn watch(&mut self, node: &mut Node, id: &CheckId) {
        let previous = self.previous.health.get(id);
        let address = || id.check.active.host.as_ref().and_then(|host| HeaderValue::from_str(host).ok());
        let host = id.host.clone().or_else(address).or_else(|| node.host());
        // An address that is no `Host` cannot be asked anything over HTTP, but may be connected to.
        let host = host.unwrap_or_else(|| HeaderValue::from_static("localhost"));
        let watched = self.health.entry(id.clone()).or_insert_with(|| Watched::new(id, previous));
        node.health = Some(watched.watch(&node.endpoint, host, previous));
    }
}

/// How TLS is spoken in `check`: with the certificate and the authorities of requests.
///
/// # Errors
/// When a Secret is missing or broken, or the system has no authorities where the check asks for them.
pub(super) fn tls_of(
    world: &World,
    context: &Context,
    check: &HealthCheck,
    requests: Option<&UpstreamTls>,
    configs: &mut ClientConfigs,
) -> Result<Option<Arc<ClientTls>>, Invalid> {
    let CheckKind::Https { verify } = check.active.kind else { return Ok(None) };
    let verify = match requests.map(|tls| &tls.verify) {
        _ if !verify => VerifyServer::No,
        Some(VerifyServer::Authorities(secret)) => VerifyServer::Authorities(secret.clone()),
        Some(VerifyServer::No | VerifyServer::SystemRoots) | None => VerifyServer::SystemRoots,
    };
    let of_check = verify == VerifyServer::SystemRoots;
    let client = requests.and_then(|tls| tls.client.clone());
    let made = configs.get(world, context, &UpstreamTls { client, verify }, UpstreamProtocol::Http1).map_err(|why| {
        // Requests do without them: it is the check that asks for the system's authorities.
        if of_check && why.field == "tlsVerify" { strict(&why) } else { why }
    });
    made.map(Some)
}

fn strict(why: &Invalid) -> Invalid {
    let message = format!("{}; name authorities in tlsVerify.caSecret, or set it to false", why.message);
    Invalid::new(why.reason, "healthCheck.active.strictTLS", message)
}

/// The `Host` that is always sent.
fn rewritten(host: &PassHost) -> Option<HeaderValue> {
    let PassHost::Rewrite(host) = host else { return None };
    HeaderValue::from_str(host).ok()
}
