//! `config_provider: yaml`: an `apisix.yaml` is followed, and fills a store in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use anyhow::Context as _;

use crate::config::resources;
use crate::store::{Memory, Operation, Transaction};

/// How often the file is looked at (APISIX: every second).
const POLL: Duration = Duration::from_millis(500);

/// A file of resources that fills a store.
#[derive(Debug)]
pub(super) struct Standalone {
    path: PathBuf,
    store: Memory,
    text: Option<String>,
}

impl Standalone {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When it cannot be read or used: there is no last good version yet.
    pub(super) fn open(path: PathBuf) -> anyhow::Result<(Self, Memory)> {
        let store = Memory::default();
        let mut file = Self { path, store: store.clone(), text: None };
        file.reload()?;
        Ok((file, store))
    }

    /// Follows the file. What cannot be used leaves everything as it is.
    pub(super) async fn run(mut self) {
        loop {
            tokio::time::sleep(POLL).await;
            if let Err(error) = self.reload() {
                tracing::error!("{error:#}; what it said before stays in use");
            }
        }
    }

    /// Takes over what the file says, if it was changed since.
    fn reload(&mut self) -> anyhow::Result<()> {
        let text = fs::read_to_string(&self.path).with_context(|| format!("cannot read {}", self.path.display()));
        // A file that is gone is told of once.
        let text = match text {
            Err(_) if self.text.as_deref() == Some("") => return Ok(()),
            Err(error) => {
                self.text = self.text.is_some().then(String::new);
                return Err(error);
            }
            Ok(text) if self.text.as_ref() == Some(&text) => return Ok(()),
            Ok(text) => self.text.insert(text),
        };
        let said = read(&self.path, text)?;
        let known = self.store.list("").entries;
        let gone = known.keys().filter(|key| !said.contains_key(*key)).cloned().map(Operation::Delete);
        let changed = said.iter().filter(|(key, value)| known.get(*key).is_none_or(|old| old.value != **value));
        let put =
            |(key, value): (&Arc<str>, &Arc<str>)| Operation::Put { key: key.clone(), ttl: None, value: value.clone() };
        let operations: Vec<_> = gone.chain(changed.map(put)).collect();
        if !operations.is_empty() {
            self.store.commit(&Transaction { guards: Vec::new(), operations });
        }
        Ok(())
    }
}

fn read(path: &Path, text: &str) -> anyhow::Result<BTreeMap<Arc<str>, Arc<str>>> {
    let said =
        resources(text, |name| env::var(name).ok()).with_context(|| format!("{} cannot be used", path.display()))?;
    Ok(said.into_iter().map(|(key, value)| (key.into(), value.to_string().into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_holds_what_the_last_good_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("apisix.yaml");
        let write = |text: &str| fs::write(&path, text).unwrap();
        assert!(Standalone::open(path.clone()).is_err(), "nothing is there");
        write("routes: [{id: 1, uri: /a}, {id: 2, uri: /b}]\n#END\n");
        let (mut file, store) = Standalone::open(path.clone()).unwrap();
        let keys = || store.list("").entries.into_keys().map(|key| key.to_string()).collect::<Vec<_>>();
        assert_eq!(keys(), ["routes/1", "routes/2"]);
        let before = store.get("routes/1").unwrap();
        write("routes: [{id: 1, uri: /a}, {id: 3, uri: /c}]\n#END\n");
        file.reload().unwrap();
        assert_eq!(keys(), ["routes/1", "routes/3"]);
        assert_eq!(store.get("routes/1").unwrap(), before, "what is the same stays");
        write("routes: [");
        assert!(file.reload().is_err() && file.reload().is_ok(), "told once");
        fs::remove_file(&path).unwrap();
        assert!(file.reload().is_err() && file.reload().is_ok(), "told once");
        assert_eq!(keys(), ["routes/1", "routes/3"]);
        write("#END");
        file.reload().unwrap();
        assert!(keys().is_empty());
    }
}
