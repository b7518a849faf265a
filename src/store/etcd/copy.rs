//! The last that etcd told, in a file of our own: what a gateway that starts while etcd is away begins with. Encrypted with AES-256-GCM,
//! because etcd's access control does not reach it, under a key of this folder; so that a copy of the file alone is of no use, and one that
//! was changed is noticed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use serde::{Deserialize, Serialize};

use super::follow::Shared;
use crate::keyring;
use crate::store::{Entry, Listing};

/// How long etcd may take to answer at start before the copy is served.
const GRACE: Duration = Duration::from_secs(2);

/// The copy is written at most this often.
const PAUSE: Duration = Duration::from_secs(1);

/// The beginning of the file: what it is, and its format.
const MAGIC: &[u8] = b"portcullis etcd copy 1\n";

/// Where the copy is.
#[derive(Clone, Debug)]
pub(super) struct LocalCopy {
    key: PathBuf,
    path: PathBuf,
    /// What is copied: that of another prefix is not served.
    prefix: Arc<str>,
}

/// The plain text of the file.
#[derive(Debug, Deserialize, Serialize)]
struct Content<'a> {
    entries: BTreeMap<Arc<str>, (u64, u64, Arc<str>)>,
    prefix: std::borrow::Cow<'a, str>,
    revision: u64,
}

impl LocalCopy {
    /// The copy in `folder`.
    pub(super) fn new(folder: &Path, prefix: &str) -> Self {
        Self { key: folder.join("etcd-copy.key"), path: folder.join("etcd-copy"), prefix: prefix.into() }
    }

    /// Serves the copy if etcd does not answer soon, and writes it whenever something has changed. Runs until it is dropped.
    pub(super) async fn run(self, shared: Arc<Shared>) {
        if tokio::time::timeout(GRACE, shared.changed.notified()).await.is_err() {
            self.serve(&shared).await;
            shared.changed.notified().await;
        }
        loop {
            let copy = self.clone();
            let all = shared.lock().all().clone();
            match tokio::task::spawn_blocking(move || copy.write(&all)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, file = %self.path.display(), "etcd's copy cannot be written"),
                Err(error) => tracing::warn!(%error, "etcd's copy cannot be written"),
            }
            tokio::time::sleep(PAUSE).await;
            shared.changed.notified().await;
        }
    }

    /// Serves the copy unless etcd has answered meanwhile.
    async fn serve(&self, shared: &Shared) {
        let copy = self.clone();
        let file = self.path.display();
        match tokio::task::spawn_blocking(move || copy.read()).await {
            Ok(Ok(Some(all))) => {
                let keys = all.entries.len();
                if shared.begin_with_copy(all) {
                    tracing::warn!(%file, keys, "etcd does not answer: the copy of what it told last is served");
                }
            }
            Ok(Ok(None)) => tracing::warn!("etcd does not answer, and there is no copy of what it told last"),
            Ok(Err(error)) => {
                tracing::error!(%file, error, "etcd does not answer, and the copy of what it told last cannot be used");
            }
            Err(error) => {
                tracing::error!(%error, "etcd does not answer, and the copy of what it told last cannot be read");
            }
        }
    }

    fn write(&self, all: &Listing) -> io::Result<()> {
        let entries = all.entries.iter();
        let entries = entries.map(|(key, entry)| (key.clone(), (entry.created, entry.modified, entry.value.clone())));
        let content = Content { entries: entries.collect(), prefix: (&*self.prefix).into(), revision: all.revision };
        let mut bytes = serde_json::to_vec(&content)?;
        let key = keyring::kept(&self.key, || Ok(keyring::random::<32>()?.to_vec()))?;
        let failed = |_| io::Error::other("cannot be encrypted: is its key damaged?");
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(failed)?;
        let nonce = key.seal_in_place_append_tag(Aad::from(MAGIC), &mut bytes).map_err(failed)?;
        keyring::replace(&self.path, &[MAGIC, nonce.as_ref(), &bytes].concat())
    }

    /// What the file holds; `None` where there is none.
    fn read(&self) -> Result<Option<Listing>, String> {
        let file = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| error.to_string())?,
        };
        let key = fs::read(&self.key).map_err(|error| format!("its key {}: {error}", self.key.display()))?;
        let damaged = || "it is damaged, or its key is another one".to_owned();
        let rest = file.strip_prefix(MAGIC).ok_or_else(|| "it has another format".to_owned())?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| damaged())?;
        let mut sealed = sealed.to_vec();
        let plain = key.open_in_place(nonce, Aad::from(MAGIC), &mut sealed).map_err(|_| damaged())?;
        let content: Content<'_> = serde_json::from_slice(plain).map_err(|error| error.to_string())?;
        if content.prefix != *self.prefix {
            return Err(format!("it is of the prefix {}", content.prefix));
        }
        let entries = content.entries.into_iter();
        let entries = entries.map(|(key, (created, modified, value))| (key, Entry { value, created, modified }));
        Ok(Some(Listing { entries: entries.collect(), revision: content.revision }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn listing() -> Listing {
        let entry = Entry { value: r#"{"key":"secret"}"#.into(), created: 3, modified: 5 };
        Listing { entries: BTreeMap::from([("ssls/1".into(), entry)]), revision: 7 }
    }

    #[test]
    fn a_copy_is_read_as_it_was_written_and_shows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let copy = LocalCopy::new(&folder.path().join("data"), "/apisix");
        assert_eq!(copy.read(), Ok(None));
        for _ in 0..2 {
            copy.write(&listing()).unwrap();
            assert_eq!(copy.read(), Ok(Some(listing())));
        }
        let file = fs::read(&copy.path).unwrap();
        assert!(!file.windows(6).any(|bytes| bytes == b"secret"));
        for path in [&copy.path, &copy.key] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(LocalCopy { prefix: "/other".into(), ..copy }.read().unwrap_err().contains("/apisix"));
    }

    #[test]
    fn a_damaged_copy_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let copy = LocalCopy::new(folder.path(), "/apisix");
        copy.write(&listing()).unwrap();
        let whole = fs::read(&copy.path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&copy.path, &bytes).unwrap();
            assert!(copy.read().is_err(), "byte {at}");
            fs::write(&copy.path, &whole[..at]).unwrap();
            assert!(copy.read().is_err(), "cut off at {at}");
        }
        fs::write(&copy.path, &whole).unwrap();
        fs::write(&copy.key, [0; 32]).unwrap();
        assert!(copy.read().is_err());
        fs::remove_file(&copy.key).unwrap();
        assert!(copy.read().unwrap_err().contains("etcd-copy.key"));
    }
}
