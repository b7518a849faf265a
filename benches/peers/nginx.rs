//! nginx as Debian ships it, configured to do what Portcullis does.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::authority::HOST;
use crate::server::{Launch, Scene, write};

/// Where Debian puts it; it is not in everybody's `PATH`.
const PROGRAM: &str = "/usr/sbin/nginx";

pub(crate) fn version() -> anyhow::Result<String> {
    let output = Command::new(PROGRAM).arg("-V").output().context("nginx is missing: apt-get install nginx-light")?;
    let text = String::from_utf8(output.stderr)?;
    Ok(text.lines().filter(|line| line.contains("version:") || line.contains("OpenSSL")).collect::<Vec<_>>().join(", "))
}

/// Writes certificates and configuration to `folder`.
pub(crate) fn launch(folder: &Path, address: SocketAddr, scene: &Scene) -> anyhow::Result<Launch> {
    let certificates = &scene.certificates;
    write(folder, "server.pem", &certificates.server.certificate)?;
    write(folder, "server.key", &certificates.server.key)?;
    write(folder, "authority.pem", &certificates.authority)?;
    let file = write(folder, "nginx.conf", &configuration(folder, address, scene.backend))?;
    let errors = folder.join("error.log");
    let prefix = folder.as_os_str().to_owned();
    let command: Vec<OsString> =
        vec![PROGRAM.into(), "-p".into(), prefix, "-c".into(), file.into(), "-e".into(), errors.into()];
    Ok(Launch { command, ready: None })
}

/// Where a setting is not Debian's or nginx's default, the reason stands beside it.
fn configuration(folder: &Path, address: SocketAddr, backend: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        r#"daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{
    worker_connections 2048;        # room for the idle connections
}}
http {{
    # The line is APISIX's, which Portcullis writes too, and lines are written in batches on both sides. Debian's default, a
    # shorter line with a write per request, costs more.
    log_format apisix '$remote_addr - $remote_user [$time_local] $http_host "$request" $status $body_bytes_sent '
        '$request_time "$http_referer" "$http_user_agent" $upstream_addr $upstream_status $upstream_response_time '
        '"http://$host"';
    access_log {folder}/access.log apisix buffer=64k flush=10ms;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;   # Portcullis has no such limit: no handshake may fall between requests
    upstream backend {{
        server {backend};
        keepalive 320;              # idle connections to the backend: Portcullis keeps as many
        keepalive_requests 100000000;
    }}
    server {{
        listen {address} ssl http2;
        server_name {HOST};
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.key;
        ssl_client_certificate {folder}/authority.pem;
        ssl_verify_client on;       # the handshake completes, those without a good certificate get 400
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets on;     # stateless tickets on both sides, although the client never comes back with one
        ssl_conf_command NumTickets 1; # as Portcullis; OpenSSL's default is 2
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Forwarded-Port $server_port;
        }}
    }}
}}
"#
    )
}
