//! Where config.yaml is found.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use anyhow::Context as _;

use super::{Config, Provider, Warning};

/// Where it is looked for when nobody says where it is: as from APISIX's own folder, then where APISIX's images have it.
const PLACES: [&str; 2] = ["conf/config.yaml", "/usr/local/apisix/conf/config.yaml"];

/// A config.yaml that was found and read.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it says.
    pub config: Config,
    /// The file.
    pub path: PathBuf,
    /// What it says in vain.
    pub warnings: Vec<Warning>,
}

/// Reads the config.yaml at `path`, or, where there is none given, the first one in the usual places; `None` where there is none.
///
/// # Errors
/// When a file that was given cannot be read, or one that is there cannot be used: it is never passed over.
pub fn find(path: Option<&Path>) -> anyhow::Result<Option<Found>> {
    let places = PLACES.map(PathBuf::from);
    let candidates = path.map_or(places.to_vec(), |path| vec![path.to_owned()]);
    for candidate in candidates {
        match fs::read_to_string(&candidate) {
            Ok(text) => return parse(candidate, &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_none() => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", candidate.display())),
        }
    }
    Ok(None)
}

fn parse(path: PathBuf, text: &str) -> anyhow::Result<Found> {
    match Config::parse(text, |name| env::var(name).ok()) {
        Ok((mut config, warnings)) => {
            if let Provider::Yaml(resources) = &mut config.provider {
                *resources = path.with_file_name(&*resources);
            }
            Ok(Found { config, path, warnings })
        }
        Err(errors) => {
            let lines: Vec<_> = errors.iter().map(|error| format!("  {error}")).collect();
            anyhow::bail!("{} cannot be used:\n{}", path.display(), lines.join("\n"))
        }
    }
}
