//! TLS to upstreams: one rustls configuration per equal inputs, kept from one snapshot to the next.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use rustls::client::WebPkiServerVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

use super::certificate::certificate;
use super::data::{data, entries};
use super::policy::CA_KEYS;
use super::{Context, TlsContext};
use crate::model::{DataRef, Invalid, Kind, ObjectKey, ObjectRef, Reason, UpstreamProtocol, UpstreamTls, VerifyServer};
use crate::possession::AnyServer;
use crate::snapshot::{Carried, ClientTls, Inputs};
use crate::trust;
use crate::world::World;

/// What a configuration is asked to be, and what for.
type Wanted = (UpstreamTls, UpstreamProtocol);

/// The configurations of one compilation and the one before it.
#[derive(Debug)]
pub(super) struct ClientConfigs {
    /// Of this compilation, and of the previous one as long as their inputs are the same.
    made: HashMap<Wanted, Result<Arc<ClientTls>, Invalid>>,
}

impl ClientConfigs {
    pub(super) fn new(previous: &Carried) -> Self {
        let transports = previous.endpoints.keys().filter_map(|(_, transport)| Some(&transport.tls.as_ref()?.client));
        let checks = previous.health.keys().filter_map(|id| id.tls.as_ref());
        let wanted = |client: &ClientTls| (client.settings.clone(), client.protocol);
        Self { made: transports.chain(checks).map(|client| (wanted(client), Ok(client.clone()))).collect() }
    }

    /// The configuration that `settings` describe.
    ///
    /// # Errors
    /// When a Secret is missing or broken. The field is given without its beginning: `tlsSecret`.
    pub(super) fn get(
        &mut self,
        world: &World,
        context: &Context,
        settings: &UpstreamTls,
        protocol: UpstreamProtocol,
    ) -> Result<Arc<ClientTls>, Invalid> {
        let mut inputs = Inputs::default();
        let objects = settings.secrets().map(|key| ObjectRef { kind: Kind::Secret, key: key.clone() });
        for data in objects.filter_map(|object| world.data(&object)) {
            inputs.push(data.clone());
        }
        let wanted = (settings.clone(), protocol);
        match self.made.get(&wanted) {
            Some(Ok(made)) if made.inputs.same(&inputs) => return Ok(made.clone()),
            Some(Err(why)) => return Err(why.clone()),
            _ => {}
        }
        let made = client_tls(world, context, settings, protocol, inputs).map(Arc::new);
        self.made.insert(wanted, made.clone());
        made
    }
}

fn client_tls(
    world: &World,
    context: &Context,
    settings: &UpstreamTls,
    protocol: UpstreamProtocol,
    inputs: Inputs,
) -> Result<ClientTls, Invalid> {
    let certificate = settings.client.as_ref().map(|key| certificate(world, context, key));
    let mut certificate = certificate.transpose().map_err(|why| why.at("tlsSecret"))?;
    if let Some(certificate) = &mut certificate {
        certificate.validity.field = "spec.tlsSecret".into();
    }
    let key = certificate.as_ref().map(|certificate| certificate.key.clone());
    let verify = match &settings.verify {
        VerifyServer::Authorities(secret) => Verify::Roots(authorities(world, secret)?),
        VerifyServer::No => Verify::No,
        VerifyServer::SystemRoots => Verify::Roots(context.tls.roots().to_vec()),
    };
    let alpn: &[u8] = match protocol {
        UpstreamProtocol::Http1 | UpstreamProtocol::Implied => b"http/1.1",
        UpstreamProtocol::Http2 => b"h2",
        UpstreamProtocol::Stream(_) => b"", // whatever the client and the endpoint speak
    };
    let id = id(key.as_deref(), &verify, alpn);
    let mut config = client_config(&context.tls, key, verify)?;
    if !alpn.is_empty() {
        config.alpn_protocols = vec![alpn.to_vec()];
    }
    let validity = certificate.map(|certificate| certificate.validity);
    Ok(ClientTls { config: Arc::new(config), id, inputs, protocol, settings: settings.clone(), validity })
}

/// Whom an endpoint's certificate must be from.
#[derive(Debug)]
enum Verify {
    No,
    Roots(Vec<CertificateDer<'static>>),
}

/// The certificates of authorities in the Secret `key`.
fn authorities(world: &World, key: &ObjectKey) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    const FIELD: &str = "tlsVerify.caSecret";
    let object = ObjectRef { kind: Kind::Secret, key: key.clone() };
    data(world, &object).map_err(|why| why.at(FIELD))?;
    let from = DataRef { entry: None, field: FIELD.into(), object };
    let found = entries(world, &from, &CA_KEYS, Reason::InvalidCaCertificate).map_err(|why| why.at(FIELD))?;
    // The first alone, as with clients: a Secret made by cert-manager has a leaf under `tls.crt`.
    let Some((entry, pem)) = found.into_iter().next() else { return Ok(Vec::new()) };
    trust::certificates(pem).map_err(|why| {
        let message = format!("`{entry}` of {} {why}", from.object);
        Invalid::new(Reason::InvalidCaCertificate, FIELD, message)
    })
}

/// What tells two configurations apart: our certificate stands for its key.
fn id(key: Option<&CertifiedKey>, verify: &Verify, alpn: &[u8]) -> [u8; 32] {
    let mut digest = Digest::new(&SHA256);
    let mut add = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    add(alpn);
    add(&[u8::from(key.is_some()), u8::from(matches!(verify, Verify::Roots(_)))]);
    let chain = key.map_or(&[][..], |key| &key.cert);
    add(&chain.len().to_be_bytes());
    let roots = if let Verify::Roots(roots) = verify { roots.as_slice() } else { &[] };
    for certificate in chain.iter().chain(roots) {
        add(certificate);
    }
    let mut id = [0; 32];
    id.copy_from_slice(digest.finish().as_ref());
    id
}

fn client_config(
    context: &TlsContext,
    key: Option<Arc<CertifiedKey>>,
    verify: Verify,
) -> Result<ClientConfig, Invalid> {
    let provider = context.provider();
    let unusable = |error: String| Invalid::new(Reason::InvalidCaCertificate, "tlsVerify", error);
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| unusable(error.to_string()))?;
    let builder = match verify {
        Verify::No => {
            let algorithms = provider.signature_verification_algorithms;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer::new(algorithms)))
        }
        Verify::Roots(certificates) => {
            let mut roots = RootCertStore::empty();
            for (index, certificate) in certificates.into_iter().enumerate() {
                roots
                    .add(certificate)
                    .map_err(|error| unusable(format!("certificate {} can be no authority: {error}", index + 1)))?;
            }
            if roots.is_empty() {
                return Err(unusable("there is no authority: the system has no root certificates".to_owned()));
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            builder.with_webpki_verifier(verifier.map_err(|error| unusable(error.to_string()))?)
        }
    };
    // By a resolver, because rustls' own way refuses certificates of X.509 v1.
    Ok(match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    })
}
