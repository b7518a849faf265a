//! Where a server's instructions go: a callgrind profile of each scenario.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::sleep;

use crate::load::{Load, Scenario};
use crate::server::{Peer, Scene, Server};

/// Writes `SERVER.SCENARIO.PID` files into `folder`. They begin after the first operations: start-up is not in them.
pub(crate) async fn write(scene: &Scene, peers: &[Peer], folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    // nginx's worker gives up root's rights before it writes its profile.
    fs::set_permissions(folder, Permissions::from_mode(0o777))?;
    let folder = folder.canonicalize()?;
    for scenario in Scenario::ALL {
        let operations = match scenario {
            Scenario::Handshake => 200,
            Scenario::Http2 | Scenario::KeepAlive => 4_000,
        };
        for peer in peers {
            let file = folder.join(format!("{peer}.{}.%p", scenario.to_string().replace(['/', ' '], "-")));
            let mut server = Server::start(*peer, scene, &callgrind(&file)).await?;
            let mut load = Load::open(scenario, &server.client).await?;
            load.run(operations / 10).await?;
            for process in server.process.family() {
                begin(process)?;
            }
            load.run(operations).await?;
            drop(load);
            sleep(SETTLE).await;
            server.process.stop(Duration::from_mins(1))?;
            println!("{}: {operations} operations", file.display());
        }
    }
    Ok(())
}

/// How long a server has to see that its connections are closed.
const SETTLE: Duration = Duration::from_millis(500);

fn callgrind(file: &Path) -> Vec<OsString> {
    let out = format!("--callgrind-out-file={}", file.display());
    ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", &out].map(OsString::from).into()
}

/// Turns the counting on in one process.
fn begin(process: u32) -> anyhow::Result<()> {
    let done = Command::new("callgrind_control").args(["--instr=on", &process.to_string()]).output();
    let done = done.context("callgrind_control is missing: apt-get install valgrind")?;
    ensure!(done.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
