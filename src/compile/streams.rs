//! Rules for TCP, TLS and UDP: who owns a port, and a host on it.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use super::attach::{self, Attached};
use super::carries::Carries;
use super::upstreams::{self, Endpoints};
use super::{Context, Report};
use crate::model::{
    Effect, HostPattern, Invalid, Kind, ObjectKey, ObjectRef, Problem, Protocol, Reason, StreamBackend, StreamPorts,
    StreamRule,
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
            let name: Arc<str> =
                if rule.name.is_empty() { key.to_string() } else { format!("{key}/{}", rule.name) }.into();
            let stats = previous.carried.stream_stats.get(&name).cloned().unwrap_or_default();
            all_stats.insert(name.clone(), stats.clone());
            for claimed in claimed {
                let upstream = upstream(world, context, (key, rule), protocol(&claimed), endpoints, &mut problems);
                let backends = Backends::new(upstream.map(|upstream| (upstream, 1)));
                let route =
                    StreamRoute { backends, clients: rule.clients.clone(), name: name.clone(), stats: stats.clone() };
                table.insert(&claimed, Arc::new(route));
            }
        }
        tell(report, key, problems);
    }
    (table, all_stats)
}

/// Where the streams of a rule go on; `None` where that is not resolved.
fn upstream(
    world: &World,
    context: &Context,
    (key, rule): (&ObjectKey, &StreamRule),
    protocol: Protocol,
    endpoints: &mut Endpoints<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Upstream> {
    let namespace = &key.namespace;
    let (resolved, field) = match &rule.backend {
        StreamBackend::Service(backend) => {
            let field = format!("{}.backend", rule.field);
            let backend = (backend, Carries::Streams);
            let resolved = upstreams::resolve(world, context, namespace, backend, &field, endpoints, problems);
            (resolved, format!("{field}.serviceName"))
        }
        StreamBackend::Upstream(reference) => {
            let upstream = (reference, Carries::Streams, protocol);
            (upstreams::external(world, context, namespace, upstream, endpoints), reference.field.to_string())
        }
    };
    let resolved = resolved.and_then(|upstream| elsewhere(upstream, protocol, context, &field));
    match resolved {
        Ok(upstream) => Some(upstream),
        Err(invalid) => {
            let problem = Problem { effect: Effect::Unresolved, invalid };
            // A rule for several ports says it once.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
            None
        }
    }
}

/// The protocol of what is opened for `key`.
fn protocol(key: &StreamKey) -> Protocol {
    match key {
        StreamKey::Tcp(_) | StreamKey::Tls(..) => Protocol::Tcp,
        StreamKey::Udp(_) => Protocol::Udp,
    }
}

/// The upstream, unless it leads back to us: nothing in a stream would tell how often it has gone round.
fn elsewhere(upstream: Upstream, protocol: Protocol, context: &Context, field: &str) -> Result<Upstream, Invalid> {
    let is_own = |address: &SocketAddr| context.stream_addresses.contains(&(protocol, *address));
    match upstream.nodes().iter().map(|node| node.endpoint.address).find(is_own) {
        None => Ok(upstream),
        Some(own) => {
            let message = format!(
                "an endpoint of {}, {protocol} {own}, is this proxy itself, and streams would go round for ever; name another Service",
                upstream.name
            );
            Err(Invalid::spec(field, message))
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

/// What the rule is for, if a port is opened for it and nobody has that already.
fn claim(rule: &StreamRule, ports: Option<&StreamPorts>, table: &StreamTable) -> Result<Vec<StreamKey>, Invalid> {
    let keys = match (rule.port, rule.protocol) {
        (Some(port), Some(protocol)) => vec![key_of(rule, port, protocol, ports)?],
        _ => keys_of(rule, ports)?,
    };
    let (taken, free): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| table.get(key, &rule.clients).is_some());
    match taken.first().filter(|_| free.is_empty()).and_then(|key| Some((key, table.get(key, &rule.clients)?))) {
        None => Ok(free),
        Some((key, owner)) => {
            let message = format!("{key} belongs to the rule {}; this one is not used", owner.name);
            Err(Invalid::new(Reason::Conflict, format!("{}.match", rule.field), message))
        }
    }
}

/// Everything that is opened and that fits a rule which leaves the port or the protocol open. Where nobody knows what is opened,
/// nothing is.
fn keys_of(rule: &StreamRule, ports: Option<&StreamPorts>) -> Result<Vec<StreamKey>, Invalid> {
    let Some(ports) = ports else { return Ok(Vec::new()) };
    let fit = |opened: &BTreeSet<u16>, protocol| {
        let is_wanted = rule.protocol.is_none_or(|wanted| wanted == protocol);
        let opened = opened.iter().copied();
        opened.filter(|port| is_wanted && rule.port.is_none_or(|wanted| wanted == *port)).collect::<Vec<_>>()
    };
    let tls = fit(&ports.tls, Protocol::Tcp).into_iter().map(|port| StreamKey::Tls(port, rule.host.clone()));
    let mut keys: Vec<_> = tls.collect();
    let names_host = rule.host != HostPattern::Any;
    if !names_host {
        keys.extend(fit(&ports.tcp, Protocol::Tcp).into_iter().map(StreamKey::Tcp));
        keys.extend(fit(&ports.udp, Protocol::Udp).into_iter().map(StreamKey::Udp));
    }
    if keys.is_empty() {
        let which = rule.port.map_or("no port".to_owned(), |port| format!("port {port} is not one that"));
        let what = if names_host { "TLS, which alone names a host" } else { "streams" };
        let message = format!("{which} is opened for {what}: the proxy opens ports as it is started");
        return Err(Invalid::new(Reason::Unsupported, format!("{}.match.ingressPort", rule.field), message));
    }
    Ok(keys)
}

/// What the rule is for. Where nobody knows which ports are opened, a host stands for TLS.
fn key_of(rule: &StreamRule, port: u16, protocol: Protocol, ports: Option<&StreamPorts>) -> Result<StreamKey, Invalid> {
    let opened = |which: fn(&StreamPorts) -> &BTreeSet<u16>| ports.is_none_or(|ports| which(ports).contains(&port));
    let names_host = rule.host != HostPattern::Any;
    let closed = |options: &str| {
        let message =
            format!("{protocol} port {port} is not opened; the proxy opens it where it is started with {options}");
        Err(Invalid::new(Reason::Unsupported, format!("{}.match.ingressPort", rule.field), message))
    };
    match protocol {
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
