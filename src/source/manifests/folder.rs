//! Folders of manifests: every `*.yaml`, `*.yml` and `*.json` in them and below.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{self, Diagnostic, Placed};
use super::list::{self, Found, Stamp};
use crate::model::{Invalid, Kind, ObjectKey, ObjectRef};
use crate::world::Object;

/// Files are read up to this size, in bytes: far over the API server's own limit of 1.5 MiB for an object.
pub(super) const MAX_FILE: usize = 64 << 20;

/// The manifests of some folders: the last good content of every file.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    files: BTreeMap<PathBuf, File>,
    generation: u64,
    roots: Vec<PathBuf>,
    /// What was wrong at the last call and stays wrong until something changes.
    standing: Vec<Diagnostic>,
}

#[derive(Clone, Debug, Default)]
struct File {
    /// What was read last could not be used.
    broken: bool,
    /// The file is not there any more.
    gone: bool,
    good: Arc<Vec<Placed>>,
    /// The text that was read last, good or not, as a length and a hash: unchanged text is not parsed again.
    seen: Option<(usize, u64)>,
    stamp: Option<Stamp>,
}

impl Folder {
    /// Nothing read yet. A root may also be a single file.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots, ..Self::default() }
    }

    /// Grows whenever the objects may have changed.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Reads what has changed since the last call. A file that is broken or empty keeps its last good objects, and a file
    /// that is gone takes its objects with it, unless another file is broken: that may be where they were moved to.
    ///
    /// Returns what is wrong and was not yet said.
    pub fn reload(&mut self) -> Vec<Diagnostic> {
        self.reload_except(&[])
    }

    /// As [`Self::reload`], but leaves the files at `open` as they were: they are still being written.
    pub(super) fn reload_except(&mut self, open: &[PathBuf]) -> Vec<Diagnostic> {
        let open: Vec<_> =
            open.iter().filter_map(|path| fs::metadata(path).ok()).map(|found| list::id(&found)).collect();
        let mut wrong = Vec::new();
        let mut standing = Vec::new();
        let mut found = self.list(&mut standing);
        if self.files.keys().any(|file| found.binary_search(file).is_err()) {
            // A listing may miss a file that is renamed meanwhile, under both of its names.
            standing.clear();
            found = self.list(&mut standing);
        }
        for (path, file) in &mut self.files {
            let gone = found.binary_search(path).is_err();
            self.generation += u64::from(file.gone != gone);
            file.gone = gone;
        }
        let mut unfinished = false;
        for path in found {
            let known = self.files.entry(path.clone()).or_default();
            let text = match list::read(&path, known.stamp, &open) {
                Ok(Found::Text(text, stamp)) => {
                    known.stamp = stamp;
                    text
                }
                Ok(Found::Same) => continue,
                Ok(Found::Unfinished) => {
                    unfinished = true;
                    continue;
                }
                Err(error) => {
                    (known.broken, known.seen, known.stamp) = (true, None, None);
                    standing.push(Diagnostic { file: path, line: 0, message: format!("cannot be read: {error}") });
                    continue;
                }
            };
            let seen = (text.len(), hash(&text));
            if known.seen.replace(seen) == Some(seen) {
                continue;
            }
            let read = file::read(&path, &text);
            known.broken = read.is_err();
            match read {
                Ok(None) if !known.good.is_empty() => {
                    let message = "is empty: its last good objects are kept; delete the file to remove them".to_owned();
                    wrong.push(Diagnostic { file: path, line: 0, message });
                }
                Ok(placed) => {
                    known.good = Arc::new(placed.unwrap_or_default());
                    self.generation += 1;
                }
                Err(diagnostics) => wrong.extend(diagnostics),
            }
        }
        self.part_with_the_gone(unfinished, &mut standing);
        standing.extend(self.duplicates());
        wrong.extend(standing.iter().filter(|diagnostic| !self.standing.contains(diagnostic)).cloned());
        self.standing = standing;
        wrong
    }

    /// The files that are there, sorted.
    fn list(&self, standing: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for root in &self.roots {
            if let Err(error) = list::list(root, &mut found) {
                // A folder that cannot be read must not look like one whose files are gone.
                standing.push(Diagnostic { file: root.clone(), line: 0, message: format!("cannot be read: {error}") });
                found.extend(self.files.keys().filter(|file| file.starts_with(root)).cloned());
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Drops the objects of files that are gone, unless they may have been moved to a file that cannot be used yet.
    fn part_with_the_gone(&mut self, unfinished: bool, standing: &mut Vec<Diagnostic>) {
        let broken = self.files.iter().find(|(_, file)| file.broken && !file.gone).map(|(path, _)| path.clone());
        let keep = unfinished || broken.is_some();
        let before = self.files.len();
        self.files.retain(|_, file| !file.gone || (keep && !file.good.is_empty()));
        self.generation += u64::from(self.files.len() != before);
        if let Some(broken) = broken {
            for (path, _) in self.files.iter().filter(|(_, file)| file.gone) {
                let message =
                    format!("is gone: its objects are kept until {} is repaired or removed", broken.display());
                standing.push(Diagnostic { file: path.clone(), line: 0, message });
            }
        }
    }

    /// The objects of `kind`: of an object that two files hold, the first file's.
    pub fn objects(&self, kind: Kind) -> Vec<(ObjectKey, Object)> {
        let mut objects = BTreeMap::new();
        // What was moved out of a file that is gone counts where it is now.
        let files =
            [false, true].into_iter().flat_map(|gone| self.files.values().filter(move |file| file.gone == gone));
        for placed in files.flat_map(|file| file.good.iter()).filter(|placed| placed.object.kind() == kind) {
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
        for (path, placed) in self
            .files
            .iter()
            .filter(|(_, file)| !file.gone)
            .flat_map(|(path, file)| file.good.iter().map(move |placed| (path, placed)))
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

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
