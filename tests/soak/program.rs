//! The program itself, on a folder of manifests.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::client::Connection;

/// How long the program may take for anything before the test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Program {
    admin: SocketAddr,
    folder: TempDir,
    pub(crate) https: SocketAddr,
    process: Child,
}

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Program {
    /// Starts it with objects that stay and objects that are rotated.
    pub(crate) async fn start(staying: &[Value], rotated: &[Value]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (admin, https) = (free(), free());
        write(&folder, "staying.json", staying);
        write(&folder, "rotated.json", rotated);
        let process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["run", "--http-listen", "127.0.0.1:0"])
            .args(["--admin-listen", &admin.to_string(), "--https-listen", &https.to_string(), "--manifests"])
            .arg(folder.path())
            .stdout(Stdio::null()) // the access log
            .spawn()
            .unwrap();
        let program = Self { admin, folder, https, process };
        let end = Instant::now() + PATIENCE;
        let is_up = async |address| TcpStream::connect(address).await.is_ok();
        while !is_up(https).await || !is_up(admin).await || program.enforced().await == 0 {
            assert!(Instant::now() < end, "the program does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        program
    }

    /// Replaces the rotated objects: the old or the new ones are there at any moment, and nothing in between.
    pub(crate) fn rotate(&self, objects: &[Value]) {
        write(&self.folder, "rotated.json", objects);
    }

    /// The generation that every open connection is held to.
    pub(crate) async fn enforced(&self) -> u64 {
        let metrics = Connection::plain(self.admin).await.get("localhost", "/metrics").await.body;
        let metrics = String::from_utf8(metrics.to_vec()).unwrap();
        let value = metrics.lines().find_map(|line| line.strip_prefix("portcullis_enforced_generation "));
        value.unwrap().parse().unwrap()
    }

    /// Waits until what was written after `generation` is in force.
    pub(crate) async fn enforces_more_than(&self, generation: u64) {
        let end = Instant::now() + PATIENCE;
        while self.enforced().await <= generation {
            assert!(Instant::now() < end, "a change of the manifests is not put in force");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        kibibytes.unwrap().trim().parse::<u64>().unwrap() << 10
    }

    /// Ends it as Kubernetes does, and sees that it ends in order.
    pub(crate) fn stop(mut self) {
        terminate(&self.process);
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn terminate(process: &Child) {
    let pid = rustix::process::Pid::from_child(process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

fn write(folder: &TempDir, name: &str, items: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let unfinished = folder.path().join(".unfinished");
    std::fs::write(&unfinished, list.to_string()).unwrap();
    std::fs::rename(unfinished, folder.path().join(name)).unwrap();
}
