//! Rules for TCP, TLS and UDP: who owns a port, and a host on it.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use super::attach::{self, Attached};
use super::upstreams::{self, Carries, Endpoints};
use super::{Context, Report};
use crate::model::{
    Effect, HostPattern, Invalid, Kind, ObjectKey, ObjectRef, Problem, Protocol, Reason, StreamPorts, StreamRule,
};
use crate::snapshot::{Backends, Snapshot, StreamKey, StreamRoute, StreamStats, StreamTable, Upstream};
use crate::world::World;

/// Compiles the rules of every route object that is ours, and adds what is wrong with them to its report, which is there
/// already. Also returns the counters by name, for the next snapshot.
pub(super) fn compile(
    world: &World,
    context: &Context,
    previous: &Snapshot,
    endpoints: &mut Endpoints<'_>,
    report: &mut Report,
) -> (StreamTable, HashMap<Arc<str>, Arc<StreamStats>>) {
    let mut objects: Vec<_> = world
        .routes()
        .filter_map(|(key, _, observed)| Some((observed.meta.created, key, observed.value.as_ref().ok()?)))
        .filter(|(_, _, object)| !object.streams.is_empty())
        .filter(|(_, _, object)| attach::attached(object.class.as_deref(), world, context) == Attached::Ours)
        .collect();
    // The oldest object owns a port, or a host on it.
    objects.sort_by_key(|(created, key, _)| (*created, *key));
    let mut table = StreamTable::default();
    let mut all_stats = HashMap::new();
    for (_, key, object) in objects {
        let mut problems = Vec::new();
        for rule in &object.streams {
            let claimed = match claim(rule, context.stream_ports.as_ref(), &table) {
                Ok(claimed) => claimed,
                Err(invalid) => {
                    problems.push(Problem { effect: Effect::RuleRefused, invalid });
                    continue;
                }
            };
            let field = format!("{}.backend", rule.field);
            let backend = (&rule.backend, Carries::Streams);
            let upstream =
                upstreams::resolve(world, context, &key.namespace, backend, &field, endpoints, &mut problems);
            let upstream = upstream.and_then(|upstream| elsewhere(upstream, rule.protocol, context, &field));
            let upstream = upstream.map_err(|invalid| problems.push(Problem { effect: Effect::Unresolved, invalid }));
            let name: Arc<str> = format!("{key}/{}", rule.name).into();
            let stats = previous.carried.stream_stats.get(&name).cloned().unwrap_or_default();
            all_stats.insert(name.clone(), stats.clone());
            let backends = Backends::new(upstream.ok().map(|upstream| (upstream, 1)));
            let route = StreamRoute { backends, name, stats };
            table.insert(&claimed, Arc::new(route));
        }
        tell(report, key, problems);
    }
    (table, all_stats)
}

/// The upstream, unless it leads back to us: nothing in a stream would tell how often it has gone round.
fn elsewhere(upstream: Upstream, protocol: Protocol, context: &Context, field: &str) -> Result<Upstream, Invalid> {
    let is_own = |address: &SocketAddr| context.stream_addresses.contains(&(protocol, *address));
    match upstream.nodes().iter().map(|node| node.endpoint.address).find(is_own) {
        None => Ok(upstream),
        Some(own) => {
            let message = format!(
                "an endpoint of {}, {protocol} {own}, is this proxy itself, and streams would go round for ever; name                  another Service",
                upstream.name
            );
            Err(Invalid::spec(format!("{field}.serviceName"), message))
        }
    }
}

fn tell(report: &mut Report, key: &ObjectKey, problems: Vec<Problem>) {
    let object = ObjectRef { kind: Kind::ApisixRoute, key: key.clone() };
    if let Some(report) = report.objects.get_mut(&object) {
        report.problems.extend(problems);
        report.problems.sort_by_key(|problem| problem.effect);
    }
}

/// What the rule is for, if the port is opened and nobody has it already.
fn claim(rule: &StreamRule, ports: Option<&StreamPorts>, table: &StreamTable) -> Result<StreamKey, Invalid> {
    let key = key_of(rule, ports)?;
    match table.get(&key) {
        None => Ok(key),
        Some(owner) => {
            let message = format!("{key} belongs to the rule {}; this one is not used", owner.name);
            Err(Invalid::new(Reason::Conflict, format!("{}.match", rule.field), message))
        }
    }
}

/// What the rule is for. Where nobody knows which ports are opened, a host stands for TLS.
fn key_of(rule: &StreamRule, ports: Option<&StreamPorts>) -> Result<StreamKey, Invalid> {
    let port = rule.port;
    let opened = |which: fn(&StreamPorts) -> &BTreeSet<u16>| ports.is_none_or(|ports| which(ports).contains(&port));
    let names_host = rule.host != HostPattern::Any;
    let closed = |options: &str| {
        let message = format!(
            "{} port {port} is not opened; the proxy opens it where it is started with {options}",
            rule.protocol
        );
        Err(Invalid::new(Reason::Unsupported, format!("{}.match.ingressPort", rule.field), message))
    };
    match rule.protocol {
        Protocol::Udp if opened(|ports| &ports.udp) => Ok(StreamKey::Udp(port)),
        Protocol::Udp => closed("--stream-udp-listen"),
        Protocol::Tcp if opened(|ports| &ports.tls) && (names_host || ports.is_some()) => {
            Ok(StreamKey::Tls(port, rule.host.clone()))
        }
        Protocol::Tcp if !opened(|ports| &ports.tcp) => closed("--stream-tcp-listen or --stream-tls-listen"),
        Protocol::Tcp if names_host => {
            let message = format!(
                "port {port} carries no TLS, and so no host; leave it out, or open the port with --stream-tls-listen"
            );
            Err(Invalid::spec(format!("{}.match.host", rule.field), message))
        }
        Protocol::Tcp => Ok(StreamKey::Tcp(port)),
    }
}
