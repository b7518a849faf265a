//! A WebSocket library on both sides of the proxy.

use crate::bench::{self, Bench, Run};

#[tokio::test]
async fn python_websockets() {
    let bench = Bench::new().await;
    let server = bench::Server::start("websocket.py").await;
    bench.leads_to(server.address);
    let asked = Run::new("python3-pip").interpreter("python3", "websocket.py").env("PYTHONPATH", &bench::python());
    let output = asked.args(["ask", &bench.port(), bench::HOST, &bench.file("")]).output().await;
    assert_eq!(output, "text, binary, fragments, 4 MiB, ping, 64 at once, closed by the server: 4321 done\n");
}
