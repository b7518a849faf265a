//! A snapshot as text: sorted, without key material, for golden tests and the debug page.

use serde::Serialize;

use super::{Policy, Snapshot};

/// A snapshot in words. Equal snapshots, with their endpoints in equal health, give equal dumps.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Dump {
    /// `upstream endpoint health` lines of the endpoints that are watched.
    pub health: Vec<String>,
    /// `host path -> route` lines with methods and weighted endpoints.
    pub routes: Vec<String>,
    /// `host -> object policy` lines.
    pub tls: Vec<String>,
}

impl Snapshot {
    /// Describes the snapshot.
    pub fn dump(&self) -> Dump {
        let mut routes = Vec::new();
        for (host, table) in self.routes.iter() {
            for (path, route) in table.iter() {
                let backends: Vec<_> = route
                    .backends
                    .iter()
                    .map(|(upstream, weight)| {
                        let endpoints: Vec<_> =
                            upstream.nodes().iter().map(|node| node.endpoint.address.to_string()).collect();
                        format!("{weight}*{}[{}]", upstream.name, endpoints.join(","))
                    })
                    .collect();
                routes.push(format!("{host} {path} -> {} {}", route.name, backends.join(" ")));
            }
        }
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
        tls.sort();
        Dump { health, routes, tls }
    }
}
