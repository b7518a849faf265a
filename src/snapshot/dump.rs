//! A snapshot as text: sorted, without key material, for golden tests and the debug page.

use serde::Serialize;

use super::{Policy, Snapshot};

/// A snapshot in words. Equal snapshots give equal dumps.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Dump {
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
        routes.sort();
        tls.sort();
        Dump { routes, tls }
    }
}
