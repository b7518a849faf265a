//! TLS hosts: certificates, client authentication, and who owns a host. Whatever cannot be honoured is refused, never
//! served without its policy.

use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::attach::Attached;
use super::{Context, ObjectReport, Report, attach, server_config};
use crate::model::{
    ClientAuthRef, Effect, HostPattern, Invalid, Kind, Meta, ObjectKey, ObjectRef, Problem, Reason, SourceId, TlsHost,
};
use crate::snapshot::{ClientAuth, HostTable, HostTls, Inputs, Policy, Snapshot};
use crate::trust::Anchors;
use crate::world::{Observed, World};

/// The keys of a certificate's Secret, in the order they are looked up (APISIX's).
const CERTIFICATE_KEYS: [(&str, &str); 2] = [("cert", "key"), ("tls.crt", "tls.key")];

/// The keys of a client CA Secret, in the order they are looked up. APISIX looks at `tls.crt` before `ca.crt`, and so takes
/// the leaf of a Secret made by cert-manager for the CA.
const CA_KEYS: [&str; 3] = ["cert", "ca.crt", "tls.crt"];

struct Claim<'a> {
    key: &'a ObjectKey,
    meta: Meta,
    observed: &'a Arc<Observed<TlsHost>>,
    source: SourceId,
    /// Set where the object names a class that nobody has: its hosts refuse everyone.
    unknown_class: Option<Invalid>,
}

impl<'a> Claim<'a> {
    fn new(
        world: &World,
        context: &Context,
        (key, source, observed): (&'a ObjectKey, SourceId, &'a Arc<Observed<TlsHost>>),
    ) -> Option<Self> {
        let class = observed.value.as_ref().ok().and_then(|tls| tls.class.as_deref());
        let unknown_class = match attach::attached(class, world, context) {
            Attached::Ours => None,
            Attached::Theirs => return None,
            // A mistyped name, or a class that was deleted. To leave the object out would take the policy from hosts whose
            // routes are served.
            Attached::Unknown => Some(attach::unknown(class, context)),
        };
        Some(Self { key, meta: observed.meta, observed, source, unknown_class })
    }

    /// The order in which hosts are claimed: the oldest object first, so that a later one can never take a host over; those
    /// of an unknown class last, because they may not be ours. Among
    /// objects of one age (those of manifests have none) the ones that authenticate clients come first, so that a copy
    /// without client authentication cannot open a host; then namespace and name decide.
    fn order(&self) -> (bool, i64, bool, &ObjectKey) {
        let open = self.observed.value.as_ref().is_ok_and(|tls| matches!(tls.client_auth, Ok(None)));
        (self.unknown_class.is_some(), self.meta.created, open, self.key)
    }
}

pub(super) fn compile(
    world: &World,
    context: &Context,
    previous: &Snapshot,
    report: &mut Report,
) -> HostTable<Arc<HostTls>> {
    let mut claims: Vec<_> = world.tls().filter_map(|object| Claim::new(world, context, object)).collect();
    claims.sort_by(|a, b| a.order().cmp(&b.order()));
    let mut table: HostTable<Arc<HostTls>> = HostTable::default();
    for claim in &claims {
        let mut problems = Vec::new();
        let hosts = claim_hosts(claim, previous, &mut table, &mut problems);
        if let Some(first) = hosts.first() {
            let carried = previous.tls.get(first).filter(|old| old.object == *claim.key);
            let inputs = inputs(world, claim);
            // Nothing is parsed or built again where nothing that made it has changed.
            let host = match carried.filter(|old| old.inputs.same(&inputs)) {
                Some(old) => old.clone(),
                None => Arc::new(host_tls(world, context, claim, carried, inputs)),
            };
            problems.extend(host.problems.iter().cloned());
            for pattern in hosts {
                table.insert(&pattern, host.clone());
            }
        }
        problems.sort_by_key(|problem| problem.effect);
        let object = ObjectRef { kind: Kind::ApisixTls, key: claim.key.clone() };
        report.objects.insert(object, ObjectReport { meta: claim.meta, problems, source: claim.source });
    }
    table
}

/// The hosts that the object owns: those no older object has.
fn claim_hosts(
    claim: &Claim<'_>,
    previous: &Snapshot,
    table: &mut HostTable<Arc<HostTls>>,
    problems: &mut Vec<Problem>,
) -> Vec<HostPattern> {
    let refused = |invalid: Invalid| Problem { effect: Effect::Refused, invalid };
    let tls = match &claim.observed.value {
        Ok(tls) => tls,
        Err(why) => {
            problems.push(refused(why.clone()));
            // The object cannot be read at all. The hosts it had must not lose their policy: they refuse everyone.
            let had = previous.tls.iter().filter(|(_, old)| old.object == *claim.key).map(|(pattern, _)| pattern);
            return had.filter(|pattern| table.get(pattern).is_none()).collect();
        }
    };
    problems.extend(claim.unknown_class.iter().chain(&tls.unreadable_hosts).cloned().map(refused));
    let mut owned: Vec<HostPattern> = Vec::new();
    for pattern in &tls.hosts {
        match table.get(pattern) {
            Some(older) => {
                let message =
                    format!("{pattern} belongs to the ApisixTls {}; this one is not used for it", older.object);
                problems.push(refused(Invalid::new(Reason::Conflict, "spec.hosts", message)));
            }
            None if owned.contains(pattern) => {}
            None => owned.push(pattern.clone()),
        }
    }
    owned
}

/// Everything that the object's [`HostTls`] is made from.
fn inputs(world: &World, claim: &Claim<'_>) -> Inputs {
    let mut inputs = Inputs::default();
    inputs.push(claim.observed.clone());
    if let Ok(tls) = &claim.observed.value {
        if let Some(class) = tls.class.as_deref().and_then(|class| world.class(class)) {
            inputs.push(class.clone());
        }
        for data in tls.references().filter_map(|object| world.data(&object)) {
            inputs.push(data.clone());
        }
    }
    inputs
}

fn host_tls(
    world: &World,
    context: &Context,
    claim: &Claim<'_>,
    carried: Option<&Arc<HostTls>>,
    inputs: Inputs,
) -> HostTls {
    let mut problems = Vec::new();
    let mut refused = |invalid: &Invalid| {
        problems.push(Problem { effect: Effect::Refused, invalid: invalid.clone() });
    };
    let last_good = carried.and_then(|old| old.certificate.clone());
    let value = claim.unknown_class.as_ref().map_or(claim.observed.value.as_ref(), Err);
    let (policy, certificate, stale) = match value {
        // The object itself was reported when its hosts were claimed.
        Err(why) => (Policy::Refuse(Arc::new(why.clone())), last_good.ok_or_else(|| why.clone()), None),
        Ok(tls) => {
            let policy = policy(world, tls, carried).unwrap_or_else(|why| {
                refused(&why);
                Policy::Refuse(Arc::new(why))
            });
            match (
                tls.certificates.clone().map_err(|why| *why).and_then(|keys| certificate(world, context, &keys[0])),
                last_good,
            ) {
                (Ok(certificate), _) => (policy, Ok(certificate), None),
                // A certificate that disappears or breaks goes on serving its last good value: that lets nobody in.
                (Err(why), Some(last_good)) => (policy, Ok(last_good), Some(why)),
                (Err(why), None) => {
                    refused(&why);
                    (policy, Err(why), None)
                }
            }
        }
    };
    let auth = match &policy {
        Policy::Open => Ok(None),
        Policy::Refuse(why) => Err(why.clone()),
        Policy::Require(auth) => Ok(Some(auth)),
    };
    let server = auth.and_then(|auth| {
        let certificate = certificate.as_ref().map_err(|why| Arc::new(why.clone()))?;
        server_config(&context.tls, certificate, auth).map(Arc::new).map_err(|error| {
            let why = Invalid::new(Reason::InvalidCertificate, "spec.secret", error.to_string());
            refused(&why);
            Arc::new(why)
        })
    });
    if let Some(mut why) = stale {
        why.message = format!("{}; the last good certificate is still served", why.message);
        problems.push(Problem { effect: Effect::Stale, invalid: why });
    }
    HostTls { certificate: certificate.ok(), inputs, object: claim.key.clone(), policy, problems, server }
}

fn policy(world: &World, tls: &TlsHost, carried: Option<&Arc<HostTls>>) -> Result<Policy, Invalid> {
    match tls.client_auth.as_ref().map_err(Clone::clone)? {
        None => Ok(Policy::Open),
        Some(client) => client_auth(world, client, carried).map(Policy::Require),
    }
}

fn client_auth(
    world: &World,
    client: &ClientAuthRef,
    carried: Option<&Arc<HostTls>>,
) -> Result<Arc<ClientAuth>, Invalid> {
    let field = &*client.authorities[0].field;
    let key = &client.authorities[0].object.key;
    let secret = secret(world, key, field)?;
    let Some((name, pem)) = CA_KEYS.iter().find_map(|name| Some((name, secret.get(name)?))) else {
        let message =
            format!("Secret {key} has none of the keys `cert`, `ca.crt` and `tls.crt`; all clients are refused");
        return Err(Invalid::new(Reason::InvalidCaCertificate, field, message));
    };
    let anchors = Anchors::from_pem(pem).map_err(|why| {
        let message = format!("`{name}` of Secret {key}: {why}; all clients are refused");
        Invalid::new(Reason::InvalidCaCertificate, field, message)
    })?;
    let auth =
        ClientAuth::new(anchors, None, client.settings.clone()).map_err(|why| Invalid::spec("spec.client", why))?;
    // Equal settings share one value, so that the memory of a rotated Secret with the same content is not held twice.
    match carried.map(|old| &old.policy) {
        Some(Policy::Require(old)) if old.id == auth.id => Ok(old.clone()),
        _ => Ok(Arc::new(auth)),
    }
}

fn certificate(world: &World, context: &Context, key: &ObjectKey) -> Result<Arc<CertifiedKey>, Invalid> {
    let field = "spec.secret";
    let secret = secret(world, key, field)?;
    let invalid = |message: String| Invalid::new(Reason::InvalidCertificate, field, message);
    for (certificate, private) in CERTIFICATE_KEYS {
        match (secret.get(certificate), secret.get(private)) {
            (Some(certificate), Some(private)) => {
                return context
                    .tls
                    .certified_key(certificate, private)
                    .map_err(|why| invalid(format!("Secret {key}: {why}")));
            }
            (None, None) => {}
            (Some(_), None) => return Err(invalid(format!("Secret {key} has `{certificate}` but no `{private}`"))),
            (None, Some(_)) => return Err(invalid(format!("Secret {key} has `{private}` but no `{certificate}`"))),
        }
    }
    Err(invalid(format!("Secret {key} has neither `cert` and `key` nor `tls.crt` and `tls.key`")))
}

fn secret<'a>(world: &'a World, key: &ObjectKey, field: &str) -> Result<&'a crate::model::Data, Invalid> {
    match world.data(&ObjectRef { kind: Kind::Secret, key: key.clone() }).map(|secret| &secret.value) {
        Some(Ok(secret)) => Ok(secret),
        Some(Err(why)) => Err(Invalid::new(why.reason, field, format!("Secret {key}: {}", why.message))),
        None => Err(Invalid::new(Reason::RefNotFound, field, format!("Secret {key} does not exist"))),
    }
}
