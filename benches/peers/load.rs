//! The load: what the client does, how often, and what it costs the server.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{Client, Connection, Protocol};
use crate::server::Server;
use crate::table::Figure;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Connect, shake hands in full with both certificates, send one request, close.
    Handshake,
    /// Requests over HTTP/2 connections, several streams each.
    Http2,
    /// Requests over HTTP/1.1 connections, one at a time each.
    KeepAlive,
}

impl Scenario {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 3] = [Self::KeepAlive, Self::Handshake, Self::Http2];

    /// Connections at a time.
    fn connections(self) -> usize {
        match self {
            Self::Handshake => 8,
            Self::Http2 | Self::KeepAlive => 16,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "full mTLS handshake",
            Self::Http2 => "HTTP/2 request",
            Self::KeepAlive => "keep-alive request",
        })
    }
}

/// One of the client's concurrent loops.
enum Worker {
    Connects(Client),
    Requests(Connection),
}

impl Worker {
    async fn run(&mut self, operations: usize) -> anyhow::Result<()> {
        match self {
            Self::Connects(client) => {
                for _ in 0..operations {
                    client.connect(Protocol::Http1).await?.only_request().await?;
                }
                Ok(())
            }
            Self::Requests(connection) => connection.requests(operations).await,
        }
    }
}

/// A scenario against one server, its connections open.
pub(crate) struct Load(Vec<Worker>);

impl Load {
    /// Opens what the scenario keeps open.
    pub(crate) async fn open(scenario: Scenario, client: &Client) -> anyhow::Result<Self> {
        let mut workers = Vec::new();
        for _ in 0..scenario.connections() {
            workers.push(match scenario {
                Scenario::Handshake => Worker::Connects(client.clone()),
                Scenario::Http2 => Worker::Requests(client.connect(Protocol::Http2).await?),
                Scenario::KeepAlive => Worker::Requests(client.connect(Protocol::Http1).await?),
            });
        }
        Ok(Self(workers))
    }

    /// Runs `operations` in all, spread over the connections, and fails with the first that goes wrong.
    pub(crate) async fn run(&mut self, operations: usize) -> anyhow::Result<()> {
        let connections = self.0.len();
        let mut running = JoinSet::new();
        for (index, mut worker) in self.0.drain(..).enumerate() {
            let share = operations / connections + usize::from(index < operations % connections);
            running.spawn(async move { worker.run(share).await.map(|()| worker) });
        }
        let all = async {
            while let Some(done) = running.join_next().await {
                self.0.push(done??);
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, all).await.context("the server is stuck")?
    }
}

/// After this long a load is stuck: the slowest takes a few seconds, and a minute or two under valgrind.
const PATIENCE: Duration = Duration::from_mins(5);

/// How long a server is left alone before it is read, so that the last log lines are written and connections are closed.
const SETTLE: Duration = Duration::from_millis(100);

/// The server's CPU time per operation in microseconds, after a tenth of the operations to warm up.
pub(crate) async fn measure(scenario: Scenario, server: &Server, operations: usize) -> anyhow::Result<Figure> {
    let failed = || format!("{scenario}, {}", server.peer);
    let mut load = Load::open(scenario, &server.client).await.with_context(failed)?;
    load.run(operations / 10).await.with_context(failed)?;
    sleep(SETTLE).await;
    let before = server.process.usage()?;
    load.run(operations).await.with_context(failed)?;
    sleep(SETTLE).await;
    let (busy, waited) = server.process.usage()?.since(&before);
    drop(load);
    sleep(SETTLE).await;
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let value = busy.as_secs_f64() * 1e6 / operations as f64;
    Ok(Figure { value, waited: waited.as_secs_f64() / busy.as_secs_f64() })
}
