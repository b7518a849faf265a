//! nginx and go-httpbin as upstreams: what they answer through the proxy is what they answer without it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use http::HeaderMap;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::client::{Answer, Connection, answer};
use crate::objects::{reference, route_for_everything, secret, tls};
use crate::pki::PKI;
use crate::stage::Stage;
use crate::upstream::text;

const HOST: &str = "upstream.test";

/// How long an upstream may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request: method, target, a field, and the size of its body.
type Asked = (&'static str, &'static str, Option<(&'static str, &'static str)>, usize);

struct Program {
    address: SocketAddr,
    _folder: TempDir,
    _process: Child,
}

impl Program {
    /// Starts what `command` makes of an address and an empty folder.
    async fn start(command: impl FnOnce(SocketAddr, &Path) -> Command) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(address, folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let program = command.as_std().get_program().to_owned();
        let process = command.spawn().unwrap_or_else(|error| {
            panic!("{}: {error}; `e2e/run interop` installs it", program.display());
        });
        let started = async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, started)
            .await
            .unwrap_or_else(|_| panic!("{} does not start", program.display()));
        Self { address, _folder: folder, _process: process }
    }
}

/// nginx with what `http` puts into the section of that name, for an address and an empty folder.
async fn start_nginx(http: impl FnOnce(SocketAddr, &Path) -> String) -> Program {
    Program::start(|address, folder| {
        let (at, http) = (folder.display(), http(address, folder));
        let config = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log; events {{}}
             http {{
                 access_log off;
                 client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
                 uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
                 {http}
             }}"
        );
        fs::write(folder.join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-c").arg(folder.join("nginx.conf")).arg("-e").arg(folder.join("error.log"));
        command
    })
    .await
}

async fn ask(client: &mut Connection, (method, target, field, body): Asked) -> Answer {
    let request = client.request(method, HOST, target);
    let request = field.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    let request = request.body(text(vec![b'x'; body])).unwrap();
    let asking = async { answer(client.send(request).await.unwrap()).await };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{method} {target}: no answer"))
}

/// The fields that say something about the content: not about the connection, the moment or the way.
fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let varying = ["connection", "date", "keep-alive", "server-timing", "transfer-encoding", "via"];
    let all = headers.iter().filter(|(name, _)| !varying.contains(&name.as_str()));
    let mut all: Vec<_> = all.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    all.sort();
    all
}

/// The body, without what it tells of the request's own header.
fn content(answer: &Answer) -> Vec<u8> {
    let Ok(serde_json::Value::Object(mut told)) = serde_json::from_slice(&answer.body) else {
        return answer.body.to_vec();
    };
    for field in ["headers", "origin", "url"] {
        told.remove(field);
    }
    serde_json::to_vec(&told).unwrap()
}

async fn answers_alike(upstream: &Program, asked: &[Asked]) {
    let stage = Stage::new([tls("upstream", &[HOST])]).await;
    let server = PKI.servers.issue(&[HOST], ExtendedKeyUsagePurpose::ServerAuth);
    stage.apply([secret("server", &[("cert", &server.pem), ("key", &server.key.serialize_pem())])]);
    stage.apply(route_for_everything(upstream.address));
    let clients = [
        ("plain", Connection::plain(stage.http).await),
        ("http/1.1", Connection::secure(stage.https, "http/1.1", HOST, None).await),
        ("h2", Connection::secure(stage.https, "h2", HOST, None).await),
    ];
    for (alpn, mut client) in clients {
        for one in asked {
            let mut direct = Connection::plain(upstream.address).await;
            let (expected, actual) = (ask(&mut direct, *one).await, ask(&mut client, *one).await);
            assert_eq!(actual.status, expected.status, "{alpn} {one:?}");
            assert!(content(&actual) == content(&expected), "{alpn} {one:?}: another body");
            let length = |headers: &[(String, String)]| headers.iter().any(|(name, _)| name == "content-length");
            let (mut actual, mut expected) = (fields(&actual.headers), fields(&expected.headers));
            // A body that tells of the request's header is longer by what we add to it.
            if one.1.starts_with("/anything") && length(&actual) {
                actual.retain(|(name, _)| name != "content-length");
                expected.retain(|(name, _)| name != "content-length");
            }
            assert_eq!(actual, expected, "{alpn} {one:?}");
        }
    }
}

#[tokio::test]
async fn nginx() {
    let upstream = start_nginx(|address, folder| {
        fs::create_dir(folder.join("folder")).unwrap();
        fs::write(
            folder.join("large.bin"),
            (0..3_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect::<Vec<_>>(),
        )
        .unwrap();
        fs::write(folder.join("page.html"), "<p>some text</p>\n".repeat(500)).unwrap();
        fs::write(folder.join("empty.txt"), "").unwrap();
        format!(
            "gzip on; gzip_proxied any; gzip_min_length 100;
             server {{ listen {address}; root {}; location /moved {{ return 308 /page.html; }} }}",
            folder.display()
        )
    })
    .await;
    answers_alike(
        &upstream,
        &[
            ("GET", "/page.html", None, 0),
            ("HEAD", "/page.html", None, 0),
            ("GET", "/page.html", Some(("accept-encoding", "gzip")), 0),
            ("GET", "/page.html", Some(("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")), 0),
            ("GET", "/large.bin", None, 0),
            ("HEAD", "/large.bin", None, 0),
            ("GET", "/large.bin", Some(("range", "bytes=1000000-2000000")), 0),
            ("GET", "/large.bin", Some(("range", "bytes=9999999-")), 0),
            ("GET", "/empty.txt", None, 0),
            ("GET", "/folder", None, 0),
            ("GET", "/folder/", None, 0),
            ("GET", "/moved", None, 0),
            ("GET", "/nothing", None, 0),
            ("POST", "/page.html", None, 5_000),
            ("GET", "/page.html?a=b&c=%20", None, 0),
        ],
    )
    .await;
}

#[tokio::test]
async fn httpbin() {
    let upstream = Program::start(|address, _| {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/.tools/bin/go-httpbin");
        let mut command = Command::new(program);
        command.args(["-host", "127.0.0.1", "-port", &address.port().to_string(), "-log-level", "OFF"]);
        command.args(["-srv-read-timeout", "60s", "-srv-read-header-timeout", "60s"]);
        command
    })
    .await;
    answers_alike(
        &upstream,
        &[
            ("GET", "/anything/a/b?c=d&c=e", None, 0),
            ("POST", "/anything", Some(("content-type", "text/plain")), 100_000),
            ("PUT", "/anything", Some(("content-type", "application/octet-stream")), 1),
            ("PATCH", "/anything", None, 0),
            ("DELETE", "/anything", None, 0),
            ("GET", "/status/204", None, 0),
            ("GET", "/status/304", None, 0),
            ("GET", "/status/418", None, 0),
            ("POST", "/status/201", None, 1000),
            ("GET", "/status/503", None, 0),
            ("GET", "/bytes/100000?seed=7", None, 0),
            ("GET", "/stream-bytes/100000?seed=7&chunk_size=999", None, 0),
            ("GET", "/range/1000", Some(("range", "bytes=10-99")), 0),
            ("GET", "/cache", Some(("if-none-match", "some")), 0),
            ("GET", "/redirect-to?url=%2Felsewhere", None, 0),
            ("GET", "/response-headers?x-one=1&x-one=2", None, 0),
            ("GET", "/response-headers?set-cookie=a%3Db&set-cookie=c%3Dd", None, 0),
            ("GET", "/drip?numbytes=20&duration=1s", None, 0),
            ("GET", "/image/png", None, 0),
            ("HEAD", "/html", None, 0),
            ("GET", "/encoding/utf8", None, 0),
            ("GET", "/trailers?x-trailer=1", None, 0),
        ],
    )
    .await;
}

/// An authority and a certificate that it has signed, as openssl makes them without extensions: X.509 v1.
async fn plain_certificates(folder: &Path) {
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj '/CN=our ca' -days 2
        openssl req -new -newkey rsa:2048 -nodes -keyout us.key -out us.csr -subj '/CN=portcullis'
        openssl x509 -req -in us.csr -CA ca.pem -CAkey ca.key -set_serial 1 -out us.pem -days 2";
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn nginx_that_asks_for_our_certificate() {
    let files = tempfile::tempdir().unwrap();
    plain_certificates(files.path()).await;
    let server = PKI.servers.issue(&[HOST], ExtendedKeyUsagePurpose::ServerAuth);
    fs::write(files.path().join("server.pem"), &server.pem).unwrap();
    fs::write(files.path().join("server.key"), server.key.serialize_pem()).unwrap();
    let upstream = start_nginx(|address, _| {
        let files = files.path().display();
        format!(
            "server {{
                 listen {address} ssl; ssl_certificate {files}/server.pem; ssl_certificate_key {files}/server.key;
                 ssl_client_certificate {files}/ca.pem; ssl_verify_client on;
                 location / {{ return 200 '$ssl_client_s_dn, $ssl_server_name'; }}
             }}"
        )
    })
    .await;
    let read = |name: &str| fs::read_to_string(files.path().join(name)).unwrap();
    let stage = Stage::new([
        secret("us", &[("cert", &read("us.pem")), ("key", &read("us.key"))]),
        secret("servers", &[("ca.crt", &PKI.servers.certificate.pem())]),
    ])
    .await;
    stage.apply(route_for_everything(upstream.address));
    let verify = json!({"caSecret": reference("servers")});
    for (spec, expected) in [
        (json!({"scheme": "https", "tlsSecret": reference("us")}), "CN=portcullis, upstream.test"),
        (json!({"scheme": "https", "tlsSecret": reference("us"), "tlsVerify": verify}), "CN=portcullis, upstream.test"),
        (json!({"scheme": "https"}), "No required SSL certificate was sent"),
        (json!({"scheme": "http"}), "The plain HTTP request was sent to HTTPS port"),
    ] {
        stage.apply([json!({
            "apiVersion": "apisix.apache.org/v2", "kind": "ApisixUpstream",
            "metadata": {"name": "upstream", "namespace": "default"}, "spec": spec,
        })]);
        let answer = ask(&mut Connection::plain(stage.http).await, ("GET", "/", None, 0)).await;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(body.contains(expected), "{spec}: {} {body}", answer.status);
    }
}
