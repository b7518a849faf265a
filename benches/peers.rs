//! Portcullis beside Debian's nginx and a naive proxy on this machine: the CPU time of requests and handshakes, and memory.
//!
//! `cargo bench --bench peers` measures; README.md in this folder says what and how. A wrong answer ends the run with exit
//! code 1; no figure ever does.

#[path = "peers/authority.rs"]
mod authority;
#[path = "peers/backend.rs"]
mod backend;
#[path = "peers/client.rs"]
mod client;
#[path = "peers/instructions.rs"]
mod instructions;
#[path = "peers/load.rs"]
mod load;
#[path = "peers/memory.rs"]
mod memory;
#[path = "peers/naive.rs"]
mod naive;
#[path = "peers/nginx.rs"]
mod nginx;
#[path = "peers/portcullis.rs"]
mod portcullis;
#[path = "peers/process.rs"]
mod process;
#[path = "peers/profile.rs"]
mod profile;
#[path = "peers/server.rs"]
mod server;
#[path = "peers/table.rs"]
mod table;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};

use crate::load::{Scenario, measure};
use crate::server::{Peer, Scene, Server};
use crate::table::{Figure, Table};

/// The CPU that the servers share, one of them being busy at a time.
const SERVER_CPU: &str = "0";

/// The CPU of this process: the client and the backend.
const CLIENT_CPU: &str = "1";

/// Compares Portcullis with Debian's nginx, and with the least that a proxy of its libraries can be.
#[derive(Debug, Parser)]
struct Arguments {
    /// Counts instructions under valgrind instead of measuring time and memory.
    #[arg(long)]
    instructions: bool,
    /// Measures one of the servers alone.
    #[arg(long)]
    only: Option<Peer>,
    /// Writes callgrind profiles of every scenario into this folder instead, for `callgrind_annotate`.
    #[arg(long)]
    profile: Option<PathBuf>,
    /// Rounds per scenario; in each the servers take turns.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Requests per round and server.
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Full handshakes per round and server.
    #[arg(long, default_value_t = 1_500)]
    handshakes: usize,
    /// Idle connections per round and server.
    #[arg(long, default_value_t = 1_000)]
    idle: usize,
    /// What `cargo bench` passes, and `cargo test --all-targets` does not.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(flatten)]
    naive: naive::Options,
}

impl Arguments {
    fn operations(&self, scenario: Scenario) -> usize {
        match scenario {
            Scenario::Handshake => self.handshakes,
            Scenario::Http2 | Scenario::KeepAlive => self.requests,
        }
    }
}

fn main() -> anyhow::Result<()> {
    // Before the arguments are read: what follows `cargo test --all-targets --` is for test runners.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing measured: `cargo bench --bench peers` does");
        return Ok(());
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(served) = arguments.naive.serve() {
        return runtime.block_on(served); // pinned by the process that measures
    }
    pin()?;
    runtime.block_on(run(&arguments))
}

/// Keeps this process off the servers' CPU; its threads, should it ever have any, inherit that.
fn pin() -> anyhow::Result<()> {
    let process = std::process::id().to_string();
    let done = Command::new("taskset")
        .args(["-p", "-c", CLIENT_CPU, &process])
        .output()
        .context("taskset is missing: apt-get install util-linux")?;
    if !done.status.success() {
        bail!("two CPUs are needed: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let peers: Vec<Peer> = arguments.only.map_or_else(|| Peer::value_variants().to_vec(), |only| vec![only]);
    let scene = Scene::new(backend::start().await?)?;
    for peer in &peers {
        println!("{peer}: {}", peer.version()?);
    }
    if arguments.instructions || arguments.profile.is_some() {
        let found = Command::new("valgrind").arg("--version").output();
        found.context("valgrind is missing: apt-get install valgrind")?;
    }
    if let Some(folder) = &arguments.profile {
        return profile::write(&scene, &peers, folder).await;
    }
    let mut table = Table::new(&peers);
    if arguments.instructions {
        instructions::count(&scene, &peers, &mut table).await?;
    } else {
        time(arguments, &scene, &peers, &mut table).await?;
        memory::measure(&scene, &peers, arguments.idle, &mut table).await?;
    }
    println!("\n{table}");
    Ok(())
}

/// Measures the CPU time of every scenario, all servers running from beginning to end.
async fn time(arguments: &Arguments, scene: &Scene, peers: &[Peer], table: &mut Table) -> anyhow::Result<()> {
    let mut servers = Vec::new();
    for peer in peers {
        servers.push(Server::start(*peer, scene, &[]).await?);
    }
    for scenario in Scenario::ALL {
        let name = format!("CPU µs per {scenario}");
        for round in 0..arguments.rounds {
            let mut figures = vec![Figure::exact(0.0); servers.len()];
            for turn in 0..servers.len() {
                // Who goes first changes from round to round.
                let index = (turn + round) % servers.len();
                figures[index] = measure(scenario, &servers[index], arguments.operations(scenario)).await?;
            }
            table.round(&name, figures);
        }
    }
    Ok(())
}
