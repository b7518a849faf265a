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
