//! A process that starts anew (case 24 of APISIX's suite for routes).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use crate::client::Connection;
use crate::play::{backend, named, route, rule};

const PATIENCE: Duration = Duration::from_secs(60);

const ROUTES: usize = 500;

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn connected(address: SocketAddr) -> TcpStream {
    loop {
        if let Ok(stream) = TcpStream::connect(address).await {
            return stream;
        }
        tokio::task::yield_now().await; // as early as can be
    }
}

/// There is no time between the first connection that is taken and the last route: 404 and 502 are never the answer.
#[tokio::test]
async fn the_first_answers_of_a_process_are_those_of_every_route() {
    let upstream = named("served").await;
    let folder = tempfile::tempdir().unwrap();
    let host = |index: usize| format!("h{index}.test");
    let routes = (0..ROUTES).map(|index| {
        let rule = rule("all", "/*", "there", &json!({"match": {"hosts": [host(index)]}}));
        route(&format!("r{index}"), &[rule])
    });
    let objects: Vec<_> = backend("there", &[upstream.address]).into_iter().chain(routes).collect();
    let documents: Vec<_> = objects.iter().map(ToString::to_string).collect();
    std::fs::write(folder.path().join("objects.yaml"), documents.join("\n---\n")).unwrap();
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    for start in ["first", "second"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["run", "--manifests", "objects.yaml", "--http-listen", &address.to_string()]);
        command.args(["--https-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.current_dir(folder.path()).stdout(Stdio::null());
        let _process = Process(command.spawn().unwrap());
        let stream = tokio::time::timeout(PATIENCE, connected(address)).await.expect("it does not listen");
        let mut client = Connection::over(stream, false).await;
        for index in (0..ROUTES).rev() {
            let answer = tokio::time::timeout(PATIENCE, client.get(&host(index), "/")).await.expect("no answer");
            assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"served"[..]), "the {start} start, {index}");
        }
    }
}
