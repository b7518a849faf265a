//! The cluster: commands in its network, and Portcullis installed from the chart.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

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
}

/// A serving pod of ours.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) ip: String,
}

/// The only test that uses the cluster now: some stop the apiserver or delete a pod.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    static INSTALLED: Once = Once::new();
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    INSTALLED.call_once_force(|_| install(1));
    guard
}

/// Installs the chart with the debug image, which has curl in it, or changes the number of its pods.
pub(crate) fn install(replicas: u8) {
    // A pod does not see that a tag has another image; it is replaced when its template changes.
    let image = std::fs::read_to_string(checkout().join("e2e/.tools/marks/portcullis"))
        .expect("no image of Portcullis: run e2e/cluster/images");
    let image = image.split_whitespace().next().expect("a checksum");
    shell(
        &checkout(),
        &format!(
            "helm upgrade --install portcullis charts/portcullis -n apisix --create-namespace \
             --set gateway.tls.enabled=true --set image.tag={}-debug --set image.pullPolicy=Always \
             --set podAnnotations.image=x{image} --set replicaCount={replicas}",
            env!("CARGO_PKG_VERSION"),
        ),
    )
    .ok();
    // Helm installs definitions and never changes them: those of an older checkout would stay.
    kubectl("apply --server-side --force-conflicts -f crds");
    kubectl("-n apisix rollout status deployment/portcullis --timeout=90s");
    eventually("the right number of pods", 60, || match pods() {
        pods if pods.len() == usize::from(replicas) => Ok(()),
        pods => Err(format!("{pods:?}")),
    });
}

/// Our pods that are ready and not on their way out.
pub(crate) fn pods() -> Vec<Pod> {
    let list = json("-n apisix get pods -l app.kubernetes.io/name=portcullis");
    let items = list["items"].as_array().expect("a list").iter();
    let ready = items.filter(|pod| {
        let conditions = pod["status"]["conditions"].as_array();
        pod["metadata"]["deletionTimestamp"].is_null()
            && conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
    });
    ready.map(|pod| Pod { name: text(&pod["metadata"]["name"]), ip: text(&pod["status"]["podIP"]) }).collect()
}

/// The pod of an installation that has one.
pub(crate) fn pod() -> Pod {
    eventually("one ready pod", 60, || match pods().as_slice() {
        [pod] => Ok(pod.clone()),
        pods => Err(format!("{pods:?}")),
    })
}

/// Runs text in bash, in a folder and in the cluster's network.
pub(crate) fn shell(folder: &Path, text: &str) -> Done {
    run(folder, &["bash", "-o", "pipefail", "-c", text], "")
}

/// As [`shell`], in zsh.
pub(crate) fn zsh(folder: &Path, text: &str) -> Done {
    run(folder, &["zsh", "-o", "pipefail", "-c", text], "")
}

/// Runs kubectl; arguments are what stands between blanks. It must succeed.
#[track_caller]
pub(crate) fn kubectl(arguments: &str) -> String {
    try_kubectl(arguments).ok()
}

/// As [`kubectl`], and may fail.
pub(crate) fn try_kubectl(arguments: &str) -> Done {
    let command: Vec<_> = ["kubectl"].into_iter().chain(arguments.split_whitespace()).collect();
    run(&checkout(), &command, "")
}

/// What `kubectl ARGUMENTS -o json` answers.
#[track_caller]
pub(crate) fn json(arguments: &str) -> Value {
    serde_json::from_str(&kubectl(&format!("{arguments} -o json"))).expect("kubectl answers JSON")
}

/// Applies a manifest in a namespace.
#[track_caller]
pub(crate) fn apply(namespace: &str, manifest: &str) {
    try_apply(namespace, manifest).ok();
}

/// As [`apply`], and may be refused.
pub(crate) fn try_apply(namespace: &str, manifest: &str) -> Done {
    run(&checkout(), &["kubectl", "-n", namespace, "apply", "-f", "-"], manifest)
}

/// Stops or starts the apiserver.
pub(crate) fn apiserver(verb: &str) {
    let script = checkout().join("e2e/cluster/apiserver");
    let output = Command::new(script).arg(verb).output().expect("the script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Repeats an attempt until it succeeds; panics with its last error when the time is over.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, seconds: u64, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < deadline, "{what}: not within {seconds} s: {last}"),
        }
        sleep(Duration::from_millis(100));
    }
}

/// A JSON string's value.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

/// A folder with others' charts, each under its repository's name.
pub(crate) fn charts() -> PathBuf {
    checkout().join("e2e/.tools/charts")
}

/// A command in the cluster's network that is still to be started.
pub(crate) fn exec(command: &[&str]) -> Command {
    let mut exec = Command::new(checkout().join("e2e/cluster/exec"));
    exec.args(command);
    exec
}

fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn run(folder: &Path, command: &[&str], input: &str) -> Done {
    // No command may hang a run: kubectl exec and cp have no time limit of their own.
    let mut child = exec(&["timeout", "--kill-after=5", "150"])
        .args(command)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("e2e/cluster/exec runs");
    // Closed at the end of the statement. A command that reads nothing may be gone already.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the command ends");
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
