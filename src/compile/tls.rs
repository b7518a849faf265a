//! TLS hosts: certificates, client authentication, and who owns a host. Whatever cannot be honoured is refused, never
//! served without its policy.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::attach::Attached;
use super::certificate::field;
use super::shared::Shared;
use super::{Context, ObjectReport, Report, attach};
use crate::model::{
    Effect, HostPattern, Invalid, Kind, Meta, ObjectKey, ObjectRef, Problem, Reason, SourceId, TlsHost, Validated,
};
use crate::snapshot::{HostTable, HostTls, Inputs, Policy, ServerCertificate, Snapshot, dashed};
use crate::world::{Observed, World};

struct Claim<'a> {
    key: &'a ObjectKey,
    meta: Meta,
    observed: &'a Arc<Observed<TlsHost>>,
    source: SourceId,
    /// Of an unknown class, and without a host so far.
    stranger: bool,
    /// Set where the object names a class that nobody has: its hosts refuse everyone.
    unknown_class: Option<Invalid>,
}

impl<'a> Claim<'a> {
    fn new(
        world: &World,
        context: &Context,
        previous: &Snapshot,
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
        let stranger = unknown_class.is_some() && !previous.tls.iter().any(|(_, old)| old.object == *key);
        Some(Self { key, meta: observed.meta, observed, source, stranger, unknown_class })
    }

    /// The order in which hosts are claimed: the oldest object first, so that a later one can never take a host over; those
    /// of an unknown class last, because they may not be ours, unless they have hosts already: a class that is deleted opens
    /// none. Among objects of one age (those of manifests have none) the ones that authenticate clients come first, so that a copy
    /// without client authentication cannot open a host; then namespace and name decide.
    fn order(&self) -> (bool, i64, bool, &ObjectKey) {
        let open = self.observed.value.as_ref().is_ok_and(|tls| matches!(tls.client_auth, Ok(None)));
        (self.stranger, self.meta.created, open, self.key)
    }
}

/// The hosts of every ApisixTls.
pub(super) struct Hosts {
    /// The names of the headers through which upstreams are told about clients.
    pub(super) identity_headers: Arc<[Arc<str>]>,
    /// When the report has to be made again because time has passed.
    pub(super) next: Option<i64>,
    pub(super) table: HostTable<Arc<HostTls>>,
}

/// Compiles the hosts.
pub(super) fn compile(world: &World, context: &Context, previous: &Snapshot, now: i64, report: &mut Report) -> Hosts {
    let mut shared = Shared::new(world, context, previous);
    let mut next: Option<i64> = None;
    let mut claims: Vec<_> = world.tls().filter_map(|object| Claim::new(world, context, previous, object)).collect();
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
                None => Arc::new(host_tls(claim, carried, inputs, &mut shared)),
            };
            let (dated, change) = dated(&host, now);
            next = next.into_iter().chain(change).min();
            problems.extend(host.problems.iter().cloned().chain(dated));
            for pattern in hosts {
                table.insert(&pattern, host.clone());
            }
        }
        problems.sort_by_key(|problem| problem.effect);
        let object = ObjectRef { kind: Kind::ApisixTls, key: claim.key.clone() };
        report.objects.insert(object, ObjectReport { meta: claim.meta, problems, source: claim.source });
    }
    Hosts { identity_headers: identity_headers(&claims, previous), next, table }
}

/// The names of the headers through which any object tells upstreams about clients, be its policy usable or not: while it
/// refuses everyone, other hosts may still lead to the same upstreams.
fn identity_headers(claims: &[Claim<'_>], previous: &Snapshot) -> Arc<[Arc<str>]> {
    let mut names = BTreeSet::new();
    for claim in claims {
        match claim.observed.value.as_ref().map(|tls| tls.client_auth.as_ref()) {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(client))) => names.extend(client.settings.forward.headers.iter().map(|(name, _)| dashed(name))),
            // The names cannot be read: those of before stay.
            Ok(Err(_)) | Err(_) => names.extend(previous.identity_headers.iter().cloned()),
        }
    }
    names.into_iter().collect()
}

/// The hosts that the object owns: those no older object has. While one of its hosts cannot be read, those it had stay its own.
fn claim_hosts(
    claim: &Claim<'_>,
    previous: &Snapshot,
    table: &mut HostTable<Arc<HostTls>>,
    problems: &mut Vec<Problem>,
) -> Vec<HostPattern> {
    let had = || previous.tls.iter().filter(|(_, old)| old.object == *claim.key).map(|(pattern, _)| pattern);
    let tls = match &claim.observed.value {
        Ok(tls) => tls,
        Err(why) => {
            problems.push(refused(why.clone()));
            // The object cannot be read at all. The hosts it had must not lose their policy: they refuse everyone.
            return had().filter(|pattern| table.get(pattern).is_none()).collect();
        }
    };
    problems.extend(claim.unknown_class.iter().chain(&tls.unreadable_hosts).cloned().map(refused));
    // Nobody knows which host an unreadable one was meant to be. Where it was another a moment ago, that one keeps its policy.
    let kept = if tls.unreadable_hosts.is_empty() { Vec::new() } else { had().collect() };
    let mut owned: Vec<HostPattern> = Vec::new();
    for pattern in &tls.hosts {
        match table.get(pattern) {
            Some(older) => {
                let older = ObjectRef { kind: Kind::ApisixTls, key: older.object.clone() };
                let message = format!("{pattern} belongs to {older}; this one is not used for it");
                problems.push(refused(Invalid::new(Reason::Conflict, "spec.hosts", message)));
            }
            None if owned.contains(pattern) => {}
            None => owned.push(pattern.clone()),
        }
    }
    for pattern in kept {
        if table.get(&pattern).is_none() && !owned.contains(&pattern) {
            owned.push(pattern);
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

fn host_tls(claim: &Claim<'_>, carried: Option<&Arc<HostTls>>, inputs: Inputs, shared: &mut Shared<'_>) -> HostTls {
    let carried = carried.map_or(&[][..], |old| &old.certificates);
    let tls = match claim.unknown_class.as_ref().map_or(claim.observed.value.as_ref(), Err) {
        Ok(tls) => tls,
        // The object itself was reported when its hosts were claimed.
        Err(why) => {
            let why = Arc::new(why.clone());
            return HostTls {
                certificates: carried.to_vec(),
                inputs,
                object: claim.key.clone(),
                policy: Policy::Refuse(why.clone()),
                problems: Vec::new(),
                protocols: None,
                server: Err(why),
                validities: Arc::default(),
            };
        }
    };
    let mut problems = Vec::new();
    let mut validities = Arc::default();
    let policy = match &tls.client_auth {
        Ok(None) => Ok(Policy::Open),
        Ok(Some(client)) => shared.policy(client).map(|policy| {
            problems.extend(policy.problems.iter().cloned());
            validities = policy.validities;
            Policy::Require(policy.auth)
        }),
        Err(why) => Err(why.clone()),
    };
    let protocols = tls.protocols.as_ref().map(|protocols| *protocols).map_err(|why| (**why).clone());
    let refusals = [policy.as_ref().err(), protocols.as_ref().err()];
    problems.extend(refusals.into_iter().flatten().map(|why| refused(why.clone())));
    let policy = policy.unwrap_or_else(|why| Policy::Refuse(Arc::new(why)));
    let certificates = certificates(tls, carried, shared, &mut problems);
    let auth = match &policy {
        Policy::Open => Ok(None),
        Policy::Refuse(why) => Err((**why).clone()),
        Policy::Require(auth) => Ok(Some(auth)),
    };
    let server = auth.and_then(|auth| {
        let protocols = protocols.clone()?;
        let certificates = certificates.as_ref().map_err(Clone::clone)?;
        shared.config(certificates, auth, protocols).map_err(|error| {
            let why = Invalid::new(Reason::InvalidCertificate, "spec.secret", error.to_string());
            problems.push(refused(why.clone()));
            why
        })
    });
    HostTls {
        certificates: certificates.unwrap_or_default(),
        inputs,
        object: claim.key.clone(),
        policy,
        problems,
        protocols: protocols.ok(),
        server: server.map_err(Arc::new),
        validities,
    }
}

fn refused(invalid: Invalid) -> Problem {
    Problem { effect: Effect::Refused, invalid }
}

/// The certificates of a host. One that disappears or breaks goes on serving its last good value, which is in `carried`: that
/// lets nobody in.
///
/// # Errors
/// When there is none to serve.
fn certificates(
    tls: &TlsHost,
    carried: &[ServerCertificate],
    shared: &mut Shared<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<ServerCertificate>, Invalid> {
    let stale = |mut invalid: Invalid| {
        invalid.message.push_str("; the last good certificate is still served");
        Problem { effect: Effect::Stale, invalid }
    };
    let mut found = Vec::new();
    let mut failed = Vec::new();
    match &tls.certificates {
        Err(why) => failed.push((**why).clone()),
        Ok(secrets) => {
            for (index, secret) in secrets.iter().enumerate() {
                let why = match shared.certificate(secret) {
                    Ok(mut certificate) => {
                        certificate.validity.field = field(index).into();
                        found.push(certificate);
                        continue;
                    }
                    Err(failed) => failed.at(&field(index)),
                };
                match carried.iter().find(|old| old.secret == *secret) {
                    Some(old) => {
                        found.push(old.clone());
                        problems.push(stale(why));
                    }
                    None => failed.push(why),
                }
            }
        }
    }
    if !found.is_empty() {
        problems.extend(failed.into_iter().map(|mut invalid| {
            invalid.message.push_str("; the other certificates are served");
            Problem { effect: Effect::Unresolved, invalid }
        }));
        return Ok(found);
    }
    if !carried.is_empty() {
        problems.extend(failed.into_iter().map(stale));
        return Ok(carried.to_vec());
    }
    problems.extend(failed.iter().cloned().map(refused));
    let none = || Invalid::spec("spec.secret", "must name a Secret");
    Err(failed.into_iter().next().unwrap_or_else(none))
}

/// What time makes of a host: the problems at `now`, and when they change.
fn dated(host: &HostTls, now: i64) -> (Vec<Problem>, Option<i64>) {
    let own = host.certificates.iter().map(|certificate| &certificate.validity);
    let all = || own.clone().chain(host.validities.iter());
    let mut problems: Vec<_> = all().filter_map(|validity| validity.problem(now)).collect();
    let mut authorities = all().filter(|validity| validity.kind == Validated::Authority).peekable();
    if authorities.peek().is_some() && authorities.all(|authority| !authority.holds(now)) {
        let message = "every authority has expired or is not yet valid; all clients are refused";
        problems.push(refused(Invalid::new(Reason::InvalidCaCertificate, "spec.client", message)));
    }
    (problems, all().filter_map(|validity| validity.next(now)).min())
}
