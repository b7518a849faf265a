//! Folders of manifests: every `*.yaml`, `*.yml` and `*.json` in them and below.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::file::{self, Diagnostic, Placed};
use crate::model::{Invalid, Kind, ObjectKey, ObjectRef};
use crate::world::Object;

/// Files are read up to this size, in bytes: far over the API server's own limit of 1.5 MiB for an object.
const MAX_FILE: u64 = 64 << 20;

/// The manifests of some folders: the last good content of every file.
#[derive(Debug, Default)]
pub struct Folder {
    files: BTreeMap<PathBuf, File>,
    roots: Vec<PathBuf>,
}

#[derive(Debug, Default)]
struct File {
    good: Vec<Placed>,
    /// The text that was read last, good or not, as a length and a hash: unchanged text is not parsed again.
    seen: Option<(usize, u64)>,
}

impl Folder {
    /// Nothing read yet. A root may also be a single file.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self { files: BTreeMap::new(), roots }
    }

    /// Reads what has changed since the last call. A file that is broken or empty keeps its last good objects, and a file
    /// that is gone takes its objects with it.
    ///
    /// Returns what is wrong with the files that changed.
    pub fn reload(&mut self) -> Vec<Diagnostic> {
        let mut wrong = Vec::new();
        let mut found = Vec::new();
        for root in &self.roots {
            if let Err(error) = list(root, &mut found) {
                // A folder that cannot be read must not look like one whose files are gone.
                wrong.push(Diagnostic { file: root.clone(), line: 0, message: format!("cannot be read: {error}") });
                found.extend(self.files.keys().filter(|file| file.starts_with(root)).cloned());
            }
        }
        found.sort();
        found.dedup();
        self.files.retain(|file, _| found.binary_search(file).is_ok());
        for path in found {
            let known = self.files.entry(path.clone()).or_default();
            match read(&path) {
                Ok(text) => {
                    let seen = (text.len(), hash(&text));
                    if known.seen.replace(seen) == Some(seen) {
                        continue;
                    }
                    if text.trim().is_empty() && !known.good.is_empty() {
                        let message =
                            "is empty: its last good objects are kept; delete the file to remove them".to_owned();
                        wrong.push(Diagnostic { file: path, line: 0, message });
                        continue;
                    }
                    match file::read(&path, &text) {
                        Ok(placed) => known.good = placed,
                        Err(diagnostics) => wrong.extend(diagnostics),
                    }
                }
                Err(error) => {
                    wrong.push(Diagnostic { file: path, line: 0, message: format!("cannot be read: {error}") });
                }
            }
        }
        wrong.extend(self.duplicates());
        wrong
    }

    /// The objects of `kind`: of an object that two files hold, the first file's.
    pub fn objects(&self, kind: Kind) -> Vec<(ObjectKey, Object)> {
        let mut objects = BTreeMap::new();
        for placed in self.files.values().flat_map(|file| &file.good).filter(|placed| placed.object.kind() == kind) {
            objects.entry(placed.key.clone()).or_insert_with(|| placed.object.clone());
        }
        objects.into_iter().collect()
    }

    /// Where the field that `why` names stands.
    pub fn locate(&self, object: &ObjectRef, why: &Invalid) -> Option<(&Path, u64)> {
        self.files.iter().find_map(|(path, file)| {
            let of = |placed: &&Placed| placed.object.kind() == object.kind && placed.key == object.key;
            let placed = file.good.iter().find(of)?;
            Some((path.as_path(), file::line(&placed.document, why)))
        })
    }

    fn duplicates(&self) -> Vec<Diagnostic> {
        let mut first: BTreeMap<(Kind, &ObjectKey), &Path> = BTreeMap::new();
        let mut wrong = Vec::new();
        for (path, placed) in
            self.files.iter().flat_map(|(path, file)| file.good.iter().map(move |placed| (path, placed)))
        {
            let kind = placed.object.kind();
            match first.get(&(kind, &placed.key)) {
                Some(other) => wrong.push(Diagnostic {
                    file: path.clone(),
                    line: placed.document.line("metadata.name"),
                    message: format!("{kind} {} is also in {}, which is used", placed.key, other.display()),
                }),
                None => {
                    first.insert((kind, &placed.key), path);
                }
            }
        }
        wrong
    }
}

/// The manifest files at and below `root`, in any order. Names that start with a dot are passed over: editors' swap files,
/// and the folders behind the links of a mounted ConfigMap.
fn list(root: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(root)?.is_dir() {
        found.push(root.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        let is_manifest = path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json");
        // A file that was removed since the listing, or a dangling link, is simply not there.
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => list(&path, found)?,
            Ok(_) if is_manifest => found.push(path),
            _ => {}
        }
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::Error::other("the file is larger than 64 MiB"));
    }
    fs::read_to_string(path)
}

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
