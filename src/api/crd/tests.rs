use std::fs;
use std::path::Path;

use super::*;

#[test]
fn files_and_code_are_equal() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    for (name, text) in crds_yaml() {
        let path = folder.join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "{} differs from the code; UPDATE=1 rewrites it", path.display());
    }
}

#[test]
fn one_version_is_stored_and_all_have_one_schema() {
    for crd in crds() {
        let stored: Vec<_> = crd.spec.versions.iter().filter(|v| v.storage).map(|v| v.name.as_str()).collect();
        assert_eq!(stored, ["v2"]);
        let first = &crd.spec.versions[0].schema;
        assert!(crd.spec.versions.iter().all(|v| v.served && v.schema == *first));
    }
}
