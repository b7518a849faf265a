//! Instructions per operation under valgrind: the same figure on a busy machine as on an idle one.

use std::ffi::OsString;
use std::fs::{self, DirEntry, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::sleep;

use crate::load::{Load, Scenario};
use crate::server::{Peer, Scene, Server};
use crate::table::{Figure, Table};

/// Counts what two runs of different length need; their difference is free of start and end.
pub(crate) async fn count(scene: &Scene, peers: &[Peer], table: &mut Table) -> anyhow::Result<()> {
    for scenario in Scenario::ALL {
        let (few, many) = match scenario {
            Scenario::Handshake => (50, 250),
            Scenario::Http2 | Scenario::KeepAlive => (800, 4_800),
        };
        let mut figures = Vec::new();
        for peer in peers {
            let first = run(scene, *peer, scenario, few).await?;
            let second = run(scene, *peer, scenario, many).await?;
            #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
            figures.push(Figure::exact(second.saturating_sub(first) as f64 / (many - few) as f64));
        }
        table.round(&format!("instructions per {scenario}"), figures);
    }
    Ok(())
}

/// The instructions of a server's whole life with `operations` in it, in all its processes.
async fn run(scene: &Scene, peer: Peer, scenario: Scenario, operations: usize) -> anyhow::Result<u64> {
    let folder = tempfile::tempdir()?;
    // nginx's worker gives up root's rights before it writes its count.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777))?;
    let mut server = Server::start(peer, scene, &cachegrind(folder.path())).await?;
    let mut load = Load::open(scenario, &server.client).await?;
    load.run(operations).await?;
    drop(load);
    sleep(SETTLE).await;
    let processes = server.process.family().len();
    server.process.stop(Duration::from_mins(1))?;
    let counts = counts(folder.path())?;
    ensure!(counts.len() == processes, "{} of {processes} processes left a count", counts.len());
    Ok(counts.iter().sum())
}

/// Counts without a model of caches; every process writes a file of its own into `folder`.
fn cachegrind(folder: &Path) -> Vec<OsString> {
    let out = format!("--cachegrind-out-file={}/%p", folder.display());
    ["valgrind", "--quiet", "--tool=cachegrind", "--cache-sim=no", &out].map(OsString::from).into()
}

/// How long a server has to see that its connections are closed.
const SETTLE: Duration = Duration::from_millis(500);

/// The instructions of each process; valgrind writes them when a process ends of its own accord.
fn counts(folder: &Path) -> anyhow::Result<Vec<u64>> {
    let count = |file: io::Result<DirEntry>| {
        let text = fs::read_to_string(file?.path())?;
        let line = text.lines().find_map(|line| line.strip_prefix("summary:")).context("a count is cut off")?;
        Ok(line.trim().parse()?)
    };
    fs::read_dir(folder)?.map(count).collect()
}
