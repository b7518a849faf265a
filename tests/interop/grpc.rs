//! A real client and a real server of gRPC, with the proxy and mutual TLS between them.

use serde_json::json;

use crate::bench::{self, Bench, Run};

#[tokio::test]
async fn python_grpc() {
    let bench = Bench::new().await;
    let server = bench::Server::start("rpc.py").await;
    bench.leads_to(server.address);
    bench.apply(json!({
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixUpstream",
        "metadata": {"name": "upstream", "namespace": "default"}, "spec": {"scheme": "grpc"},
    }));
    let asked = Run::new("python3-pip").interpreter("python3", "rpc.py").env("PYTHONPATH", &bench::python());
    let output = asked.args(["ask", &bench.port(), bench::HOST, &bench.file("")]).output().await;
    let lines = [
        "unary interop.test b'\\x00'",
        "download True",
        "upload 4498500",
        "chat EINS ZWEI DREI",
        "fails FAILED_PRECONDITION nein, süß",
        "waits DEADLINE_EXCEEDED",
        "unknown UNIMPLEMENTED",
        "at once True",
        "bad UNAUTHENTICATED",
        "None UNAUTHENTICATED",
    ];
    assert_eq!(output.lines().collect::<Vec<_>>(), lines);
}
