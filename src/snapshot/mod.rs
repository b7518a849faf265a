//! What the proxy reads: one immutable value per published configuration. No Kubernetes type, no PEM, nothing left to
//! compile at request time.

mod backends;
mod balance;
mod client_auth;
mod connection;
mod current;
mod dump;
mod endpoint;
mod form;
mod health;
mod host_stats;
mod hosts;
mod http2;
mod latency;
mod rejection;
mod request_facts;
mod routes;
mod streams;
mod tls;
mod under_way;
mod upstream;
mod upstream_tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

pub use backends::Backends;
pub use balance::hash;
pub use client_auth::{ClientAuth, PolicyId};
pub use connection::{Answer, Connection};
pub use current::Current;
pub use dump::Dump;
pub use endpoint::{Endpoint, Transport};
pub use form::{Form, FormBody, FormKind};
pub use health::{CheckId, Checks, Target, Watched};
pub use host_stats::{AnchorUse, DAYS, Handshake, HostCounts, HostStats, Reason};
pub use hosts::HostTable;
pub use http2::{Http2, Http2Answer, Multiplexed, Room, Stream, Turn};
pub use rejection::Rejection;
pub use request_facts::RequestFacts;
pub use routes::{HostRoutes, Mismatch, Route, RouteStats};
pub use streams::{Carrier, StreamEnd, StreamKey, StreamRoute, StreamStats, StreamTable};
pub use tls::{HostTls, Inputs, Policy, ServerCertificate, dashed, identity_headers};
pub use under_way::UnderWay;
pub use upstream::{Host, Node, Upstream};
pub use upstream_tls::{ClientTls, NameOf, Secure, server_name};

use crate::model::HostName;

/// One published configuration.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// What the next snapshot takes over.
    pub carried: Carried,
    /// Counts the snapshots of this process; 0 is the empty one before anything was compiled.
    pub generation: u64,
    /// The names of all headers through which some object tells upstreams about clients, each as [`dashed`] has it. What
    /// clients send under them is removed from every request: hosts share upstreams.
    pub identity_headers: Arc<[Arc<str>]>,
    /// Routes by host.
    pub routes: HostTable<HostRoutes>,
    /// Rules for TCP, TLS and UDP by port.
    pub streams: StreamTable,
    /// Counters of every pattern in `tls`, filled by [`Snapshot::carry_stats`].
    pub stats: HostTable<Arc<HostStats>>,
    /// TLS by host.
    pub tls: HostTable<Arc<HostTls>>,
}

/// Values that live longer than one snapshot: a change of configuration keeps connections and counters.
#[derive(Debug, Default)]
pub struct Carried {
    /// The endpoints in use, with their idle connections.
    pub endpoints: HashMap<(SocketAddr, Transport), Arc<Endpoint>>,
    /// The endpoints whose health is looked after.
    pub health: HashMap<CheckId, Watched>,
    /// Counters by route name.
    pub stats: HashMap<Arc<str>, Arc<RouteStats>>,
    /// Counters of rules for streams by name.
    pub stream_stats: HashMap<Arc<str>, Arc<StreamStats>>,
}

impl Snapshot {
    /// Gives every host of `tls` its counters: those it had in `previous`, else new ones.
    pub fn carry_stats(&mut self, previous: &Self) {
        self.stats = HostTable::default();
        for (pattern, _) in self.tls.iter() {
            let stats = previous.stats.get(&pattern).cloned().unwrap_or_default();
            self.stats.insert(&pattern, stats);
        }
    }

    /// The endpoints whose health is looked after.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.carried.health.values().flat_map(|watched| watched.targets.values())
    }

    /// The TLS settings that a handshake for `sni` uses: the exact host, else the one wildcard that covers one label.
    pub fn handshake(&self, sni: &HostName) -> Option<&Arc<HostTls>> {
        self.tls.one_label(sni)
    }

    /// The policy that protects `host`: of the exact host, else of the longest wildcard, whatever the number of labels.
    /// (Wider than [`Snapshot::handshake`] on purpose: a route for `*.a.example` serves `x.y.a.example`, so the policy of
    /// `*.a.example` must protect it.)
    pub fn policy(&self, host: &HostName) -> &Policy {
        self.tls.most_specific(host).map_or(&Policy::Open, |tls| &tls.policy)
    }

    /// The route for a request: the most specific host whose routes match. A host's routes that do not match fall through
    /// to a less specific host (APISIX's `radixtree_host_uri`).
    pub fn route(&self, request: &RequestFacts<'_>) -> Option<&Arc<Route>> {
        self.routes.covering(request.host).find_map(|routes| routes.find(request))
    }
}
