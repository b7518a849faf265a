//! Which manifest files there are, and what is in one.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use super::folder::MAX_FILE;

/// Folders in folders are followed so far: links can make far more paths than there are folders.
const DEPTH: usize = 16;

/// A file younger than this may change again without its times showing it.
const TICK: Duration = Duration::from_secs(2);

/// Device and inode.
pub(super) type Id = (u64, u64);

pub(super) fn id(metadata: &fs::Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

/// What tells one state of a file from the next without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    id: Id,
    len: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            id: id(metadata),
            len: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A file as it was found.
pub(super) enum Found {
    /// It is as it was when the stamp was taken.
    Same,
    /// Its text, and its stamp where that is sure to change with the text.
    Text(String, Option<Stamp>),
    /// It is being written.
    Unfinished,
}

/// The manifest files at and below `root`, in any order. Names that start with a dot are passed over: editors' swap files,
/// and the folders behind the links of a mounted ConfigMap.
pub(super) fn list(root: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let metadata = fs::metadata(root)?;
    if metadata.is_dir() {
        return below(root, &mut vec![id(&metadata)], found);
    }
    found.push(root.to_owned());
    Ok(())
}

/// `above` are the folders on the way here: a link back to one of them leads to nothing new.
fn below(folder: &Path, above: &mut Vec<Id>, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let is_manifest = path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json");
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                let id = id(&metadata);
                if above.contains(&id) {
                    continue;
                }
                if above.len() > DEPTH {
                    return Err(io::Error::other(format!("folders are nested more than {DEPTH} deep")));
                }
                above.push(id);
                below(&path, above, found)?;
                above.pop();
            }
            // A file that was removed since the listing, or a dangling link, is simply not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // What is no regular file, or cannot be looked at, is reported when it is read.
            _ if is_manifest => found.push(path),
            // A folder, perhaps, with files that would seem to be gone.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Reads a file unless it is as it was at `last`, or one of those that are `open` for writing.
pub(super) fn read(path: &Path, last: Option<Stamp>, open: &[Id]) -> io::Result<Found> {
    let metadata = fs::metadata(path)?;
    // A pipe would wait for its writer, and a device may have no end.
    if !metadata.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    if open.contains(&id(&metadata)) {
        return Ok(Found::Unfinished);
    }
    if last == Some(Stamp::of(&metadata)) {
        return Ok(Found::Same);
    }
    let file = fs::File::open(path)?;
    let before = file.metadata()?;
    let mut text = String::new();
    (&file).take(MAX_FILE as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_FILE {
        return Err(io::Error::other("the file is larger than 64 MiB"));
    }
    let stamp = Stamp::of(&before);
    if Stamp::of(&file.metadata()?) != stamp {
        return Ok(Found::Unfinished);
    }
    let is_old = before.modified().is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > TICK));
    Ok(Found::Text(text, is_old.then_some(stamp)))
}
