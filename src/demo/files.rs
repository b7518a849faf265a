//! The demo's manifests, as a user would write them, and what to try with them.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;

use super::{MTLS_HOST, OPEN_HOST, pki};

/// Makes the files that are missing: certificates in `folder`, manifests in its `manifests`.
pub(super) fn write(folder: &Path, backend: SocketAddr) -> anyhow::Result<()> {
    let manifests = folder.join("manifests");
    fs::create_dir_all(&manifests).with_context(|| format!("cannot make {}", manifests.display()))?;
    pki::write(folder)?;
    let files = [
        ("backend.yaml", backend_manifest(backend)),
        ("route.yaml", ROUTE.replace("OPEN_HOST", OPEN_HOST).replace("MTLS_HOST", MTLS_HOST)),
        ("secrets.yaml", secrets(folder)?),
        ("tls.yaml", TLS.replace("OPEN_HOST", OPEN_HOST).replace("MTLS_HOST", MTLS_HOST)),
    ];
    for (name, text) in files {
        let path = manifests.join(name);
        if !path.exists() {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// The backend's port in the manifests of an earlier run.
pub(super) fn backend_port(folder: &Path) -> anyhow::Result<Option<u16>> {
    let path = folder.join("manifests/backend.yaml");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
    let port = text.lines().rev().find_map(|line| line.trim().strip_prefix("port: ")?.trim().parse().ok());
    port.map(Some).with_context(|| format!("{} names no `port: ` for the backend; delete the file", path.display()))
}

fn backend_manifest(backend: SocketAddr) -> String {
    format!(
        "# The backend that the demo runs itself. Put your own address here to try it with yours.
apiVersion: v1
kind: Service
metadata:
  name: backend
spec:
  ports:
    - name: http
      port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: backend
  labels:
    kubernetes.io/service-name: backend
addressType: IPv4
endpoints:
  - addresses: [{}]
ports:
  - name: http
    port: {}
",
        backend.ip(),
        backend.port()
    )
}

const ROUTE: &str = "# Both hosts lead to the backend. What differs is tls.yaml.
apiVersion: apisix.apache.org/v2
kind: ApisixRoute
metadata:
  name: demo
spec:
  http:
    - name: everything
      match:
        hosts:
          - OPEN_HOST
          - MTLS_HOST
        paths:
          - /*
      backends:
        - serviceName: backend
          servicePort: 80
";

const TLS: &str = "# TLS for anyone.
apiVersion: apisix.apache.org/v2
kind: ApisixTls
metadata:
  name: open
spec:
  hosts:
    - OPEN_HOST
  secret:
    name: server
    namespace: default
---
# TLS for clients that the CA in the Secret `client-ca` vouches for, and nobody else. Delete `client` and save: the change
# is live at once.
apiVersion: apisix.apache.org/v2
kind: ApisixTls
metadata:
  name: mtls
spec:
  hosts:
    - MTLS_HOST
  secret:
    name: server
    namespace: default
  client:
    caSecret:
      name: client-ca
      namespace: default
    depth: 1
";

fn secrets(folder: &Path) -> anyhow::Result<String> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut text =
        String::from("# Certificates as Kubernetes Secrets; made from the .pem and .key files beside this folder.\n");
    let secret = |name: &str, entries: &[(&str, String)]| {
        let mut text = format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\nstringData:\n");
        for (key, pem) in entries {
            let _ = writeln!(text, "  {key}: |");
            for line in pem.lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    };
    text += &secret("server", &[("cert", read("server.pem")?), ("key", read("server.key")?)]);
    text += "---\n";
    text += &secret("client-ca", &[("cert", read("ca.pem")?)]);
    Ok(text)
}

/// What to try.
pub(super) fn instructions(folder: &Path, http: u16, https: u16, admin: SocketAddr) -> String {
    let d = folder.display();
    let curl = format!("curl --cacert {d}/ca.pem");
    let program = std::env::current_exe().unwrap_or_else(|_| "portcullis".into());
    let program = program.display();
    format!(
        "
Portcullis is serving the manifests in {d}/manifests on 127.0.0.1.
Try, in another terminal:

  # TLS without a client certificate: 200
  {curl} https://{OPEN_HOST}:{https}/hello

  # a host that demands a client certificate, without one: 400
  {curl} https://{MTLS_HOST}:{https}/hello

  # with one from a CA that it does not trust: 400
  {curl} --cert {d}/stranger.pem --key {d}/stranger.key https://{MTLS_HOST}:{https}/hello

  # with the right one: 200
  {curl} --cert {d}/client.pem --key {d}/client.key https://{MTLS_HOST}:{https}/hello

  # in plain text the protected host is not served at all: 421
  curl http://{MTLS_HOST}:{http}/hello

  # why: every object that decides, step by step
  {program} explain --live=http://{admin} --cert {d}/stranger.pem https://{MTLS_HOST}:{https}/hello

Edit a file in {d}/manifests and save it: the change is live at once, and what is wrong is said here with file and line.
Metrics: http://{admin}/metrics  What is served: http://{admin}/debug/snapshot  End: Ctrl-C

"
    )
}
