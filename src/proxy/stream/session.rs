//! One stream, as far as logs and metrics want to know.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use super::access_line;
use crate::proxy::downstream::Downstream;
use crate::proxy::error::ProxyError;
use crate::proxy::tunnel::Moved;
use crate::snapshot::{Carrier, Endpoint, Node, StreamEnd, StreamRoute, UnderWay, Upstream, hash};

/// A stream under way. When it is dropped, however it ended, it is counted and written to the access log.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) carrier: Carrier,
    pub(super) downstream: Arc<Downstream>,
    pub(super) end: StreamEnd,
    /// The endpoint that was tried last.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    pub(super) moved: Moved,
    /// The port that the client has connected to.
    pub(super) port: u16,
    pub(super) route: Option<Arc<StreamRoute>>,
    pub(super) started: Instant,
    /// Counts the stream at its endpoint, where that decides about others.
    under_way: Option<UnderWay>,
}

impl Session {
    pub(super) fn new(carrier: Carrier, port: u16, downstream: Arc<Downstream>) -> Self {
        Self {
            carrier,
            downstream,
            end: StreamEnd::Stopped,
            endpoint: None,
            moved: Moved::default(),
            port,
            route: None,
            started: Instant::now(),
            under_way: None,
        }
    }

    /// The upstream of the rule for the stream, and the place of the endpoint to try first. Every hash is that of the client's
    /// address: there is nothing else to know of a stream.
    ///
    /// # Errors
    /// How the stream ends where there is none.
    pub(super) fn upstream(&mut self, route: Option<Arc<StreamRoute>>) -> Result<(Arc<Upstream>, usize), StreamEnd> {
        let route = self.route.insert(route.ok_or(StreamEnd::NoRoute)?);
        let upstream = route.backends.pick().cloned().ok_or(StreamEnd::NoEndpoint)?;
        if !upstream.is_usable() {
            return Err(StreamEnd::NoEndpoint);
        }
        let first = upstream.first(|_| hash(self.downstream.ip.as_bytes()));
        Ok((upstream, first))
    }

    /// Notes that `node` of `upstream` is tried.
    pub(super) fn tries(&mut self, upstream: &Upstream, node: &Node) {
        self.endpoint = Some(node.endpoint.clone());
        self.under_way = upstream.occupy(node, Instant::now());
    }

    /// Notes whether the node that was tried last was reached, where that decides about others.
    pub(super) fn reached(&mut self, connected: Result<(), &ProxyError>) {
        let Some(under_way) = &mut self.under_way else { return };
        match connected.map_err(ProxyError::sign) {
            // There is no answer to judge: that there is a connection has to do.
            Ok(()) => under_way.answered(StatusCode::OK, Instant::now()),
            Err(Some(sign)) => under_way.failed(sign, Instant::now()),
            Err(None) => {}
        }
    }

    /// Tells why no endpoint could be reached.
    pub(super) fn unreachable(&self, why: &dyn std::fmt::Display) {
        tracing::error!(
            "cannot connect to the upstream: {why}, client: {}, port: {}, upstream: {}, route: {}",
            self.downstream.peer.ip(),
            self.port,
            self.endpoint.as_ref().map_or("-", |endpoint| &endpoint.text),
            self.route.as_ref().map_or("-", |route| &route.name),
        );
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let shared = self.downstream.shared();
        shared.metrics.streams.count(self.carrier, self.end);
        if let Some(route) = &self.route {
            route.stats.count(self.moved.received, self.moved.sent);
        }
        access_line::write(&shared.log, self, self.started.elapsed());
    }
}
