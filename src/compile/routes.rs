//! Routes: from rules to sorted tables by host.

use std::collections::HashMap;
use std::sync::Arc;

use super::attach::Attached;
use super::carries::Carries;
use super::upstreams::{self, Endpoints};
use super::{Context, ObjectReport, Report, attach};
use crate::model::{
    Effect, HostPattern, Kind, Meta, ObjectKey, ObjectRef, PathPattern, Problem, Protocol, Rule, SourceId,
};
use crate::snapshot::{Backends, HostRoutes, HostTable, Route, RouteStats, Snapshot};
use crate::world::World;

/// A rule on its way into the tables, with what decides its place.
struct Placed<'a> {
    created: i64,
    index: usize,
    key: &'a ObjectKey,
    route: Arc<Route>,
    rule: &'a Rule,
}

pub(super) fn compile(
    world: &World,
    context: &Context,
    previous: &Snapshot,
    endpoints: &mut Endpoints<'_>,
    report: &mut Report,
) -> (HostTable<HostRoutes>, HashMap<Arc<str>, Arc<RouteStats>>) {
    let mut stats = HashMap::new();
    let mut placed = Vec::new();
    for (key, source, observed) in world.routes() {
        let object = match &observed.value {
            Ok(object) => match attach::attached(object.class.as_deref(), world, context) {
                Attached::Ours => object,
                // Manifests have no other reader: there it is a mistake.
                Attached::Unknown if source == SourceId::Manifests => {
                    let invalid = attach::unknown(object.class.as_deref(), context);
                    insert(report, key, observed.meta, source, vec![Problem { effect: Effect::Refused, invalid }]);
                    continue;
                }
                Attached::Theirs | Attached::Unknown => continue,
            },
            Err(why) => {
                let problem = Problem { effect: Effect::Refused, invalid: why.clone() };
                insert(report, key, observed.meta, source, vec![problem]);
                continue;
            }
        };
        let mut problems = Vec::new();
        for (index, rule) in object.rules.iter().enumerate() {
            let name: Arc<str> =
                if rule.name.is_empty() { key.to_string() } else { format!("{key}/{}", rule.name) }.into();
            let route_stats: Arc<RouteStats> = previous.carried.stats.get(&name).cloned().unwrap_or_default();
            stats.insert(name.clone(), route_stats.clone());
            let route = Arc::new(Route {
                backends: backends(world, context, key, (index, rule), endpoints, &mut problems),
                conditions: rule.conditions.clone(),
                methods: rule.methods,
                name,
                stats: route_stats,
                strip: rule.strip.clone(),
                timeouts: rule.timeouts.unwrap_or_default(),
                websocket: rule.websocket,
            });
            placed.push(Placed { created: observed.meta.created, index, key, route, rule });
        }
        insert(report, key, observed.meta, source, problems);
    }
    (tables(placed), stats)
}

fn insert(report: &mut Report, key: &ObjectKey, meta: Meta, source: SourceId, problems: Vec<Problem>) {
    let object = ObjectRef { kind: Kind::ApisixRoute, key: key.clone() };
    report.objects.insert(object, ObjectReport { meta, problems, source });
}

/// The backends and upstreams of a rule that can be used. One that is not resolved, or has no ready endpoint while another one has,
/// gets no traffic (APISIX); when none is left the route answers 503.
fn backends(
    world: &World,
    context: &Context,
    key: &ObjectKey,
    (rule_index, rule): (usize, &Rule),
    endpoints: &mut Endpoints<'_>,
    problems: &mut Vec<Problem>,
) -> Backends {
    let mut resolved = Vec::new();
    for (index, backend) in rule.backends.iter().enumerate() {
        let field = format!("spec.http[{rule_index}].backends[{index}]");
        let backend_of = (backend, Carries::Requests(rule.timeouts));
        match upstreams::resolve(world, context, &key.namespace, backend_of, &field, endpoints, problems) {
            Ok(upstream) => resolved.push((upstream, backend.weight)),
            Err(invalid) => problems.push(Problem { effect: Effect::Unresolved, invalid }),
        }
    }
    for upstream in &rule.upstreams {
        let upstream_of = (upstream, Carries::Requests(rule.timeouts), Protocol::Tcp);
        match upstreams::external(world, context, &key.namespace, upstream_of, endpoints) {
            Ok(resolved_upstream) => resolved.push((resolved_upstream, upstream.weight)),
            Err(invalid) => problems.push(Problem { effect: Effect::Unresolved, invalid }),
        }
    }
    let usable = |upstream: &(crate::snapshot::Upstream, u32)| upstream.1 > 0 && upstream.0.is_usable();
    if resolved.iter().any(usable) {
        resolved.retain(usable);
    }
    Backends::new(resolved)
}

/// Precedence among rules with the same host and path: higher priority, then the older object, then its namespace and
/// name, then the place in the object.
fn tables(mut placed: Vec<Placed<'_>>) -> HostTable<HostRoutes> {
    placed.sort_by(|a, b| {
        let age = |p: &Placed<'_>| (p.created, p.key.clone(), p.index);
        b.rule.priority.cmp(&a.rule.priority).then_with(|| age(a).cmp(&age(b)))
    });
    let mut by_host: HashMap<&HostPattern, Vec<(PathPattern, Arc<Route>)>> = HashMap::new();
    for Placed { route, rule, .. } in &placed {
        for host in &rule.hosts {
            let routes = by_host.entry(host).or_default();
            routes.extend(rule.paths.iter().map(|path| (path.clone(), route.clone())));
        }
    }
    let mut table = HostTable::default();
    for (host, routes) in by_host {
        table.insert(host, HostRoutes::new(routes));
    }
    table
}
