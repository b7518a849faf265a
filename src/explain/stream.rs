//! Which rule takes a stream, and where it goes.

use rustls_pki_types::UnixTime;

use super::route::problems;
use super::{
    Configuration, Explanation, LOCALHOST, Question, Step, chain, client, connection, rule, shown, split_rule, time,
    tls,
};
use crate::model::{HostName, Kind};
use crate::proxy::{StreamOutcome, StreamTrial, TrialTls};
use crate::snapshot::{Carrier, StreamKey, StreamRoute, Upstream};

const STEP: &str = "stream rule";
const ENDPOINTS: &str = "endpoints";

/// How many endpoints and rules are listed.
const LISTED: usize = 10;

/// A [`Question`] about a stream that was understood.
#[derive(Debug)]
pub(super) struct Asked {
    at: Option<u64>,
    now: UnixTime,
    trial: StreamTrial,
}

/// Reads a question; `None` where it is about a request.
///
/// # Errors
/// A sentence, when it cannot be understood.
pub(super) fn read(question: &Question, now: UnixTime) -> Result<Option<Asked>, String> {
    let Question { address, at, certificate, headers, sni, url, .. } = question;
    let Some((carrier, authority)) = carrier(url) else { return Ok(None) };
    if !headers.is_empty() {
        return Err("a stream has no headers: leave --header out".to_owned());
    }
    let place = authority.trim_end_matches('/').rsplit_once(':');
    let place = place.and_then(|(host, port)| Some((host, port.parse().ok().filter(|port| *port != 0)?)));
    let (host, port) =
        place.ok_or_else(|| format!("`{url}` is no stream: write `{}://host:port`", carrier.as_str()))?;
    let tls = if carrier == Carrier::Tls {
        let sni = sni.as_deref().unwrap_or(host);
        // The host stands in the handshake alone: an empty one is none.
        let tls = if sni.is_empty() {
            TrialTls { chain: chain(certificate.as_deref())?, sni: None }
        } else {
            let host = HostName::parse(sni).ok_or_else(|| format!("`{sni}` is no host name"))?;
            connection(&host, None, chain(certificate.as_deref())?)?
        };
        Some(tls)
    } else {
        None
    };
    let now = at.map_or(now, |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)));
    let peer = address.unwrap_or(LOCALHOST);
    Ok(Some(Asked { at: *at, now, trial: StreamTrial { carrier, peer, port, tls } }))
}

/// What carries the stream of `url`, and the rest of it; `None` where it is the URL of a request.
pub(super) fn carrier(url: &str) -> Option<(Carrier, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    Carrier::ALL.into_iter().find(|carrier| carrier.as_str() == scheme).map(|carrier| (carrier, rest))
}

/// Answers a question.
pub(super) fn explain(configuration: &Configuration<'_>, asked: &Asked) -> Explanation {
    let mut steps = vec![asked.step()];
    if let Some(connection) = &asked.trial.tls {
        steps.extend(tls::steps(configuration, connection, asked.now));
        steps.extend(client::stream_steps(configuration, connection, asked.now));
    }
    match asked.trial.route(configuration.snapshot, configuration.settings) {
        Some(route) => steps.extend([found(route), endpoints(configuration, route)]),
        None => steps.push(missing(configuration, &asked.trial)),
    }
    let (served, summary) = match asked.trial.decide(configuration.snapshot, configuration.settings, asked.now) {
        StreamOutcome::Carried(route) => (true, format!("carried by {}", rule(&route.name))),
        StreamOutcome::Closed(why) if asked.trial.carrier == Carrier::Udp => (false, format!("dropped: {why}")),
        StreamOutcome::Closed(why) => (false, format!("closed: {why}")),
        StreamOutcome::Handshake(why) => (false, format!("refused in the TLS handshake: {why}")),
    };
    Explanation { served, status: None, steps, summary }
}

impl Asked {
    fn step(&self) -> Step {
        let StreamTrial { port, tls, .. } = &self.trial;
        let message = match (self.trial.carrier, tls.as_ref().map(|tls| &tls.sni)) {
            (Carrier::Tls, Some(Some(sni))) => format!("TLS to port {port} with SNI {sni}"),
            (Carrier::Tls, _) => format!("TLS to port {port} without SNI"),
            (Carrier::Tcp, _) => format!("TCP to port {port}"),
            (Carrier::Udp, _) => format!("UDP to port {port}"),
        };
        Step::ok("stream", message).notes(self.at.map(|_| format!("as of {}", time::date(self.now))))
    }
}

fn found(route: &StreamRoute) -> Step {
    let (object, name) = split_rule(&route.name);
    Step::ok(STEP, format!("rule `{name}`")).of(shown(object), "spec.stream")
}

fn missing(configuration: &Configuration<'_>, trial: &StreamTrial) -> Step {
    let of_port = |key: &StreamKey| match key {
        StreamKey::Tcp(port) | StreamKey::Tls(port, _) | StreamKey::Udp(port) => *port == trial.port,
    };
    let mut known: Vec<_> = configuration.snapshot.streams.iter().filter(|(key, _)| of_port(key)).collect();
    known.sort_by_cached_key(|(key, _)| key.to_string());
    let known = known.into_iter().map(|(key, route)| format!("{key} belongs to {}", rule(&route.name)));
    // Why a rule that is written for the port is not used stands in its object.
    let refused = configuration.report.objects.iter().filter(|(object, _)| object.kind == Kind::ApisixRoute);
    let refused = refused.flat_map(|(object, report)| report.problems.iter().map(move |problem| (object, problem)));
    let refused = refused.filter(|(_, problem)| problem.invalid.field.starts_with("spec.stream["));
    let refused = refused.map(|(object, problem)| format!("{object}: {}", problem.invalid));
    let help = match trial.carrier {
        Carrier::Tls => "add a rule with the port and the host to spec.stream of an ApisixRoute",
        Carrier::Tcp | Carrier::Udp => "add a rule with the port and the protocol to spec.stream of an ApisixRoute",
    };
    Step::refused(STEP, "no rule is for it", help).notes(known.chain(refused).take(LISTED))
}

fn endpoints(configuration: &Configuration<'_>, route: &StreamRoute) -> Step {
    let (object, _) = split_rule(&route.name);
    let listed = route.backends.iter().flat_map(|(upstream, _)| addresses(upstream)).take(LISTED);
    let notes: Vec<_> = listed.chain(problems(configuration, object)).collect();
    let step = if route.backends.is_usable() {
        Step::ok(ENDPOINTS, format!("{}, one of them is chosen", route.backends.addresses().count()))
    } else {
        let help = "make a Pod of the Service ready: kubectl get endpointslices";
        Step::refused(ENDPOINTS, "none can take the stream", help)
    };
    step.of(shown(object), "spec.stream").notes(notes)
}

fn addresses(upstream: &Upstream) -> impl Iterator<Item = String> {
    upstream.nodes().iter().map(|node| {
        let over = if node.endpoint.transport.tls.is_some() { " over TLS" } else { "" };
        let health = match &node.health {
            Some(target) if !target.is_healthy() => ", unhealthy",
            _ => "",
        };
        format!("upstream {}: {}{over}{health}", upstream.name, node.endpoint.text)
    })
}
