//! A snapshot as text: sorted, without key material, for golden tests and the debug page.

use std::sync::Arc;

use serde::Serialize;

use super::{Backends, Policy, Snapshot, StreamKey, StreamRoute, Upstream};

/// A snapshot in words. Equal snapshots, with their endpoints in equal health, give equal dumps.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Dump {
    /// `upstream endpoint health` lines of the endpoints that are watched.
    pub health: Vec<String>,
    /// `host path -> route` lines with methods and weighted endpoints.
    pub routes: Vec<String>,
    /// `port -> rule endpoints` lines.
    pub streams: Vec<String>,
    /// `host -> object policy` lines.
    pub tls: Vec<String>,
}

impl Snapshot {
    /// Describes the snapshot.
    pub fn dump(&self) -> Dump {
        let mut routes = Vec::new();
        for (host, table) in self.routes.iter() {
            for (path, route) in table.iter() {
                routes.push(format!("{host} {path} -> {} {}", route.name, describe(&route.backends)));
            }
        }
        let stream = |(key, route): (StreamKey, &Arc<StreamRoute>)| {
            format!("{key} -> {} {}", route.name, describe(&route.backends))
        };
        let mut streams: Vec<_> = self.streams.iter().map(stream).collect();
        let mut tls: Vec<_> = self
            .tls
            .iter()
            .map(|(host, tls)| {
                let policy = match &tls.policy {
                    Policy::Open => "open".to_owned(),
                    Policy::Refuse(why) => format!("refuse ({why})"),
                    Policy::Require(auth) => format!("require {} depth {}", auth.id, auth.settings.depth),
                };
                let server = match &tls.server {
                    Ok(_) => "serving".to_owned(),
                    Err(why) => format!("refusing handshakes ({why})"),
                };
                format!("{host} -> {} {policy}, {server}", tls.object)
            })
            .collect();
        let mut health: Vec<_> = self
            .targets()
            .map(|target| {
                let health = if target.is_healthy() { "healthy" } else { "unhealthy" };
                format!("{} {} {health}", target.checks.id.upstream, target.endpoint.text)
            })
            .collect();
        health.sort();
        routes.sort();
        streams.sort();
        tls.sort();
        Dump { health, routes, streams, tls }
    }
}

/// Weighted upstreams with their endpoints.
fn describe(backends: &Backends) -> String {
    let upstream = |(upstream, weight): (&Upstream, u64)| {
        let endpoints: Vec<_> = upstream.nodes().iter().map(|node| node.endpoint.address.to_string()).collect();
        format!("{weight}*{}[{}]", upstream.name, endpoints.join(","))
    };
    backends.iter().map(upstream).collect::<Vec<_>>().join(" ")
}
