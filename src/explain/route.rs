//! Which rule takes the request, and where it goes.

use std::sync::Arc;

use super::{Asked, Configuration, Step, key_of, rule, shown, split_rule, tls};
use crate::model::{HostPattern, Kind, PathPattern};
use crate::snapshot::{HostRoutes, Mismatch, RequestFacts, Route, Upstream};

const STEP: &str = "route";

pub(super) fn steps(configuration: &Configuration<'_>, asked: &Asked) -> Vec<Step> {
    let path = &*asked.path;
    let facts = asked.trial.facts(&asked.host, path);
    let Some(route) = configuration.snapshot.route(&facts) else {
        return vec![missing(configuration, asked, &facts)];
    };
    let tables = covering(configuration, asked);
    let place = tables.iter().find_map(|(host, table)| {
        let (pattern, _) = table.iter().find(|(pattern, found)| covers(pattern, path) && Arc::ptr_eq(found, route))?;
        Some(format!("by host {host} and path {pattern}"))
    });
    let (object, name) = split_rule(&route.name);
    let message = format!("rule `{name}` {}", place.unwrap_or_default());
    let step = Step::ok(STEP, message.trim_end()).of(shown(object), "spec.http");
    let passed =
        tables.iter().flat_map(|(_, table)| table.candidates(path)).take_while(|found| !Arc::ptr_eq(found, route));
    let passed =
        passed.filter_map(|found| Some(format!("{} {}", rule(&found.name), why(found.mismatch(&facts)?, &facts))));
    vec![step.notes(passed.take(tls::NEAREST)), backends(configuration, route)]
}

/// The tables that the proxy looks the request up in, with the pattern of each, in its order.
fn covering<'a>(configuration: &Configuration<'a>, asked: &Asked) -> Vec<(HostPattern, &'a HostRoutes)> {
    let routes = &configuration.snapshot.routes;
    let with_pattern = |table: &'a HostRoutes| {
        let (pattern, _) = routes.iter().find(|(_, known)| std::ptr::eq(*known, table))?;
        Some((pattern, table))
    };
    routes.covering(&asked.host).filter_map(with_pattern).collect()
}

fn covers(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(exact) => **exact == *path,
        PathPattern::Prefix(prefix) => path.starts_with(&**prefix),
    }
}

/// What a rule has against a request.
fn why(mismatch: Mismatch<'_>, facts: &RequestFacts<'_>) -> String {
    match mismatch {
        Mismatch::Address => format!("does not serve clients from {}", facts.peer),
        Mismatch::Expression(expression) => format!("requires {expression}"),
        Mismatch::Method => format!("does not serve {}", facts.method),
    }
}

fn missing(configuration: &Configuration<'_>, asked: &Asked, facts: &RequestFacts<'_>) -> Step {
    let (method, path) = (&asked.trial.method, &*asked.path);
    let tables = covering(configuration, asked);
    if tables.is_empty() {
        let help = format!("add {} to match.hosts of an ApisixRoute", asked.host);
        let known = configuration.snapshot.routes.iter().filter_map(|(pattern, table)| {
            let (_, route) = table.iter().next()?;
            Some((pattern, rule(&route.name)))
        });
        let known = tls::nearest(&asked.host, known);
        return Step::refused(STEP, format!("no ApisixRoute has the host {}", asked.host), help).notes(known);
    }
    let mut near: Vec<_> = tables
        .iter()
        .flat_map(|(host, table)| table.iter().map(move |(pattern, route)| (host, pattern, route)))
        .map(|(host, pattern, route)| (common(&pattern, path), host, pattern, route))
        .collect();
    near.sort_by_key(|(common, ..)| std::cmp::Reverse(*common));
    let first = near.iter().find(|(_, _, pattern, _)| covers(pattern, path)).and_then(|near| near.3.mismatch(facts));
    let notes = near.into_iter().take(tls::NEAREST).map(|(_, host, pattern, route)| {
        let mismatch = if covers(&pattern, path) { route.mismatch(facts) } else { None };
        let why = mismatch.map_or_else(|| "has another path".to_owned(), |mismatch| why(mismatch, facts));
        format!("{host}{pattern} of {} {why}", rule(&route.name))
    });
    let help = match first {
        None => format!("add a path that covers {path} to match.paths of a rule; `/a/*` does not cover `/a`"),
        Some(Mismatch::Address) => {
            format!("add {} to match.remoteAddrs of the rule, or ask with --address", facts.peer)
        }
        Some(Mismatch::Expression(_)) => "change match.exprs of the rule, or ask with --header".to_owned(),
        Some(Mismatch::Method) => format!("add {method} to match.methods of the rule"),
    };
    Step::refused(STEP, format!("no rule serves {method} {path}"), help).notes(notes)
}

/// Bytes that a pattern has in common with a path.
fn common(pattern: &PathPattern, path: &str) -> usize {
    let (PathPattern::Exact(text) | PathPattern::Prefix(text)) = pattern;
    text.bytes().zip(path.bytes()).take_while(|(one, other)| one == other).count()
}

/// What is wrong with the ApisixRoute `namespace/name`.
pub(super) fn problems(configuration: &Configuration<'_>, object: &str) -> Vec<String> {
    let key = key_of(object);
    let problems = key.iter().flat_map(|key| configuration.problems(Kind::ApisixRoute, key));
    problems.map(|problem| problem.invalid.to_string()).collect()
}

fn backends(configuration: &Configuration<'_>, route: &Route) -> Step {
    const STEP: &str = "backends";
    let (object, _) = split_rule(&route.name);
    let problems = problems(configuration, object);
    let takes = |upstream: &Upstream| upstream.nodes().iter().filter(|node| node.weight > 0).count();
    let counts = route.backends.iter().map(|(upstream, weight)| {
        let without = upstream.nodes().len() - takes(upstream);
        let without = if without == 0 { String::new() } else { format!(" and {without} of weight 0") };
        format!("upstream {}: {} endpoints{without}, weight {weight}", upstream.name, takes(upstream))
    });
    let notes: Vec<_> = counts.chain(problems).collect();
    let step = if route.backends.is_usable() {
        Step::ok(STEP, format!("{} endpoints", route.backends.addresses().count()))
    } else {
        let help = "make a Pod of the Service ready: kubectl get endpointslices";
        Step::refused(STEP, "no endpoint can take the request", help)
    };
    step.of(shown(object), "spec.http").notes(notes)
}
