//! The health of endpoints. Only those that are watched have a series, so there are as many as the configuration asks for.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::snapshot::Snapshot;

/// Writes the series of every endpoint of `snapshot` that is watched. One that several settings of its upstream watch is healthy
/// where all of them say so.
pub(super) fn encode(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut endpoints = BTreeMap::new();
    for target in snapshot.targets() {
        let healthy = endpoints.entry((&*target.checks.id.upstream, &*target.endpoint.text)).or_insert(true);
        *healthy &= target.is_healthy();
    }
    let help = "Whether an endpoint's health checks find it healthy (1) or not (0)";
    let mut family = encoder.encode_descriptor("upstream_endpoint_healthy", help, None, MetricType::Gauge)?;
    for ((upstream, endpoint), healthy) in endpoints {
        let labels = [("upstream", upstream), ("endpoint", endpoint)];
        ConstGauge::new(i64::from(healthy)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
