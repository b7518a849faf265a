//! The database of the embedded store: redb, in one file.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableError,
};

use crate::store::{Entry, Event, Listing};

/// Texts by their keys: the revisions that made and changed the key, when it ends (milliseconds since 1970), and the text.
const ENTRIES: TableDefinition<'_, &str, (u64, u64, Option<u64>, &str)> = TableDefinition::new("entries");

/// `format` and `revision`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The format of the tables above.
const FORMAT: u64 = 1;

/// Bytes of pages that redb keeps in memory. We read the file once, so there is no use for more.
const CACHE: usize = 4 << 20;

/// When keys end, in milliseconds since 1970.
pub(super) type Deadlines = BTreeMap<Arc<str>, u64>;

/// Where a database is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: PathBuf,
    #[cfg(test)]
    pub(super) backend: Option<super::tests::Drive>,
}

/// An open database.
#[derive(Debug)]
pub(super) struct Disk {
    database: Option<Database>,
    place: Place,
}

impl Place {
    /// The database in `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join("store.redb"),
            #[cfg(test)]
            backend: None,
        }
    }

    /// Opens the database, or makes an empty one where there is none, and reads all of it.
    ///
    /// # Errors
    /// A sentence with the file's path and what to do about it.
    pub(super) fn open(&self) -> Result<(Disk, Listing, Deadlines), String> {
        self.unwinding(|| {
            let database = self.database().map_err(|error| self.explain_database(error))?;
            let disk = Disk { database: Some(database), place: self.clone() };
            let (listing, deadlines) = disk.read()?;
            Ok((disk, listing, deadlines))
        })
    }

    fn database(&self) -> Result<Database, DatabaseError> {
        let mut builder = Builder::new();
        // A file that something else has written to must not be served from: every page is compared with its checksum.
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        #[cfg(test)]
        if let Some(backend) = &self.backend {
            return builder.create_with_backend(backend.clone());
        }
        if !fs::exists(&self.path).map_err(StorageError::Io)? {
            self.make()?;
        }
        builder.open(&self.path)
    }

    /// Makes an empty database, whole or not at all: a file that is empty was not always so, and is damaged.
    fn make(&self) -> Result<(), DatabaseError> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let unfinished = self.path.with_extension(format!("{}-{}.new", std::process::id(), super::now()));
        OpenOptions::new().append(true).create(true).mode(0o600).open(&unfinished)?;
        let made = Builder::new().create(&unfinished).and_then(Database::close);
        let made = made.and_then(|()| Ok(fs::hard_link(&unfinished, &self.path)?));
        let _ = fs::remove_file(&unfinished); // of no use any more, and of no harm
        match made {
            // Another process was faster.
            Err(DatabaseError::Storage(StorageError::Io(error))) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        Ok(File::open(folder)?.sync_all()?)
    }

    /// What `work` returns. redb panics on some files that are damaged; that is an error like the others here.
    fn unwinding<T>(&self, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(self.damaged("it does not hold together")))
    }

    fn explain_database(&self, error: DatabaseError) -> String {
        let path = self.path.display();
        match error {
            DatabaseError::DatabaseAlreadyOpen => {
                format!(
                    "{path}: another process uses it: give each gateway a data folder of its own, or let them share an etcd"
                )
            }
            DatabaseError::Storage(error) => self.explain(error.into()),
            error => self.explain(error.into()),
        }
    }

    fn explain(&self, error: redb::Error) -> String {
        match error {
            // redb says so of a file that is none of its own, and of one that is shorter than it was.
            redb::Error::Io(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                self.damaged(&error.to_string())
            }
            redb::Error::Corrupted(why) => self.damaged(&why),
            error => format!("{}: {error}", self.path.display()),
        }
    }

    fn damaged(&self, why: &str) -> String {
        let path = self.path.display();
        format!("{path}: is damaged ({why}): restore it from a backup, or remove it to begin with an empty store")
    }
}

impl Disk {
    /// Everything in it.
    fn read(&self) -> Result<(Listing, Deadlines), String> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database()?.begin_read()?;
            let meta = match transaction.open_table(META) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                meta => meta?,
            };
            let format = meta.get("format")?.map(|format| format.value());
            let revision = meta.get("revision")?.map_or(0, |revision| revision.value());
            let mut listing = Listing { revision, ..Listing::default() };
            let mut deadlines = Deadlines::new();
            for row in transaction.open_table(ENTRIES)?.iter()? {
                let (key, row) = row?;
                let key: Arc<str> = key.value().into();
                let (created, modified, deadline, value) = row.value();
                deadlines.extend(deadline.map(|deadline| (key.clone(), deadline)));
                listing.entries.insert(key, Entry { value: value.into(), created, modified });
            }
            Ok(Some((format, listing, deadlines)))
        };
        match read().map_err(|error| self.place.explain(error))? {
            None => {
                self.write(&[], 0, &Deadlines::new())?;
                Ok(Default::default())
            }
            Some((Some(FORMAT), listing, deadlines)) => Ok((listing, deadlines)),
            Some((format, ..)) => {
                let path = self.place.path.display();
                let format = format.map_or("unknown".to_owned(), |format| format.to_string());
                Err(format!(
                    "{path}: has the format {format}; this version reads {FORMAT}: use the version that wrote it"
                ))
            }
        }
    }

    /// Makes `events` durable, as `revision`. After an error, whether they are is known when the database was opened again.
    ///
    /// # Errors
    /// A sentence with the file's path.
    pub(super) fn write(&self, events: &[Event], revision: u64, deadlines: &Deadlines) -> Result<(), String> {
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database()?.begin_write()?;
            // With one phase, a file whose last transaction is damaged opens as it was before it, and nobody is told.
            transaction.set_two_phase_commit(true);
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert("format", FORMAT)?;
                meta.insert("revision", revision)?;
                let mut entries = transaction.open_table(ENTRIES)?;
                for Event { key, entry } in events {
                    if let Some(Entry { value, created, modified }) = entry {
                        let deadline = deadlines.get(key).copied();
                        entries.insert(&**key, (*created, *modified, deadline, &**value))?;
                    } else {
                        entries.remove(&**key)?;
                    }
                }
            }
            Ok(transaction.commit()?)
        };
        self.place.unwinding(|| write().map_err(|error| self.place.explain(error)))
    }

    fn database(&self) -> Result<&Database, StorageError> {
        self.database.as_ref().ok_or(StorageError::DatabaseClosed)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let database = self.database.take();
        // Closing writes, and what it writes is of use to the next opening only.
        let _ = self.place.unwinding(move || {
            drop(database);
            Ok(())
        });
    }
}
