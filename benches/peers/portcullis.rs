//! Portcullis on a folder of manifests.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::authority::HOST;
use crate::server::{Launch, Scene, free_address, write};

/// The program that `cargo bench` has just built.
const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");

pub(crate) fn version() -> anyhow::Result<String> {
    let output = Command::new(PROGRAM).arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Writes the manifests to `folder`.
pub(crate) fn launch(folder: &Path, address: SocketAddr, scene: &Scene) -> anyhow::Result<Launch> {
    let manifests = folder.join("manifests");
    std::fs::create_dir(&manifests)?;
    for (index, object) in objects(scene).iter().enumerate() {
        // JSON is YAML.
        write(&manifests, &format!("{index}.yaml"), &object.to_string())?;
    }
    let admin = free_address()?;
    let mut command = vec![PROGRAM.into(), "run".into(), "--workers".into(), "1".into()];
    for (option, address) in
        [("--http-listen", free_address()?), ("--https-listen", address), ("--admin-listen", admin)]
    {
        command.extend([option.into(), address.to_string().into()]);
    }
    command.extend(["--manifests".into(), manifests.into_os_string()]);
    command.extend(["--drain-timeout".into(), "1s".into()]);
    Ok(Launch { command, ready: Some(admin) })
}

/// A host with a client CA, routed to a Service whose only endpoint is the backend.
fn objects(scene: &Scene) -> [Value; 6] {
    let certificates = &scene.certificates;
    let named = |name: &str| json!({"name": name, "namespace": "default"});
    let secret = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": named(name), "stringData": data});
    [
        secret("server", json!({"cert": certificates.server.certificate, "key": certificates.server.key})),
        secret("client-ca", json!({"cert": certificates.authority})),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": named("backend"),
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": scene.backend.port()}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "backend-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "backend"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": scene.backend.port(), "protocol": "TCP"}],
            "endpoints": [{"addresses": [scene.backend.ip().to_string()], "conditions": {"ready": true}}],
        }),
        json!({
            "apiVersion": "apisix.apache.org/v2", "kind": "ApisixTls", "metadata": named("bench"),
            "spec": {"hosts": [HOST], "secret": named("server"), "client": {"caSecret": named("client-ca"), "depth": 1}},
        }),
        json!({
            "apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute", "metadata": named("bench"),
            "spec": {"http": [{
                "name": "all", "match": {"hosts": [HOST], "paths": ["/*"]},
                "backends": [{"serviceName": "backend", "servicePort": 80}],
            }]},
        }),
    ]
}

/// Whether the admin listener says that everything is loaded.
pub(crate) async fn ready(admin: SocketAddr) -> anyhow::Result<()> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz").header("host", admin.to_string()).body(Empty::<Bytes>::new())?;
    let status = sender.send_request(request).await?.status();
    ensure!(status == StatusCode::OK, "/readyz says {status}");
    Ok(())
}
