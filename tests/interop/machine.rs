//! A network and a folder of their own, as a document's reader has: the ports that it names are free, and nothing that is
//! started here outlives the test.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(90);

/// The key of the documents' requests to the Admin API.
const KEY: &str = "X-API-KEY: edd1c9f034335f136f87ad84b625c8f1";

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// The standard output of a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Whether it succeeded and said so.
    pub(crate) fn says(self, wanted: &str) -> Result<String, String> {
        if self.code == 0 && self.stdout.contains(wanted) { Ok(self.stdout) } else { Err(format!("{self:?}")) }
    }
}

/// The network is that of a process that ends when its standard input does.
pub(crate) struct Machine {
    folder: TempDir,
    keeper: Child,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keep = "ip link set lo up && touch up && exec cat";
        let keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", keep])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("util-linux has unshare");
        let machine = Self { folder, keeper };
        machine.write("bin/python", "#!/bin/sh\nexec python3 \"$@\"\n");
        machine.run("chmod 755 bin/python").ok();
        eventually("a network of its own, which needs root", || {
            if machine.folder().join("up").exists() { Ok(()) } else { Err(String::new()) }
        });
        machine
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file of the folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[track_caller]
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs text in bash, in the folder.
    pub(crate) fn run(&self, text: &str) -> Done {
        let output =
            self.command("timeout").args(["--kill-after=5", "60", "bash", "-o", "pipefail", "-c", text]).output();
        let output = output.expect("nsenter runs");
        Done {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs text until it succeeds and its output has what is wanted; gives the output.
    #[track_caller]
    pub(crate) fn answers(&self, text: &str, wanted: &str) -> String {
        eventually(text, || self.run(text).says(wanted))
    }

    /// Starts a program, whose output goes to NAME.log.
    pub(crate) fn start(&self, name: &str, program: &str, arguments: &[&str]) -> Process {
        let log = File::options().create(true).append(true).open(self.folder().join(format!("{name}.log"))).unwrap();
        let mut command = self.command(program);
        command.args(arguments).stdout(log.try_clone().unwrap()).stderr(log);
        Process(command.spawn().expect("nsenter runs"))
    }

    /// Starts ours, in a folder in which `conf/config.yaml` may be, and waits for the Admin API.
    pub(crate) fn start_portcullis(&self) -> Process {
        let process = self.start("portcullis", env!("CARGO_BIN_EXE_portcullis"), &["run"]);
        self.reaches(9180);
        process
    }

    /// Starts nginx with the configuration `nginx/nginx.conf` and waits for a port.
    pub(crate) fn start_nginx(&self, port: u16) -> Process {
        let folder = self.folder().join("nginx");
        let folder = folder.to_str().unwrap();
        let process = self.start("nginx", "nginx", &["-p", folder, "-c", "nginx.conf", "-e", "stderr"]);
        self.reaches(port);
        process
    }

    /// Waits for somebody who answers at a port, whatever they say.
    #[track_caller]
    pub(crate) fn reaches(&self, port: u16) {
        let connect = format!("curl -s -o answer http://127.0.0.1:{port}/");
        eventually(&connect, || match self.run(&connect) {
            done if done.code == 7 => Err(format!("{done:?}")),
            _ => Ok(()),
        });
    }

    /// Asks the Admin API; gives status and body.
    #[track_caller]
    pub(crate) fn admin(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.admin_at(9180, method, path, body)
    }

    /// As [`Machine::admin`], at another port.
    #[track_caller]
    pub(crate) fn admin_at(&self, port: u16, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.write("body.json", &body.to_string());
        let url = format!("http://127.0.0.1:{port}/apisix/admin{path}");
        let answer =
            self.run(&format!("curl -sS -X {method} -H '{KEY}' -d @body.json -w '\\n%{{http_code}}' '{url}'")).ok();
        let (body, status) = answer.rsplit_once('\n').unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| body.into());
        (status.parse().unwrap(), body)
    }

    /// Makes an object, which must be new and accepted.
    #[track_caller]
    pub(crate) fn create(&self, path: &str, body: &Value) {
        let (status, answer) = self.admin("PUT", path, body);
        assert_eq!(status, 201, "{path}: {answer}");
    }

    /// A command in the network and the folder, with the tests' programs and Python libraries.
    fn command(&self, program: &str) -> Command {
        let tools = format!("{}/e2e/.tools", env!("CARGO_MANIFEST_DIR"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.keeper.id().to_string(), "--net", "--", program])
            .current_dir(self.folder())
            .env("PATH", format!("{}/bin:{tools}/bin:/usr/sbin:{path}", self.folder().display()))
            .env("PYTHONPATH", format!("{tools}/python"))
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in fs::read_dir(self.folder()).into_iter().flatten().flatten() {
                if log.path().extension().is_some_and(|extension| extension == "log") {
                    let text = fs::read_to_string(log.path()).unwrap_or_default();
                    let from = text.len().saturating_sub(6000);
                    println!("{}:\n{}", log.path().display(), text.get(from..).unwrap_or(&text));
                }
            }
        }
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A program that is ended with the value.
pub(crate) struct Process(Child);

impl Process {
    /// Ends it as a power failure would.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Repeats an attempt until it succeeds; panics with its last error when the time is over.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < deadline, "{what}: {last}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// nginx's configuration around `http`'s content, as one process that keeps nothing outside of its folder.
pub(crate) fn nginx(http: &str) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; events {{}}
http {{
    access_log off; default_type application/octet-stream;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    {http}
}}
"
    )
}
