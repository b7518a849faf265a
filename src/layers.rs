//! The dependency rule of docs/architecture.md, checked: which module may import which.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module with the modules of this crate that it may import. What is not listed may not be imported.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("admin_api", &["keyring", "model", "possession", "resource", "store", "trust"]),
    ("admin", &["compile", "explain", "metrics", "proxy", "readiness", "snapshot"]),
    ("alarm", &[]),
    ("api", &[]),
    ("app", &["*"]),
    ("args", &["config", "log", "model"]),
    ("audit", &["model", "trust"]),
    ("body", &[]),
    ("config", &["model"]),
    ("compile", &["model", "possession", "snapshot", "trust", "world"]),
    ("demo", &["app", "args", "log"]),
    ("drain", &[]),
    ("explain", &["compile", "model", "proxy", "snapshot", "trust"]),
    ("health", &["model", "snapshot"]),
    ("inspect", &["args", "compile", "explain", "log", "model", "proxy", "snapshot", "source", "trust", "world"]),
    ("keyring", &[]),
    ("layers", &["*"]),
    ("lib", &[]),
    ("log", &[]),
    ("main", &["app", "args", "demo", "inspect", "log", "api"]),
    ("metrics", &["model", "snapshot", "trust"]),
    ("model", &[]),
    ("pool", &[]),
    ("possession", &["trust"]),
    ("proxy", &["alarm", "audit", "body", "drain", "log", "metrics", "model", "pool", "snapshot", "trust"]),
    ("readiness", &[]),
    ("resource", &["keyring", "model", "trust"]),
    ("snapshot", &["alarm", "body", "model", "pool", "trust"]),
    ("source", &["api", "keyring", "model", "readiness", "resource", "store", "world"]),
    ("status", &["api", "compile", "model"]),
    ("store", &["keyring", "possession", "trust"]),
    ("trust", &["model"]),
    ("world", &["model"]),
];

/// Crates that a module must not name at all.
const MAY_NOT_USE: &[(&str, &[&str])] = &[
    ("compile", &["kube", "k8s_openapi", "tokio", "hickory_resolver", "std::time::SystemTime", "std::fs", "jiff"]),
    ("health", &["kube", "k8s_openapi", "schemars"]),
    ("model", &["kube", "k8s_openapi", "hyper", "rustls", "tokio"]),
    ("proxy", &["kube", "k8s_openapi", "schemars"]),
    ("resource", &["kube", "k8s_openapi", "hyper", "tokio", "rustls"]),
    ("snapshot", &["kube", "k8s_openapi", "schemars"]),
    ("store", &["kube", "k8s_openapi"]),
    ("trust", &["kube", "tokio"]),
    ("world", &["kube", "k8s_openapi", "tokio"]),
];

/// Every source file under `src` with the module it belongs to.
fn files() -> Vec<(String, PathBuf)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let module = |path: &Path| {
        let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
        first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    found.into_iter().map(|path| (module(&path), path)).collect()
}

/// The modules named after `crate::` in the code lines of `text`; `crate::{a, b::c}` names `a` and `b`.
fn imports(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut name)),
                    _ if depth == 0 => name.push(c),
                    _ => {}
                }
            }
            found.push(name);
        } else {
            found.push(rest.to_owned());
        }
    }
    let ident =
        |text: &String| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    found.iter().map(ident).filter(|name| !name.is_empty()).collect()
}

#[test]
fn modules_import_only_what_their_layer_allows() {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let forbidden: BTreeMap<_, _> = MAY_NOT_USE.iter().copied().collect();
    let mut broken = Vec::new();
    for (module, path) in files() {
        let text = fs::read_to_string(&path).unwrap();
        let Some(may) = allowed.get(module.as_str()) else {
            broken.push(format!("{}: module `{module}` is not in the table", path.display()));
            continue;
        };
        for import in imports(&text) {
            if import != module && !may.contains(&"*") && !may.contains(&import.as_str()) {
                broken.push(format!("{}: `{module}` must not import `{import}`", path.display()));
            }
        }
        for name in forbidden.get(module.as_str()).into_iter().copied().flatten() {
            if module != "layers" && text.contains(&format!("{name}::")) {
                broken.push(format!("{}: `{module}` must not use `{name}`", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_reader_of_imports_reads_lists_and_paths() {
    let text = "use crate::model::{A, B};\nuse crate::{api, world::Change};\n// crate::proxy\nlet x = crate::drain::channel();";
    assert_eq!(imports(text), ["model", "api", "world", "drain"]);
}
