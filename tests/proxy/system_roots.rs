//! The system's authorities, which a process reads once: so in a process of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Response;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::client::Connection;
use crate::objects::route_for_everything;
use crate::pki::{Authority, PKI};
use crate::tls_upstream::{serve, server_tls};
use crate::upstream::text;

const PATIENCE: Duration = Duration::from_secs(60);

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The status of a request to `host` at a process that serves `objects` and whose system has one authority.
async fn status(objects: &[Value], authority: &Authority, host: &str) -> u16 {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<_> = objects.iter().map(ToString::to_string).collect();
    std::fs::write(folder.path().join("objects.yaml"), documents.join("\n---\n")).unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, authority.certificate.pem()).unwrap();
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["run", "--manifests", "objects.yaml", "--http-listen", &address.to_string()]);
    command.args(["--https-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.env("SSL_CERT_FILE", roots).env_remove("SSL_CERT_DIR").current_dir(folder.path()).stdout(Stdio::null());
    let _process = Process(command.spawn().unwrap());
    let stream = tokio::time::timeout(PATIENCE, connected(address)).await.expect("it does not listen");
    let mut client = Connection::over(stream, false).await;
    tokio::time::timeout(PATIENCE, client.get(host, "/")).await.expect("no answer").status.as_u16()
}

async fn connected(address: SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn an_endpoint_is_held_to_the_authorities_of_the_system() {
    let upstream =
        serve(server_tls(&["a.test"], &["http/1.1"], None), |_| async { Response::new(text("hello")) }).await;
    let settings = json!({
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixUpstream",
        "metadata": {"name": "upstream", "namespace": "default"},
        "spec": {"scheme": "https", "tlsVerify": {"systemRoots": true}},
    });
    let objects: Vec<_> = route_for_everything(upstream.address).into_iter().chain([settings]).collect();
    assert_eq!(status(&objects, &PKI.servers, "a.test").await, 200);
    assert_eq!(status(&objects, &PKI.servers, "b.test").await, 502, "the certificate is for another name");
    assert_eq!(status(&objects, &PKI.others, "a.test").await, 502, "its authority is not one of the system's");
}
