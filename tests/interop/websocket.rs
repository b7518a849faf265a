//! A WebSocket library on both sides of the proxy.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::bench::{self, Bench, Run};

#[tokio::test]
async fn python_websockets() {
    let bench = Bench::new().await;
    let mut command = Command::new("python3");
    command.arg(bench::clients().join("websocket.py")).arg("serve").env("PYTHONPATH", bench::python());
    let mut server = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port =
        tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await.expect("the server does not start");
    let port: u16 =
        port.unwrap().expect("the server says its port; `e2e/run interop` installs its library").parse().unwrap();
    bench.leads_to(([127, 0, 0, 1], port).into());
    let asked = Run::new("python3-pip").interpreter("python3", "websocket.py").env("PYTHONPATH", &bench::python());
    let output = asked.args(["ask", &bench.port(), bench::HOST, &bench.file("")]).output().await;
    assert_eq!(output, "text, binary, fragments, 4 MiB, ping, 64 at once, closed by the server: 4321 done\n");
}
