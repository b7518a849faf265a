//! Series by host. The label is the pattern of the configuration, never what a client sent, and only what has happened has a
//! series: ten thousand hosts without traffic cost their certificates' expiry alone.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::model::HostPattern;
use crate::snapshot::{AnchorUse, DAYS, Handshake, HostCounts, HostTls, Policy, Reason, Snapshot};
use crate::trust;

/// Counters in the order of [`Reason::ALL`].
type ByReason = [u64; Reason::ALL.len()];

/// A host as its series tell it.
struct Host<'a> {
    counts: Option<&'a HostCounts>,
    name: String,
    tls: &'a HostTls,
}

/// Writes the series of every host of `snapshot`.
pub(super) fn encode(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut hosts: Vec<_> = snapshot.tls.iter().map(|(pattern, tls)| Host::new(snapshot, &pattern, tls)).collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    handshakes(&hosts, encoder)?;
    let help = "Requests of a host refused by its client authentication";
    reasons(&hosts, encoder, ("host_client_auth_refused", help), refused)?;
    let help = "Requests of a host that would be refused if its policy were enforced";
    reasons(&hosts, encoder, ("host_client_auth_observed", help), HostCounts::observed)?;
    let help = "Connections of a host closed because their client is not let in any more";
    reasons(&hosts, encoder, ("host_client_connections_closed", help), HostCounts::closed)?;
    misdirected(&hosts, encoder)?;
    authorities(&hosts, encoder)?;
    days_left(&hosts, encoder)?;
    expiry(&hosts, encoder)
}

impl<'a> Host<'a> {
    fn new(snapshot: &'a Snapshot, pattern: &HostPattern, tls: &'a HostTls) -> Self {
        let counts = snapshot.stats.get(pattern).and_then(|stats| stats.counts());
        Self { counts, name: pattern.to_string(), tls }
    }
}

fn handshakes(hosts: &[Host<'_>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "TLS handshakes of a host by result, and why they failed";
    let mut family = encoder.encode_descriptor("host_handshakes", help, None, MetricType::Counter)?;
    for (host, counts) in counted(hosts) {
        for (end, count) in Handshake::ALL.iter().zip(counts.handshakes()).filter(|(_, count)| *count > 0) {
            let (result, reason) = end.labels();
            let labels = [("host", host), ("result", result), ("reason", reason)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn counted<'a>(hosts: &'a [Host<'_>]) -> impl Iterator<Item = (&'a str, &'a HostCounts)> {
    hosts.iter().filter_map(|host| Some((&*host.name, host.counts?)))
}

fn reasons(
    hosts: &[Host<'_>],
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    of: fn(&HostCounts) -> ByReason,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (host, counts) in counted(hosts) {
        for (reason, count) in Reason::ALL.iter().zip(of(counts)).filter(|(_, count)| *count > 0) {
            let labels = [("host", host), ("reason", reason.as_str())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// Refusals; misdirected requests have a family of their own, because no certificate would help them.
fn refused(counts: &HostCounts) -> ByReason {
    let mut refused = counts.refused();
    refused[Reason::Misdirected.index()] = 0;
    refused
}

fn misdirected(hosts: &[Host<'_>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Requests for a host answered with 421: their connection does not satisfy what it asks for";
    let mut family = encoder.encode_descriptor("host_misdirected", help, None, MetricType::Counter)?;
    for (host, counts) in counted(hosts) {
        let count = counts.refused()[Reason::Misdirected.index()];
        if count > 0 {
            ConstCounter::new(count).encode(family.encode_family(&[("host", host)])?)?;
        }
    }
    Ok(())
}

/// The trust anchors that are configured and have vouched for a client.
fn used<'a>(hosts: &'a [Host<'a>]) -> impl Iterator<Item = ([(&'static str, String); 3], AnchorUse)> {
    hosts.iter().flat_map(|host| {
        let anchors = match &host.tls.policy {
            Policy::Require(auth) => Some(auth.requirements.anchors.iter()),
            Policy::Open | Policy::Refuse(_) => None,
        };
        anchors.into_iter().flatten().filter_map(|anchor| {
            let sha256 = anchor.certificate_sha256();
            let used = host.counts?.anchor(sha256)?;
            let fingerprint = sha256[..8].iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
            let labels =
                [("host", host.name.clone()), ("authority", anchor.subject().to_owned()), ("sha256", fingerprint)];
            Some((labels, used))
        })
    })
}

fn authorities(hosts: &[Host<'_>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Handshakes whose client an authority vouched for; sha256 is the beginning of its fingerprint";
    let mut family = encoder.encode_descriptor("client_authority_uses", help, None, MetricType::Counter)?;
    for (labels, used) in used(hosts) {
        ConstCounter::new(used.count).encode(family.encode_family(&labels)?)?;
    }
    let help = "When an authority last vouched for the client of a handshake";
    let name = "client_authority_last_used_timestamp";
    let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
    for (labels, used) in used(hosts) {
        let last = i64::try_from(used.last).unwrap_or(i64::MAX);
        ConstGauge::new(last).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn days_left(hosts: &[Host<'_>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Days that the certificates of clients had left in their handshake";
    let mut family = encoder.encode_descriptor("client_certificate_days_left", help, None, MetricType::Histogram)?;
    for (host, counts) in counted(hosts) {
        let (days, sum) = counts.days();
        let total = days.iter().sum();
        if total == 0 {
            continue;
        }
        let bounds = DAYS.iter().map(|days| f64::from(*days)).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(days).collect();
        #[expect(clippy::cast_precision_loss, reason = "a sum of days: exact up to 2^53")]
        let sum = sum as f64;
        let labels = [("host", host)];
        family.encode_family(&labels)?.encode_histogram::<[(&str, &str); 0]>(sum, total, &buckets, None)?;
    }
    Ok(())
}

fn expiry(hosts: &[Host<'_>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "When the first certificate or revocation list of a host ends: kind is server, client_ca or crl";
    let name = "certificate_not_after_timestamp";
    let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
    for host in hosts {
        let object = host.tls.object.to_string();
        for (kind, end) in ends(host.tls) {
            let labels = [("host", &*host.name), ("object", &*object), ("kind", kind)];
            ConstGauge::new(end).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// The ends that a host has, in seconds since the epoch.
fn ends(tls: &HostTls) -> impl Iterator<Item = (&'static str, i64)> {
    let server = tls.certificates.iter().map(|certificate| certificate.validity.not_after).min();
    let (authority, list) = match &tls.policy {
        Policy::Require(auth) => {
            let authority = auth.requirements.anchors.iter().map(trust::Anchor::not_after).min();
            (authority, auth.requirements.revocation.as_ref().and_then(trust::Revocation::next_update))
        }
        Policy::Open | Policy::Refuse(_) => (None, None),
    };
    let ends = [("server", server), ("client_ca", authority), ("crl", list)];
    ends.into_iter().filter_map(|(kind, end)| Some((kind, end?)))
}
