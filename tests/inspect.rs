//! `portcullis explain` and `portcullis check`, as a user runs them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn secret(name: &str, entries: &[(&str, &str)]) -> String {
    let mut text = format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\nstringData:\n");
    for (key, pem) in entries {
        let pem = pem.trim_end().replace('\n', "\n    ");
        let _ = writeln!(text, "  {key}: |\n    {pem}");
    }
    text + "---\n"
}

const OBJECTS: &str = "apiVersion: apisix.apache.org/v2
kind: ApisixTls
metadata:
  name: shop
spec:
  hosts: [shop.test, '*.shop.test']
  secret: {name: server, namespace: default}
  client:
    caSecret: {name: client-ca, namespace: default}
---
apiVersion: apisix.apache.org/v2
kind: ApisixRoute
metadata:
  name: shop
spec:
  http:
    - name: api
      match: {hosts: [shop.test], paths: [/api/*], methods: [GET]}
      backends: [{serviceName: shop, servicePort: 80}]
---
apiVersion: v1
kind: Service
metadata:
  name: shop
spec:
  ports: [{port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: shop
  labels: {kubernetes.io/service-name: shop}
addressType: IPv4
endpoints: [{addresses: [192.0.2.1]}, {addresses: [192.0.2.2]}]
ports: [{port: 8080}]
";

/// A folder with `manifests`, `client.pem` (with its key) and `stranger.pem`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (clients, others) = (Authority::new("Test client CA"), Authority::new("Another CA"));
    let (server, server_key) = others.issue("shop.test", ExtendedKeyUsagePurpose::ServerAuth);
    let (client, client_key) = clients.issue("alice", ExtendedKeyUsagePurpose::ClientAuth);
    let (stranger, _) = others.issue("mallory", ExtendedKeyUsagePurpose::ClientAuth);
    fs::create_dir(folder.path().join("manifests")).unwrap();
    let secrets =
        secret("server", &[("cert", &server), ("key", &server_key)]) + &secret("client-ca", &[("cert", &clients.pem)]);
    let files = [
        ("client.pem", client_key + &client),
        ("stranger.pem", stranger),
        ("manifests/secrets.yaml", secrets),
        ("manifests/shop.yaml", OBJECTS.to_owned()),
    ];
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn explain(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    run(folder, &[&["explain", "--manifests", "manifests"], arguments].concat())
}

#[test]
fn a_request_that_would_be_served_is_explained_step_by_step() {
    let folder = folder();
    let (code, out, _) = explain(folder.path(), &["https://shop.test:9443/api/carts", "--cert", "client.pem"]);
    assert_eq!(code, 0, "{out}");
    for part in [
        "ok: request: GET /api/carts at shop.test, over TLS with SNI shop.test\n",
        "ok: TLS host: shop.test is covered by shop.test\n  --> ApisixTls default/shop: spec.hosts\n",
        "ok: server certificate: is valid for the host\n",
        "ok: client policy: Require: a certificate that satisfies it is needed\n",
        "   = authority CN=Test client CA, valid until 4096-01-01T00:00:00Z, in ",
        "ok: client certificate: satisfies the policy until 4096-01-01T00:00:00Z\n",
        "   = certificate 1: subject CN=alice, issuer CN=Test client CA, serial ",
        "ok: route: rule `api` by host shop.test and path /api/*\n  --> ApisixRoute default/shop: spec.http\n",
        "ok: backends: 2 endpoints\n",
        "   = upstream default/shop:80: 2 endpoints, weight 100\n",
        "\nserved by ApisixRoute default/shop, rule `api`\n",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
}

#[test]
fn a_refusal_names_the_object_the_reason_and_what_to_do() {
    let folder = folder();
    for (arguments, expected) in [
        (
            &["https://shop.test/api/", "--cert", "stranger.pem"][..],
            &[
                "refused: client certificate: unknown issuer\n  --> ApisixTls default/shop: spec.client\n",
                "   = looked for the issuer CN=Another CA\n   = no authority has that name\n",
                "   = help: send the missing intermediates",
                "\nrefused with 400 Bad Request: client certificate verification is not passed: FAILED:unknown issuer\n",
            ][..],
        ),
        (&["https://shop.test/api/"], &["refused: client certificate: the client sends none\n", "refused with 400"]),
        (
            &["https://shop.test/api/", "--cert", "client.pem", "--at", "1970-02-01T00:00:00Z"],
            &["as of 1970-02-01T00:00:00Z", "refused with 400"],
        ),
        (
            &["https://shop.test/api/", "--sni", "", "--cert", "client.pem"],
            &["refused: TLS host: the client names no host (SNI)\n", "refused in the TLS handshake"],
        ),
        (
            &["https://a.b.shop.test/"],
            &[
                "refused: TLS host: no ApisixTls covers a.b.shop.test\n",
                "   = known is *.shop.test of ApisixTls default/shop\n",
            ],
        ),
        (
            &["https://shop.test/api/x", "--method", "PUT", "--cert", "client.pem"],
            &["refused: route: no rule serves PUT /api/x\n", "does not serve PUT\n", "help: add PUT to match.methods"],
        ),
        (
            &["https://shop.test/apx", "--cert", "client.pem"],
            &["shop.test/api/* of ApisixRoute default/shop, rule `api` has another path\n", "refused with 404"],
        ),
        (
            &["http://shop.test/api/"],
            &[
                "refused: connection: the host authenticates its clients, and the request comes without TLS\n",
                "refused with 421",
            ],
        ),
        (
            &["https://other.test/", "--sni", "shop.test", "--cert", "client.pem"],
            &["refused: connection: shop.test does not ask for what other.test asks for", "refused with 421"],
        ),
    ] {
        let (code, out, error) = explain(folder.path(), arguments);
        assert_eq!(code, 1, "{arguments:?}\n{out}{error}");
        for part in expected {
            assert!(out.contains(part), "{arguments:?}: {part} is not in\n{out}");
        }
    }
}

#[test]
fn what_cannot_be_answered_is_told_from_a_refusal() {
    let folder = folder();
    for (arguments, expected) in [
        (&["shop.test"][..], "must start with `https://`"),
        (&["https://shop.test/", "--cert", "gone.pem"], "cannot read gone.pem"),
        (&["https://shop.test/", "--cert", "manifests/shop.yaml"], "holds no PEM certificate"),
        (&["https://shop.test/", "--at", "yesterday"], "--at"),
    ] {
        let (code, out, error) = explain(folder.path(), arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    fs::write(folder.path().join("manifests/broken.yaml"), "kind: [").unwrap();
    let (code, _, error) = explain(folder.path(), &["https://shop.test/"]);
    assert_eq!(code, 2);
    assert!(error.contains("manifests/broken.yaml:1"), "{error}");
}

#[test]
fn the_answer_as_json_holds_no_key() {
    let folder = folder();
    let (code, out, _) =
        explain(folder.path(), &["https://shop.test/api/", "--cert", "client.pem", "--output", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["served"]), (0, &serde_json::json!(true)));
    let steps: Vec<_> = answer["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        ["request", "TLS host", "server certificate", "client policy", "client certificate", "route", "backends"]
    );
    assert!(!out.contains("PRIVATE KEY"), "{out}");
}

#[test]
fn check_names_file_line_object_and_field_of_everything_that_is_wrong() {
    let folder = folder();
    let (code, out, _) = run(folder.path(), &["check", "--manifests", "manifests"]);
    assert_eq!((code, out.as_str()), (0, "no problem found\n"));

    let file = folder.path().join("manifests/shop.yaml");
    fs::write(&file, OBJECTS.replace("client-ca", "gone").replace("servicePort: 80", "servicePort: 81")).unwrap();
    let (code, out, _) = run(folder.path(), &["check", "--manifests", "manifests"]);
    assert_eq!(code, 1);
    for part in [
        "warning[RefNotFound]: manifests/shop.yaml:19: ApisixRoute default/shop: spec.http[0].backends[0].servicePort: ",
        "error[RefNotFound]: manifests/shop.yaml:9: ApisixTls default/shop: spec.client.caSecret: Secret default/gone ",
        "errors: 1, warnings: 1\n",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }

    fs::write(&file, OBJECTS.replace("paths:", "path:")).unwrap();
    let (code, out, _) = run(folder.path(), &["check", "--manifests", "manifests"]);
    assert_eq!(code, 1);
    assert!(out.starts_with("error: manifests/shop.yaml:18: ApisixRoute default/shop: spec.http[0].match"), "{out}");
}

/// A process that serves a folder, killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_process_answers_as_its_manifests_do() {
    let folder = folder();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let admin = format!("127.0.0.1:{port}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["run", "--manifests", "manifests", "--http-listen", "127.0.0.1:0", "--https-listen", "127.0.0.1:0"]);
    command.args(["--admin-listen", &admin]).current_dir(folder.path()).stdout(Stdio::null());
    let process = Process(command.spawn().unwrap());
    let live = format!("--live=http://{admin}");
    let ask = |arguments: &[&str]| run(folder.path(), &[&["explain", &live, "--output", "json"], arguments].concat());
    let good = ["https://shop.test/api/", "--cert", "client.pem", "--at", "2030-01-01T00:00:00Z"];
    let end = Instant::now() + Duration::from_secs(30);
    while ask(&good).0 != 0 {
        assert!(Instant::now() < end, "{:?}", ask(&good));
        thread::sleep(Duration::from_millis(20));
    }
    let strange = ["https://shop.test/api/", "--cert", "stranger.pem", "--at", "2030-01-01T00:00:00Z"];
    for (arguments, code) in [(good, 0), (strange, 1)] {
        let offline = explain(folder.path(), &[&arguments[..], &["--output", "json"]].concat());
        assert_eq!(ask(&arguments), offline);
        assert_eq!(offline.0, code);
    }
    let (code, _, error) = ask(&["nonsense"]);
    assert!(code == 2 && error.contains("answers 400 Bad Request: `nonsense` must start with"), "{error}");
    drop(process);
    let (code, _, error) = ask(&good);
    assert!(code == 2 && error.contains("cannot ask 127.0.0.1"), "{error}");
}

#[test]
fn modes_skipped_paths_and_rules_on_the_identity_are_told() {
    let folder = folder();
    let file = folder.path().join("manifests/shop.yaml");
    let with = |fields: &str| {
        let ca = "    caSecret: {name: client-ca, namespace: default}\n";
        fs::write(&file, OBJECTS.replace(ca, &format!("{ca}{fields}"))).unwrap();
    };
    let says = |arguments: &[&str], code: i32, parts: &[&str]| {
        let (ended, out, error) = explain(folder.path(), arguments);
        assert_eq!(ended, code, "{arguments:?}\n{out}{error}");
        for part in parts {
            assert!(out.contains(part), "{arguments:?}: {part} is not in\n{out}");
        }
    };
    let (alice, nobody) = (["https://shop.test/api/", "--cert", "client.pem"], ["https://shop.test/api/"]);
    with("    identities: [{dns: [{suffix: .shop.test}]}]\n");
    says(
        &alice,
        1,
        &[
            "   = identities[0] asks for dns ending with `.shop.test`\n",
            "   = its alternative names are DNS alice\n",
            "   = help: use a certificate that one of spec.client.identities allows",
        ],
    );
    with("    mode: Observe\n");
    says(&nobody, 0, &["warning: client certificate: the client sends none; mode Observe serves the client anyway\n"]);
    says(&["http://shop.test/api/"], 0, &["warning: connection: ", "mode Observe serves it anyway\n"]);
    with("    mode: Optional\n");
    says(&nobody, 0, &["ok: client certificate: the client sends none\n"]);
    with("    skip_mtls_uri_regex: [^/api/open]\n");
    says(
        &["https://shop.test/api/./open"],
        0,
        &["the path is read as /api/open\n", "ok: skip rule: /api/open matches"],
    );
    says(&["https://shop.test/api/open//x"], 1, &["warning: skip rule: /api/open//x matches", "it does not count\n"]);
    with("    failure: {type: Alert}\n");
    says(&nobody, 1, &["refused in the TLS handshake: client certificate was not present\n"]);
}

const STREAMS: &str = "apiVersion: apisix.apache.org/v2
kind: ApisixRoute
metadata:
  name: streams
spec:
  stream:
    - name: plain
      protocol: TCP
      match: {ingressPort: 9100}
      backend: {serviceName: shop, servicePort: 80}
    - name: secure
      protocol: TCP
      match: {ingressPort: 9200, host: shop.test}
      backend: {serviceName: shop, servicePort: 80}
    - name: lost
      protocol: TCP
      match: {ingressPort: 9101}
      backend: {serviceName: nobody, servicePort: 80}
";

#[test]
fn a_stream_is_explained_by_its_port_and_its_host() {
    let folder = folder();
    fs::write(folder.path().join("manifests/streams.yaml"), STREAMS).unwrap();
    for (arguments, code, parts) in [
        (
            &["tcp://:9100"][..],
            0,
            &[
                "ok: stream: TCP to port 9100\n",
                "ok: stream rule: rule `plain`\n  --> ApisixRoute default/streams: spec.stream\n",
                "ok: endpoints: 2, one of them is chosen\n",
                "   = upstream default/shop:80: 192.0.2.1:8080\n",
                "\ncarried by ApisixRoute default/streams, rule `plain`\n",
            ][..],
        ),
        (
            &["tls://shop.test:9200", "--cert", "client.pem"],
            0,
            &[
                "ok: stream: TLS to port 9200 with SNI shop.test\n",
                "ok: TLS host: shop.test is covered by shop.test\n",
                "ok: client certificate: satisfies the policy until ",
                "\ncarried by ApisixRoute default/streams, rule `secure`\n",
            ],
        ),
        (
            &["tls://shop.test:9200", "--cert", "stranger.pem"],
            1,
            &["refused: client certificate: ", "no authority has that name", "\nclosed: "],
        ),
        (&["tls://other.test:9200"], 1, &["no ApisixTls covers other.test", "refused in the TLS handshake: "]),
        (
            &["tls://a.shop.test:9200", "--cert", "client.pem"],
            1,
            &[
                "refused: stream rule: no rule is for it\n",
                "   = shop.test on TLS port 9200 belongs to ApisixRoute default/streams, rule `secure`\n",
            ],
        ),
        (
            &["tcp://:9101"],
            1,
            &[
                "refused: endpoints: none can take the stream\n",
                "Service default/nobody does not exist",
                "\nclosed: no endpoint available\n",
            ],
        ),
        (
            &["tcp://:9200"],
            1,
            &[
                "refused: stream rule: no rule is for it\n",
                "port 9200 carries no TLS, and so no host",
                "\nclosed: no rule is for it\n",
            ],
        ),
        (&["udp://:9300"], 1, &["ok: stream: UDP to port 9300\n", "\ndropped: no rule is for it\n"]),
    ] {
        let (got, out, error) = explain(folder.path(), arguments);
        assert_eq!(got, code, "{arguments:?}: {out}{error}");
        for part in parts {
            assert!(out.contains(part), "{arguments:?}: {part} is not in\n{out}");
        }
    }
    let (code, _, error) = explain(folder.path(), &["tcp://shop.test"]);
    assert!(code == 2 && error.contains("is no stream: write `tcp://host:port`"), "{error}");
}

#[test]
fn nodes_of_weight_0_take_no_request() {
    let folder = folder();
    let upstream = "apiVersion: apisix.apache.org/v2
kind: ApisixUpstream
metadata:
  name: idle
spec:
  externalNodes: [{type: Domain, name: 192.0.2.9, weight: 0}]
---
apiVersion: apisix.apache.org/v2
kind: ApisixRoute
metadata:
  name: idle
spec:
  http:
    - name: idle
      match: {hosts: [idle.test], paths: [/*]}
      upstreams: [{name: idle}]
";
    fs::write(folder.path().join("manifests/idle.yaml"), upstream).unwrap();
    let (code, out, _) = explain(folder.path(), &["http://idle.test/"]);
    assert_eq!(code, 1, "{out}");
    for part in [
        "refused: backends: no endpoint can take the request\n",
        "   = upstream default/idle: 0 endpoints and 1 of weight 0, weight 100\n",
        "\nrefused with 503",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
}
