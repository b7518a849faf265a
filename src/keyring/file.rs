//! Secrets of this gateway itself, in files that only their owner reads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// What the file at `path` holds. A file that is not there is made, with what `fresh` gives: whole or not at all, and only once, whoever
/// else makes it at the same time. Its folder is made too.
///
/// # Errors
/// When the file cannot be read or written, or `fresh` fails.
pub fn kept(path: &Path, fresh: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    match put(path, &fresh()?, |unfinished, path| fs::hard_link(unfinished, path)) {
        // Someone else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    fs::read(path)
}

/// Has the file at `path` hold `bytes`: whole or not at all, also when the power fails. Its folder is made too.
///
/// # Errors
/// When the file cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes, |unfinished, path| fs::rename(unfinished, path))
}

/// Writes a file beside `path` and lets `place` put it there.
fn put(path: &Path, bytes: &[u8], place: impl FnOnce(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let unfinished = path.with_extension(format!("{}-{:?}.new", std::process::id(), std::thread::current().id()));
    let placed = write(&unfinished, bytes).and_then(|()| place(&unfinished, path));
    let _ = fs::remove_file(&unfinished); // of no use any more, and of no harm
    placed?;
    File::open(folder)?.sync_all()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
