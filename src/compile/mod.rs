//! From what the sources said to what the proxy reads: class filter, references, conflicts, precedence, certificates.
//!
//! Pure and synchronous: no clock, no I/O. The previous snapshot serves two purposes only: values whose inputs did not
//! change are shared with it (rustls configurations, connection pools, counters), and a server certificate that
//! disappears goes on serving its last good value.

mod attach;
mod carries;
mod certificate;
mod data;
mod health;
mod nodes;
mod policy;
mod report;
mod routes;
mod shared;
mod streams;
mod tls;
mod tls_config;
mod upstream_report;
mod upstream_tls;
mod upstreams;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

pub use report::{Condition, ObjectReport, Report};
pub use tls_config::{Handshake, TlsContext, server_config};

use crate::model::{Protocol, StreamPorts};
use crate::snapshot::{Carried, Snapshot};
use crate::world::World;

/// What compilation needs to know beside the objects; fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Context {
    /// `spec.controller` of the IngressClasses that are ours.
    pub controller: Arc<str>,
    /// The ingress class that is ours even without an IngressClass object.
    pub class: Arc<str>,
    /// What listens for streams, on every address of the machine that leads there; none where nobody knows.
    pub stream_addresses: BTreeSet<(Protocol, SocketAddr)>,
    /// The ports that are opened for streams; `None` where nobody knows, and every rule is taken as it is written.
    pub stream_ports: Option<StreamPorts>,
    /// Cryptography shared by all hosts.
    pub tls: TlsContext,
}

/// A compiled world.
#[derive(Debug)]
pub struct Compiled {
    /// The names whose addresses the snapshot needs.
    pub names: BTreeSet<Arc<str>>,
    /// When the report has to be made again because time has passed, in seconds since the epoch; `None` for never.
    pub next: Option<i64>,
    /// What became of every object that is ours.
    pub report: Report,
    /// What the proxy reads.
    pub snapshot: Snapshot,
}

/// Compiles `world` at the time `now`, in seconds since the epoch, which only the report depends on. Equal worlds give equal dumps, whatever `previous` was, but for certificates that have disappeared.
pub fn compile(world: &World, context: &Context, previous: &Snapshot, now: i64) -> Compiled {
    let mut report = Report::default();
    let tls::Hosts { identity_headers, next, table: tls } = tls::compile(world, context, previous, now, &mut report);
    let mut endpoints = upstreams::Endpoints::new(&previous.carried);
    let (routes, stats) = routes::compile(world, context, previous, &mut endpoints, &mut report);
    let (streams, stream_stats) = streams::compile(world, context, previous, &mut endpoints, &mut report);
    let carried = Carried { endpoints: endpoints.current, health: endpoints.health, stats, stream_stats };
    let change = upstream_report::report(world, context, &carried, now, &mut report);
    report.name_fields_of_resources();
    let next = next.into_iter().chain(change).min();
    let generation = previous.generation + 1;
    let mut snapshot = Snapshot { carried, generation, identity_headers, routes, streams, tls, ..Snapshot::default() };
    snapshot.carry_stats(previous);
    Compiled { names: endpoints.names, next, report, snapshot }
}

#[cfg(test)]
mod tests;
