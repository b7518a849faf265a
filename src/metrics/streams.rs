//! Streams of TCP, TLS and UDP.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::{Labels, of};
use crate::snapshot::{Carrier, Snapshot, StreamEnd};

/// `portcullis_streams_total{carrier, end}`, and the datagrams that were not passed on.
#[derive(Debug)]
pub struct Streams {
    /// By [`Carrier`] and [`StreamEnd`], in declaration order.
    ended: [[Counter; StreamEnd::ALL.len()]; Carrier::ALL.len()],
    /// `portcullis_datagrams_dropped_total{reason="full"}`: of new clients while there was no room for them.
    pub full: Counter,
    /// `portcullis_datagrams_dropped_total{reason="no_endpoint"}`: the rule of the port has no endpoint.
    pub no_endpoint: Counter,
    /// `portcullis_datagrams_dropped_total{reason="no_route"}`: no rule is for the port.
    pub no_route: Counter,
    /// `portcullis_datagrams_dropped_total{reason="not_taken"}`: the next hop's socket did not take it.
    pub not_taken: Counter,
}

impl Streams {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let family = Family::<Labels, Counter>::default();
        registry.register("streams", "Streams of TCP, TLS and UDP that have ended, by how they did", family.clone());
        let of_carrier = |carrier: Carrier| {
            StreamEnd::ALL.map(|end| of(&family, &[("carrier", carrier.as_str()), ("end", end.as_str())]))
        };
        let ended = Carrier::ALL.map(of_carrier);
        let family = Family::<Labels, Counter>::default();
        registry.register("datagrams_dropped", "Datagrams that were not passed on", family.clone());
        let dropped = |reason| of(&family, &[("reason", reason)]);
        let (full, no_endpoint) = (dropped("full"), dropped("no_endpoint"));
        Self { ended, full, no_endpoint, no_route: dropped("no_route"), not_taken: dropped("not_taken") }
    }

    /// Counts a stream that has ended.
    pub fn count(&self, carrier: Carrier, end: StreamEnd) {
        self.ended[carrier as usize][end as usize].inc();
    }
}

/// What each rule for streams has carried.
pub(super) fn encode(snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let by_name: BTreeMap<&str, _> = snapshot.streams.iter().map(|(_, route)| (&*route.name, &route.stats)).collect();
    let help = "Streams that have ended, by rule";
    let mut family = encoder.encode_descriptor("route_streams", help, None, MetricType::Counter)?;
    for (route, stats) in &by_name {
        ConstCounter::new(stats.streams()).encode(family.encode_family(&[("route", *route)])?)?;
    }
    let help = "Bytes of streams that have ended, by rule: received from clients, sent to them";
    let mut family = encoder.encode_descriptor("route_stream", help, Some(&Unit::Bytes), MetricType::Counter)?;
    for (route, stats) in &by_name {
        let (received, sent) = stats.bytes();
        for (direction, bytes) in [("received", received), ("sent", sent)] {
            let labels = [("route", *route), ("direction", direction)];
            ConstCounter::new(bytes).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
