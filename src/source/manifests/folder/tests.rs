use tempfile::TempDir;

use super::*;
use crate::model::Reason;

struct Bench {
    folder: Folder,
    root: TempDir,
}

const CLASS: &str =
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: NAME}\nspec: {controller: c}\n";

fn class(name: &str) -> String {
    CLASS.replace("NAME", name)
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { folder: Folder::new(vec![root.path().to_owned()]), root }
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The diagnostics of a reload, with paths relative to the root.
    fn reload(&mut self) -> Vec<String> {
        let root = format!("{}/", self.root.path().display());
        self.folder.reload().iter().map(|diagnostic| diagnostic.to_string().replace(&root, "")).collect()
    }

    fn classes(&self) -> Vec<String> {
        self.folder.objects(Kind::IngressClass).iter().map(|(key, _)| key.to_string()).collect()
    }
}

#[test]
fn files_come_change_and_go_with_their_objects() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &format!("{}---\n{}", class("a1"), class("a2")));
    bench.write("below/b.yml", &class("b"));
    bench.write("c.json", r#"{"apiVersion":"networking.k8s.io/v1","kind":"IngressClass","metadata":{"name":"c"}}"#);
    bench.write("notes.txt", "no manifest");
    bench.write(".hidden.yaml", &class("hidden"));
    bench.write("other.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n");
    let problems = bench.reload();
    assert_eq!(problems.len(), 1, "the class in c.json has no controller: {problems:?}");
    assert_eq!(bench.classes(), ["a1", "a2", "b"]);
    bench.write("c.json", r#"{"apiVersion":"v1","kind":"Pod"}"#);
    bench.write("a.yaml", &class("a2"));
    fs::remove_file(bench.root.path().join("below/b.yml")).unwrap();
    assert_eq!(bench.reload(), Vec::<String>::new(), "what was said once is not said again");
    assert_eq!(bench.classes(), ["a2"]);
}

#[test]
fn a_broken_file_keeps_its_last_good_objects_and_names_file_line_and_field() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &class("a"));
    assert_eq!(bench.reload(), Vec::<String>::new());
    for (text, expected) in [
        (format!("{}---\nkind: [", class("new")), "a.yaml:"),
        (format!("{}---\nkind: IngressClass\n", class("new")), "a.yaml:6: a document needs `apiVersion` and `kind`"),
        (String::new(), "a.yaml: is empty: its last good objects are kept"),
        ("# nothing\n---\n# yet\n".to_owned(), "a.yaml: is empty: its last good objects are kept"),
    ] {
        bench.write("a.yaml", &text);
        let problems = bench.reload();
        assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:?}");
        assert_eq!(bench.classes(), ["a"], "nothing of a broken file is used");
    }
    let route = "apiVersion: apisix.apache.org/v2\nkind: ApisixRoute\nmetadata:\n  name: r\nspec:\n  http:\n    - name: x\n      \
                 match:\n        paths:\n          - /ok\n          - bad\n      backends: [{serviceName: s, servicePort: 80}]\n";
    bench.write("r.yaml", route);
    let problems = bench.reload();
    let expected = "r.yaml:11: ApisixRoute default/r: spec.http[0].match.paths[1]: `bad` must start with `/`";
    assert_eq!(problems, [expected]);
    bench.write("r.yaml", &route.replace("bad", "/good"));
    assert_eq!(bench.reload(), Vec::<String>::new());
    let object = ObjectRef { kind: Kind::ApisixRoute, key: ObjectKey::new("default", "r") };
    let why = Invalid::new(Reason::RefNotFound, "spec.http[0].backends[0].serviceName", "");
    let (path, line) = bench.folder.locate(&object, &why).unwrap();
    assert!(path.ends_with("r.yaml") && line == 12, "{path:?}:{line}");
}

#[test]
fn an_object_in_two_files_is_reported_and_the_first_file_counts() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &class("x"));
    bench.write("b.yaml", &class("x"));
    let problems = bench.reload();
    assert!(problems[0].starts_with("b.yaml:3: IngressClass x is also in "), "{problems:?}");
    assert_eq!(bench.classes(), ["x"]);
}

#[test]
fn a_folder_that_cannot_be_read_keeps_its_objects() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &class("a"));
    bench.reload();
    let away = bench.root.path().with_extension("away");
    fs::rename(bench.root.path(), &away).unwrap();
    let problems = bench.reload();
    assert!(problems[0].contains("cannot be read"), "{problems:?}");
    assert_eq!(bench.classes(), ["a"]);
    fs::rename(&away, bench.root.path()).unwrap();
    assert_eq!(bench.reload(), Vec::<String>::new());
}

#[test]
fn the_values_of_a_secret_are_in_no_diagnostic() {
    let mut bench = Bench::new();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
    for data in
        ["data: {key: TOPSECRET!}\n", "stringData: [TOPSECRET]\n", "data: TOPSECRET\n", "data: {key: [TOPSECRET\n"]
    {
        bench.write("s.yaml", &format!("{secret}{data}"));
        let problems = bench.reload();
        assert!(problems.len() == 1 && !problems[0].contains("TOPSECRET"), "{problems:?}");
    }
}

#[test]
fn a_file_that_is_moved_and_broken_at_once_keeps_its_objects() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &class("a"));
    bench.write("other.yaml", &class("other"));
    bench.reload();
    fs::remove_file(bench.root.path().join("a.yaml")).unwrap();
    bench.write("b.yaml", "kind: [");
    let problems = bench.reload();
    assert_eq!(bench.classes(), ["a", "other"], "{problems:?}");
    assert!(
        problems.iter().any(|problem| problem.starts_with("a.yaml: is gone: its objects are kept")),
        "{problems:?}"
    );
    assert_eq!(bench.reload(), Vec::<String>::new(), "what was said once is not said again");
    bench.write("b.yaml", &class("b"));
    assert_eq!(bench.reload(), Vec::<String>::new());
    assert_eq!(bench.classes(), ["b", "other"]);
    fs::remove_file(bench.root.path().join("b.yaml")).unwrap();
    bench.write("c.yaml", "kind: [");
    bench.reload();
    assert_eq!(bench.classes(), ["b", "other"]);
    fs::remove_file(bench.root.path().join("c.yaml")).unwrap();
    bench.reload();
    assert_eq!(bench.classes(), ["other"]);
}

#[test]
fn a_file_that_is_being_written_is_left_as_it_was() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &format!("{}---\n{}", class("a1"), class("a2")));
    bench.reload();
    bench.write("a.yaml", &class("a1"));
    bench.write("b.yaml", &class("b"));
    let open = [bench.root.path().join("a.yaml")];
    assert_eq!(bench.folder.reload_except(&open), []);
    assert_eq!(bench.classes(), ["a1", "a2", "b"]);
    bench.reload();
    assert_eq!(bench.classes(), ["a1", "b"]);
}

const TLS: &str = "apiVersion: apisix.apache.org/v2\nkind: ApisixTls\nmetadata: {name: t}\nspec:\n  hosts: [a.example]\n  \
                   secret: {name: s, namespace: x}\n  client:\n    caSecret: {name: ca, namespace: x}\n    depth: 1\n";

#[test]
fn a_misspelt_policy_is_reported_and_not_left_out() {
    let mut bench = Bench::new();
    for (from, to, expected) in [
        ("client:", "clients:", "t.yaml:8: ApisixTls default/t: spec.clients: is not a field; did you mean `client`?"),
        ("spec:", "sepc: 1\nspec:", "t.yaml:4: ApisixTls default/t: sepc: is not a field; did you mean `spec`?"),
        ("depth:", "dept:", "spec.client.dept: is not a field; did you mean `depth`?"),
        ("{name: s,", "{name: s, namspace: x,", "spec.secret.namspace: is not a field; did you mean `namespace`?"),
        ("{name: ca,", "{name: ca, xyz: x,", "spec.client.caSecret.xyz: is not a field; there are: name, namespace"),
        ("ApisixTls", "ApisixTLS", "kind: `ApisixTLS` is not a kind that is read; did you mean `ApisixTls`?"),
        ("org/v2", "org/v2beta4", "is not a version of ApisixTls; did you mean `apisix.apache.org/v2beta3`?"),
        (
            "apisix.apache.org",
            "apisix.apache.com",
            "is not a version of ApisixTls; did you mean `apisix.apache.org/v2`?",
        ),
        ("ApisixTls", "List", "kind: a List needs `items`, a list"),
    ] {
        bench.write("t.yaml", &TLS.replacen(from, to, 1));
        let problems = bench.reload();
        assert!(problems.len() == 1 && problems[0].contains(expected), "{to}: {problems:?}");
        bench.write("t.yaml", TLS);
        assert_eq!(bench.reload(), Vec::<String>::new());
        assert_eq!(bench.folder.objects(Kind::ApisixTls).len(), 1);
    }
    let item = TLS.lines().collect::<Vec<_>>().join("\n    ");
    bench.write("t.yaml", &format!("apiVersion: apisix.apache.org/v2\nkind: ApisixTlsList\nitems:\n  - {item}\n"));
    assert_eq!(bench.reload(), Vec::<String>::new());
    assert_eq!(bench.folder.objects(Kind::ApisixTls).len(), 1);
    let route = "apiVersion: apisix.apache.org/v2\nkind: ApisixRoute\nmetadata: {name: r}\nspec:\n  http:\n    - name: x\n      \
                 match: {paths: [/a], host: [a.example]}\n      plugin: []\n      backends: [{serviceName: s, servicePort: 80}]\n";
    bench.write("r.yaml", route);
    let problems = bench.reload().join("\n");
    assert!(problems.contains("spec.http[0].match.host: is not a field; did you mean `hosts`?"), "{problems}");
    assert!(problems.contains("spec.http[0].plugin: is not a field; did you mean `plugins`?"), "{problems}");
}

#[test]
fn odd_entries_are_reported_or_passed_over() {
    use std::os::unix::fs::symlink;
    let mut bench = Bench::new();
    bench.write("a.yaml", &class("a"));
    let root = bench.root.path().to_owned();
    symlink(".", root.join("l1")).unwrap();
    symlink(".", root.join("l2")).unwrap();
    symlink("self.yaml", root.join("self.yaml")).unwrap();
    symlink("/dev/zero", root.join("zero.yaml")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(root.join("pipe.yaml")).status().unwrap().success());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let problems = bench.reload();
        sender.send((problems, bench.classes())).unwrap();
    });
    let (problems, classes) = receiver.recv_timeout(std::time::Duration::from_secs(10)).expect("it does not hang");
    assert_eq!(classes, ["a"]);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].starts_with("pipe.yaml: cannot be read: is not a regular file"), "{problems:?}");
    assert!(problems[2].starts_with("zero.yaml: cannot be read: is not a regular file"), "{problems:?}");
}

#[test]
fn folders_are_followed_to_a_limit() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &class("a"));
    bench.write(&format!("{}b.yaml", "d/".repeat(16)), &class("b"));
    assert_eq!(bench.reload(), Vec::<String>::new());
    assert_eq!(bench.classes(), ["a", "b"]);
    bench.write(&format!("{}c.yaml", "d/".repeat(17)), &class("c"));
    let problems = bench.reload();
    assert!(problems[0].contains("nested more than 16 deep"), "{problems:?}");
    assert_eq!(bench.classes(), ["a", "b"], "the folder is kept as it was");
}

#[test]
fn thousands_of_routes_fit_in_one_file() {
    let mut bench = Bench::new();
    let route = |index: usize| {
        format!(
            "apiVersion: apisix.apache.org/v2\nkind: ApisixRoute\nmetadata: {{name: r{index}}}\nspec:\n  http:\n    - name: x\n      \
             match: {{hosts: [a.example], paths: [/{index}]}}\n      backends: [{{serviceName: s, servicePort: 80}}]\n---\n"
        )
    };
    bench.write("r.yaml", &(0..3000).map(route).collect::<String>());
    assert_eq!(bench.reload(), Vec::<String>::new());
    assert_eq!(bench.folder.objects(Kind::ApisixRoute).len(), 3000);
}

#[test]
fn a_name_adds_no_line_to_the_log() {
    let mut bench = Bench::new();
    bench.write("r.yaml", &TLS.replace("name: t", r#"name: "t\n\e[31mERROR forged""#).replace("depth", "dept"));
    let problems = bench.reload();
    assert!(problems[0].contains(r"t\n\u{1b}[31mERROR forged"), "{problems:?}");
    assert!(!problems[0].contains(char::is_control), "{problems:?}");
}
