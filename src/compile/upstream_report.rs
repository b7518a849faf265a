//! What there is to say about every ApisixUpstream.

use super::attach::{self, Attached};
use super::health::tls_of;
use super::upstream_tls::ClientConfigs;
use super::{Context, ObjectReport, Report, nodes};
use crate::model::{
    Effect, Invalid, Kind, ObjectRef, Problem, Reason, SettingsByPort, SourceId, Validity, VerifyServer,
};
use crate::snapshot::Carried;
use crate::world::World;

/// Reports on every ApisixUpstream that is ours, whether or not a route leads to its Service. Says when the report has to be
/// made again because time has passed.
pub(super) fn report(
    world: &World,
    context: &Context,
    carried: &Carried,
    now: i64,
    report: &mut Report,
) -> Option<i64> {
    let mut tls = ClientConfigs::new(carried);
    let mut next: Option<i64> = None;
    for (key, source, observed) in world.upstreams() {
        let mut problems = Vec::new();
        let invalid = match &observed.value {
            Ok(upstream) => match attach::attached(upstream.class.as_deref(), world, context) {
                Attached::Ours => {
                    if let Ok(ports) = &upstream.settings {
                        let change = tls_problems(world, context, ports, now, &mut tls, &mut problems);
                        next = next.into_iter().chain(change).min();
                        let nodes = ports.nodes.iter().enumerate();
                        problems.extend(nodes.filter_map(|(index, node)| {
                            nodes::problem(world, &key.namespace, node, &format!("spec.externalNodes[{index}]"))
                        }));
                    }
                    upstream.settings.as_ref().err().cloned()
                }
                // Manifests have no other reader: there it is a mistake.
                Attached::Unknown if source == SourceId::Manifests => {
                    Some(attach::unknown(upstream.class.as_deref(), context))
                }
                Attached::Theirs | Attached::Unknown => continue,
            },
            Err(why) => Some(why.clone()),
        };
        problems.extend(invalid.map(|invalid| Problem { effect: Effect::Refused, invalid }));
        problems.sort_by_key(|problem| problem.effect);
        let object = ObjectRef { kind: Kind::ApisixUpstream, key: key.clone() };
        report.objects.insert(object, ObjectReport { meta: observed.meta, problems, source });
    }
    next
}

/// What is wrong with the TLS of an ApisixUpstream, and when that changes because time passes.
fn tls_problems(
    world: &World,
    context: &Context,
    ports: &SettingsByPort,
    now: i64,
    tls: &mut ClientConfigs,
    problems: &mut Vec<Problem>,
) -> Option<i64> {
    let of_ports = ports.ports.iter().map(|(port, settings)| (port_field(*port), settings));
    let mut next = None;
    for (field, settings) in std::iter::once(("spec".to_owned(), &ports.default)).chain(of_ports) {
        let mut refuse = |mut invalid: Invalid| {
            invalid.field = format!("{field}.{}", invalid.field);
            problems.push(Problem { effect: Effect::Refused, invalid });
        };
        let client = match settings.tls.as_ref().map(|wanted| tls.get(world, context, wanted, settings.protocol)) {
            Some(Err(invalid)) => {
                refuse(invalid);
                continue; // checks use the same Secrets
            }
            client => client.and_then(Result::ok),
        };
        if let Some(check) = &settings.health
            && let Err(invalid) = tls_of(world, context, check, settings.tls.as_deref(), tls)
        {
            refuse(invalid);
        }
        let (Some(wanted), Some(client)) = (&settings.tls, client) else { continue };
        if wanted.verify == VerifyServer::No {
            let message = "the endpoints' certificates are not verified; name their authorities";
            let invalid = Invalid::new(Reason::NotVerified, format!("{field}.tlsVerify"), message);
            problems.push(Problem { effect: Effect::Warning, invalid });
        }
        if let Some(validity) = &client.validity {
            let validity = Validity { field: format!("{field}.tlsSecret").into(), ..validity.clone() };
            problems.extend(validity.problem(now));
            next = next.into_iter().chain(validity.next(now)).min();
        }
    }
    next
}

/// The settings of a port, as `JSONPath`.
fn port_field(port: u16) -> String {
    format!("spec.portLevelSettings[?(@.port=={port})]")
}
