//! Which keys open the Admin API.

use std::io;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::settings::{ApiKey, Role, Settings};
use crate::keyring;
use crate::trust;

/// The key that APISIX shipped with until 3.9, and that its documentation uses. Everybody knows it, so it is accepted only where the
/// address is on the loopback interface, nobody but this machine is allowed, or clients show a certificate, and never from what may be a page
/// in a browser: any page could call with it. It is what
/// opens the API there when no key is configured; elsewhere a key is made then.
pub const PUBLIC_KEY: &str = "edd1c9f034335f136f87ad84b625c8f1";

/// The file, in the data folder, of the key that was made.
const FILE: &str = "admin.key";

/// The keys that are accepted.
#[derive(Debug)]
pub(super) struct Keys {
    keys: Vec<Known>,
}

/// A key as it is compared.
#[derive(Debug)]
pub(super) struct Known {
    /// What the log calls it.
    pub(super) name: String,
    /// What it allows.
    pub(super) role: Role,
    public: bool,
    sha256: [u8; 32],
}

impl Keys {
    /// The keys that `settings` allow; one is made where there is none.
    ///
    /// # Errors
    /// When the file of the made key cannot be read or written.
    pub(super) fn new(settings: &Settings) -> io::Result<Self> {
        let sheltered = settings.is_sheltered();
        let (usable, refused): (Vec<_>, Vec<_>) =
            settings.keys.iter().partition(|key| sheltered || key.key != PUBLIC_KEY);
        for key in refused {
            tracing::error!(
                "the Admin API does not accept the key {:?}: it is APISIX's example, which everybody knows; configure another, \
                 listen on 127.0.0.1, or require client certificates (admin_ssl_ca_cert)",
                key.name
            );
        }
        // APISIX's own file has an empty key, in the place of which one is made.
        let mut keys: Vec<_> = usable.into_iter().filter(|key| !key.key.is_empty()).map(Known::new).collect();
        if keys.is_empty() && settings.key_required {
            keys.push(Known::new(&if sheltered { example() } else { made(settings)? }));
        }
        Ok(Self { keys })
    }

    /// The key that `token` is. Takes as long whatever it is.
    pub(super) fn find(&self, token: &[u8], from_page: bool) -> Option<&Known> {
        let sha256 = sha256(token);
        let mut found = None;
        for key in &self.keys {
            if verify_slices_are_equal(&key.sha256, &sha256).is_ok() && !(key.public && from_page) {
                found = Some(key);
            }
        }
        found
    }
}

impl Known {
    fn new(key: &ApiKey) -> Self {
        let public = key.key == PUBLIC_KEY;
        Self { name: key.name.clone(), role: key.role, public, sha256: sha256(key.key.as_bytes()) }
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

fn example() -> ApiKey {
    tracing::warn!("no key of the Admin API is configured (admin_key): APISIX's example key {PUBLIC_KEY} is accepted");
    ApiKey { key: PUBLIC_KEY.to_owned(), name: "example".to_owned(), role: Role::Admin }
}

/// The key of the data folder, made the first time.
fn made(settings: &Settings) -> io::Result<ApiKey> {
    let fresh = || {
        let key = random()?;
        tracing::warn!("no key of the Admin API is configured (admin_key): made one, X-API-KEY: {key}");
        Ok(key)
    };
    let key = match &settings.data {
        None => fresh()?,
        Some(folder) => {
            let bytes = keyring::kept(&folder.join(FILE), || fresh().map(String::into_bytes))?;
            String::from_utf8_lossy(&bytes).trim().to_owned()
        }
    };
    Ok(ApiKey { key, name: "made".to_owned(), role: Role::Admin })
}

/// 128 random bits in hexadecimal.
fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("the system has no randomness"))?;
    Ok(trust::hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(listen: &str, keys: &[&str]) -> Settings {
        let key = |key: &&str| ApiKey { key: (*key).to_owned(), name: (*key).to_owned(), role: Role::Admin };
        let keys = keys.iter().map(key).collect();
        Settings { allow: Vec::new(), keys, listen: listen.parse().unwrap(), ..Settings::default() }
    }

    #[test]
    fn the_public_key_opens_only_what_is_sheltered_and_never_for_browsers() {
        for (listen, keys, opens) in [
            ("127.0.0.1:0", &[][..], true),
            ("[::1]:0", &[], true),
            ("0.0.0.0:0", &[], false),
            ("127.0.0.1:0", &["other"], false),
            ("127.0.0.1:0", &[PUBLIC_KEY], true),
            ("0.0.0.0:0", &[PUBLIC_KEY], false),
        ] {
            let keys = Keys::new(&at(listen, keys)).unwrap();
            assert_eq!(keys.find(PUBLIC_KEY.as_bytes(), false).is_some(), opens, "{listen}");
            assert!(keys.find(PUBLIC_KEY.as_bytes(), true).is_none(), "{listen}");
        }
        let keys = Keys::new(&at("0.0.0.0:0", &["other"])).unwrap();
        assert!(keys.find(b"other", true).is_some(), "whoever knows a secret may use a browser");
        assert!(keys.find(b"othe", false).is_none());
        let keys = Keys::new(&at("0.0.0.0:0", &[""])).unwrap();
        assert!(keys.find(b"", false).is_none(), "an empty key is none");
    }

    #[test]
    fn the_public_key_opens_what_admits_this_machine_alone() {
        for (allow, opens) in [
            (&["127.0.0.0/24"][..], true),
            (&["127.0.0.0/8", "::1", "::ffff:127.0.0.1"], true),
            (&["127.0.0.0/24", "10.0.0.0/8"], false),
            (&["126.0.0.0/7"], false),
            (&["::/127"], false),
            (&[], false),
        ] {
            let allow: Vec<_> = allow.iter().map(|text| crate::model::Network::parse(text).unwrap()).collect();
            let settings = Settings { allow: allow.clone(), ..at("0.0.0.0:0", &[]) };
            let keys = Keys::new(&settings).unwrap();
            assert_eq!(keys.find(PUBLIC_KEY.as_bytes(), false).is_some(), opens, "{allow:?}");
        }
    }

    #[test]
    fn a_made_key_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { data: Some(folder.path().to_owned()), ..at("0.0.0.0:0", &[]) };
        Keys::new(&settings).unwrap();
        let key = std::fs::read(folder.path().join(FILE)).unwrap();
        assert!(Keys::new(&settings).unwrap().find(&key, false).is_some());
    }
}
