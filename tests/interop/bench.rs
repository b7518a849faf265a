//! One host, the files that clients read, and the clients as processes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::objects::{client_tls, route_for_everything, trusts};
use crate::pki::PKI;
use crate::stage::Stage;

/// The host of every request. There is no such name in DNS: clients are told its address.
pub(crate) const HOST: &str = "interop.test";

/// A client starts, builds and connects within this.
const LIMIT: Duration = Duration::from_secs(300);

pub(crate) const V12: &str = "1.2";
pub(crate) const V13: &str = "1.3";

/// Whether a client resumes its first session.
#[derive(Clone, Copy)]
pub(crate) enum Resumes {
    /// It asks for sessions that the server would have to keep, and there are none.
    No,
    /// It does, and says so.
    Yes,
    /// It does not say.
    Unknown,
}

/// A proxy that asks for certificates, and a folder with the files of the clients:
/// - `ca.pem`: the authority of the host's certificate;
/// - `good.pem`, `good.key`, `good.p12` and `bad.…`: certificates that verify and that do not.
pub(crate) struct Bench {
    folder: TempDir,
    stage: Stage,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let stage = Stage::new([client_tls("interop", &[HOST], trusts("clients"))]).await;
        let server = PKI.servers.issue(&[HOST], rcgen::ExtendedKeyUsagePurpose::ServerAuth);
        let key = server.key.serialize_pem();
        stage.apply([crate::objects::secret("server", &[("cert", &server.pem), ("key", &key)])]);
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", &PKI.servers.certificate.pem());
        write("hosts", &format!("127.0.0.1 {HOST}\n"));
        for (name, client) in [("good", PKI.clients.client()), ("bad", PKI.others.client())] {
            write(&format!("{name}.pem"), &client.pem);
            write(&format!("{name}.key"), &client.key.serialize_pem());
        }
        Self { folder, stage }
    }

    /// Leads every request to `upstream` from now on.
    pub(crate) fn leads_to(&self, upstream: SocketAddr) {
        self.stage.apply(route_for_everything(upstream));
    }

    /// As `kubectl apply`.
    pub(crate) fn apply(&self, object: serde_json::Value) {
        self.stage.apply([object]);
    }

    /// The port that clients connect to.
    pub(crate) fn port(&self) -> String {
        self.stage.https.port().to_string()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The option that tells Java the host's address.
    pub(crate) fn hosts_file(&self) -> String {
        format!("-Djdk.net.hosts.file={}", self.file("hosts"))
    }

    /// Builds a Go program.
    pub(crate) async fn build_go(&self, source: &str) -> String {
        let program = self.file("go-client");
        let source = clients().join(source);
        let run = Run::new("golang-go").program("go").args(["build", "-o", &program]).arg(source.to_str().unwrap());
        // A cache of its own: the user's may not be writable.
        run.env("GOCACHE", &self.file("go-cache")).env("GO111MODULE", "off").output().await;
        program
    }

    /// Runs a client for each certificate. Its last arguments are version, port, host, folder and the certificate's name
    /// (`none`, `bad`, `good`), and it prints a line for each of two connections: the status, and `full` or `resumed`.
    pub(crate) async fn tries(
        &self,
        package: &str,
        name: &str,
        version: &str,
        resumes: Resumes,
        client: impl Fn(Run) -> Run,
    ) {
        for (certificate, status) in [("none", "400"), ("bad", "400"), ("good", "200")] {
            let before = self.stage.passed();
            let run = client(Run::new(package)).args([version, &self.port(), HOST, &self.file(""), certificate]);
            let output = run.output().await;
            let (first, second) = match resumes {
                Resumes::No => ("full", "full"),
                Resumes::Unknown => ("unknown", "unknown"),
                Resumes::Yes => ("full", "resumed"),
            };
            let expected = format!("{status} {first}\n{status} {second}\n");
            assert_eq!(output, expected, "{name}, TLS {version}, certificate: {certificate}");
            let passed = if certificate == "good" { 2 } else { 0 };
            assert_eq!(self.stage.passed() - before, passed, "{name}, TLS {version}, certificate: {certificate}");
        }
    }
}

/// Where the programs are.
pub(crate) fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/clients")
}

/// Where `e2e/run interop` installs Python's libraries.
pub(crate) fn python() -> String {
    format!("{}/e2e/.tools/python", env!("CARGO_MANIFEST_DIR"))
}

/// A server in Python, as long as this lives.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _process: Child,
}

impl Server {
    /// Starts `source serve`, which prints the port that it has chosen.
    pub(crate) async fn start(source: &str) -> Self {
        let mut command = Command::new("python3");
        command.arg(clients().join(source)).arg("serve").env("PYTHONPATH", python());
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("the server does not start");
        let port = port.unwrap().expect("the server says its port; `e2e/run interop` installs its library");
        Self { address: ([127, 0, 0, 1], port.parse().unwrap()).into(), _process: process }
    }
}

/// A command under construction.
pub(crate) struct Run {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    package: String,
    program: String,
}

impl Run {
    pub(crate) fn new(package: &str) -> Self {
        Self { arguments: Vec::new(), environment: Vec::new(), package: package.to_owned(), program: String::new() }
    }

    pub(crate) fn program(mut self, program: &str) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    pub(crate) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn args(self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A source file as an argument.
    pub(crate) fn source(self, name: &str) -> Self {
        self.arg(clients().join(name).to_str().unwrap())
    }

    pub(crate) fn interpreter(self, program: &str, source: &str) -> Self {
        self.program(program).source(source)
    }

    pub(crate) fn script(self, source: &str) -> Self {
        self.interpreter("bash", source)
    }

    /// Runs it; returns what it printed.
    pub(crate) async fn output(self) -> String {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await.expect("the client does not end");
        let output = output.unwrap_or_else(|error| {
            panic!("{}: {error}; it is in Debian's package {}", self.program, self.package);
        });
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() != Some(127),
            "{errors}\na program of Debian's package {} is missing",
            self.package
        );
        assert!(output.status.success(), "{} {:?}: {errors}", self.program, self.arguments);
        String::from_utf8(output.stdout).unwrap()
    }
}
