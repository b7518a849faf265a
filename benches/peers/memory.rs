//! Resident memory: at rest, and per idle connection.

use std::time::Duration;

use anyhow::Context;
use tokio::time::sleep;

use crate::client::{Connection, Protocol};
use crate::server::{Peer, Scene, Server};
use crate::table::{Figure, Table};

/// Memory varies little from one start to the next.
const ROUNDS: usize = 3;

/// Starts each server anew in each round, reads its memory, opens `connections` with one request each, and reads it again.
pub(crate) async fn measure(
    scene: &Scene,
    peers: &[Peer],
    connections: usize,
    table: &mut Table,
) -> anyhow::Result<()> {
    for _ in 0..ROUNDS {
        let mut rounds = [const { Vec::new() }; 3];
        for peer in peers {
            let figures = one(scene, *peer, connections).await.with_context(|| format!("memory of {peer}"))?;
            for (round, value) in rounds.iter_mut().zip(figures) {
                round.push(Figure::exact(value));
            }
        }
        let idle = format!("KiB per idle mTLS connection, of {connections}");
        for (name, figures) in ["MiB at rest (RSS)", "MiB at rest (PSS)", &idle].into_iter().zip(rounds) {
            table.round(name, figures);
        }
    }
    Ok(())
}

/// At rest in MiB, RSS and PSS, and KiB per idle connection.
#[expect(clippy::cast_precision_loss, reason = "KiB far below 2^52")]
async fn one(scene: &Scene, peer: Peer, connections: usize) -> anyhow::Result<[f64; 3]> {
    let server = Server::start(peer, scene, &[]).await?;
    sleep(SETTLE).await;
    let rss = server.process.memory("Rss")?;
    let pss = server.process.memory("Pss")?;
    let mut idle: Vec<Connection> = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = server.client.connect(Protocol::Http1).await?;
        connection.requests(1).await?;
        idle.push(connection);
    }
    sleep(SETTLE).await;
    let per_connection = server.process.memory("Rss")?.saturating_sub(rss) as f64 / connections as f64;
    Ok([rss as f64 / 1024.0, pss as f64 / 1024.0, per_connection])
}

/// How long a server is left alone before it is read.
const SETTLE: Duration = Duration::from_millis(300);
