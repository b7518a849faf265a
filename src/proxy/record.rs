//! What is kept of a client that was not let in: counts by host, and the audit log.

use std::fmt;
use std::net::SocketAddr;

use super::Shared;
use super::downstream::{Downstream, Tls};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::standing::Lost;
use crate::audit::{Action, Entry};
use crate::model::HostName;
use crate::snapshot::{HostStats, HostTls, Reason, Snapshot};

/// Records a request that failed with `error`; only what client authentication has to do with is kept.
pub(super) fn refused(exchange: &Exchange, error: &ProxyError) {
    let Some(reason) = reason(error) else { return };
    let shared = exchange.downstream.shared();
    match error {
        ProxyError::Misdirected(_) => {
            shared.metrics.misdirected.inc();
        }
        _ => shared.metrics.client_auth_refused.count(reason),
    }
    let snapshot = shared.current.load();
    let host = exchange.host.as_ref();
    count(&snapshot, &exchange.downstream, host, |stats| stats.refused(reason));
    tell(&snapshot, exchange, Action::Refused, reason, error);
}

/// Records a request that is served although `error` is wrong with it: its host's policy is in the mode `Observe`.
pub(super) fn observed(snapshot: &Snapshot, exchange: &Exchange, error: &ProxyError) {
    let Some(reason) = reason(error) else { return };
    exchange.downstream.shared().metrics.client_auth_observed.count(reason);
    count(snapshot, &exchange.downstream, exchange.host.as_ref(), |stats| stats.observed(reason));
    tell(snapshot, exchange, Action::Observed, reason, error);
}

/// Records a stream that is served although `lost` is wrong with its client: its host's policy is in the mode `Observe`. Logs it
/// unless the like was logged often of late.
pub(super) fn stream_observed(downstream: &Downstream, lost: &Lost) {
    let Some(tls) = &downstream.tls else { return };
    let shared = downstream.shared();
    let reason = lost.reason();
    shared.metrics.client_auth_observed.count(reason);
    let snapshot = shared.current.load();
    count(&snapshot, downstream, Some(&tls.sni), |stats| stats.observed(reason));
    let entry = entry(&snapshot, downstream, Some(&tls.sni), reason, lost);
    if shared.audit.tell(&Entry { action: Action::Observed, ..entry }) {
        tracing::info!(
            "would be refused, but is observed only: {lost}, client: {}, sni: \"{}\"",
            downstream.peer.ip(),
            tls.sni
        );
    }
}

/// Records a connection that is closed because its client is not let in to `host` any more.
pub(super) fn closed(shared: &Shared, downstream: &Downstream, host: &HostName, lost: &Lost) {
    let reason = lost.reason();
    shared.metrics.client_connections_closed.count(reason);
    let snapshot = shared.current.load();
    count(&snapshot, downstream, Some(host), |stats| stats.closed(reason));
    shared.audit.tell(&Entry {
        action: Action::Closed,
        request: None,
        ..entry(&snapshot, downstream, Some(host), reason, lost)
    });
}

/// Records a client that `host` refuses in the handshake itself; says whether to log it.
pub(super) fn handshake(shared: &Shared, host: &HostTls, peer: SocketAddr, client: &Tls, lost: &Lost) -> bool {
    let reason = lost.reason();
    shared.metrics.client_auth_refused.count(reason);
    if let Some(stats) = shared.current.load().stats.one_label(&client.sni) {
        stats.refused(reason);
    }
    shared.audit.tell(&Entry {
        action: Action::Refused,
        field: "spec.client",
        certificate: client.certificate(),
        host: client.sni.as_str(),
        object: Some(&host.object),
        peer,
        reason: reason.as_str(),
        request: None,
        resumed: Some(client.resumed),
        sni: Some(client.sni.as_str()),
        why: lost,
    })
}

fn reason(error: &ProxyError) -> Option<Reason> {
    match error {
        ProxyError::Misdirected(_) => Some(Reason::Misdirected),
        ProxyError::Refused { .. } => error.cause().map(Reason::Client),
        ProxyError::Unusable(_) => Some(Reason::UnusablePolicy),
        _ => None,
    }
}

/// Counts at the pattern of `host`, or of the handshake's host where `host` has none.
fn count(snapshot: &Snapshot, downstream: &Downstream, host: Option<&HostName>, count: impl Fn(&HostStats)) {
    let of_handshake = || snapshot.stats.one_label(&downstream.tls.as_ref()?.sni);
    if let Some(stats) = host.and_then(|host| snapshot.stats.most_specific(host)).or_else(of_handshake) {
        count(stats);
    }
}

fn tell(snapshot: &Snapshot, exchange: &Exchange, action: Action, reason: Reason, why: &ProxyError) {
    let downstream = &exchange.downstream;
    let request = Line(exchange);
    let entry = entry(snapshot, downstream, exchange.host.as_ref(), reason, why);
    downstream.shared().audit.tell(&Entry { action, request: Some(&request), ..entry });
}

fn entry<'a>(
    snapshot: &'a Snapshot,
    downstream: &'a Downstream,
    host: Option<&'a HostName>,
    reason: Reason,
    why: &'a dyn fmt::Display,
) -> Entry<'a> {
    let tls = downstream.tls.as_ref();
    let of_handshake = || snapshot.handshake(&tls?.sni);
    let decides = host.and_then(|host| snapshot.tls.most_specific(host)).or_else(of_handshake);
    Entry {
        action: Action::Refused,
        field: if reason == Reason::HostGone { "spec.hosts" } else { "spec.client" },
        certificate: tls.and_then(Tls::certificate),
        host: host.map_or("", HostName::as_str),
        object: decides.map(|tls| &tls.object),
        peer: downstream.peer,
        reason: reason.as_str(),
        request: None,
        resumed: tls.map(|tls| tls.resumed),
        sni: tls.map(|tls| tls.sni.as_str()),
        why,
    }
}

/// `GET /a HTTP/2.0`; who writes it escapes it.
struct Line<'a>(&'a Exchange);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.0.method, self.0.path(), self.0.protocol())
    }
}
