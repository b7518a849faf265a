//! Secrets inside resources, such as the private key of an ssl, are kept encrypted in a store. The form is APISIX's own
//! (`data_encryption.keyring`, apisix/ssl.lua), so that both read what the other wrote: AES-128 in CBC mode, where an entry of the
//! keyring is key and initialization vector, PKCS#7 padding, base64. It keeps secrets out of backups and logs; it is no
//! proof of who wrote them, which is what etcd's own mutual TLS is for.

mod file;

use std::fmt;
use std::io;
use std::path::Path;

use aws_lc_rs::cipher::{
    AES_128, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};

pub use file::{kept, replace};

/// The length of an entry, in bytes: a key of AES-128.
const LENGTH: usize = 16;

/// The entries that APISIX ships with, which everybody knows.
const PUBLIC: [&str; 2] = ["qeddd145sfvddff3", "edd1c9f0985e76a2"];

/// The name of the file of [`Keyring::in_folder`].
const FILE: &str = "keyring";

/// The keys that open secrets, of which the first also seals.
pub struct Keyring {
    sealing: PaddedBlockEncryptingKey,
    sealing_iv: [u8; LENGTH],
    entries: Vec<Key>,
}

/// An entry.
struct Key {
    key: PaddedBlockDecryptingKey,
    iv: [u8; LENGTH],
}

/// A secret that no entry opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is neither PEM nor opened by an entry of the keyring: configure data_encryption.keyring as where it was written, or write it anew"
)]
pub struct NotOpened;

impl Keyring {
    /// Makes a keyring of `entries`, each 16 bytes. The first of them that is not one of APISIX's public defaults seals; all of them
    /// and the defaults open.
    ///
    /// # Errors
    /// When an entry is not 16 bytes long, or all of them are public. An entry is named by its place and never shown.
    pub fn new(entries: &[String]) -> Result<Self, String> {
        for (place, entry) in entries.iter().enumerate() {
            if entry.len() != LENGTH {
                let length = entry.len();
                return Err(format!("data_encryption.keyring[{place}] must have {LENGTH} bytes and has {length}"));
            }
        }
        let Some(own) = entries.iter().find(|entry| !Self::is_public(entry)) else {
            return Err(
                "data_encryption.keyring has only APISIX's public default keys: add one of your own, 16 random characters, as the first"
                    .to_owned(),
            );
        };
        let broken = |_| "data_encryption.keyring has an entry that is no AES key".to_owned();
        let all = entries.iter().map(String::as_str).chain(PUBLIC);
        Ok(Self {
            sealing: unbound(own).and_then(PaddedBlockEncryptingKey::cbc_pkcs7).map_err(broken)?,
            sealing_iv: iv(own),
            entries: all.map(Key::new).collect::<Result<_, _>>().map_err(broken)?,
        })
    }

    /// The keyring of a gateway that has no entry of its own configured: `entries` open, and the one in the file `keyring` of `folder`
    /// seals. It is made of 96 random bits, as 16 characters that can be copied into other gateways' `data_encryption.keyring`, and is
    /// readable by the owner only.
    ///
    /// # Errors
    /// When the file cannot be read or made, or does not hold an entry; it names the file.
    pub fn in_folder(folder: &Path, entries: &[String]) -> Result<Self, String> {
        let path = folder.join(FILE);
        let own = kept(&path, || Ok(BASE64_URL_SAFE_NO_PAD.encode(random::<12>()?).into_bytes()))
            .map_err(|error| format!("{}: cannot be read or made: {error}", path.display()))?;
        let own = String::from_utf8(own).ok().map(|text| text.trim_end().to_owned());
        let own = own.filter(|entry| entry.len() == LENGTH && !Self::is_public(entry)).ok_or_else(|| {
            format!(
                "{}: must hold {LENGTH} characters: restore it, or remove it and write the sealed secrets anew",
                path.display()
            )
        })?;
        Self::new(&std::iter::once(own).chain(entries.iter().cloned()).collect::<Vec<_>>())
    }

    /// A keyring whose sealing entry ends with the process, for a store that does so too; `entries` open.
    ///
    /// # Errors
    /// When the system has no randomness, or an entry is not 16 bytes long.
    pub fn fleeting(entries: &[String]) -> Result<Self, String> {
        let bytes = random::<12>().map_err(|error| error.to_string())?;
        let own = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Self::new(&std::iter::once(own).chain(entries.iter().cloned()).collect::<Vec<_>>())
    }

    /// Whether `entry` is one of those that APISIX ships with. They open what an existing etcd holds, and never seal.
    pub fn is_public(entry: &str) -> bool {
        PUBLIC.contains(&entry)
    }

    /// Encrypts `text`.
    pub fn seal(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        let context = EncryptionContext::Iv128(FixedLength::from(self.sealing_iv));
        self.sealing.less_safe_encrypt(&mut bytes, context).expect("an IV of 16 bytes is all that CBC asks for");
        BASE64_STANDARD.encode(bytes)
    }

    /// Decrypts what [`Self::seal`] or APISIX made. PEM, which begins with `-----`, is taken as it is.
    ///
    /// # Errors
    /// When no entry opens it.
    pub fn open(&self, text: &str) -> Result<String, NotOpened> {
        if text.starts_with("-----") {
            return Ok(text.to_owned());
        }
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| NotOpened)?;
        self.entries.iter().find_map(|entry| entry.open(&bytes)).ok_or(NotOpened)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Key {
    fn new(entry: &str) -> Result<Self, aws_lc_rs::error::Unspecified> {
        Ok(Self { key: PaddedBlockDecryptingKey::cbc_pkcs7(unbound(entry)?)?, iv: iv(entry) })
    }

    /// CBC does not say whether the key was right; the padding and the text say it as good as always.
    fn open(&self, bytes: &[u8]) -> Option<String> {
        let mut bytes = bytes.to_vec();
        let context = DecryptionContext::Iv128(FixedLength::from(self.iv));
        let text = self.key.decrypt(&mut bytes, context).ok()?;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }
}

fn unbound(entry: &str) -> Result<UnboundCipherKey, aws_lc_rs::error::Unspecified> {
    UnboundCipherKey::new(&AES_128, entry.as_bytes())
}

/// The initialization vector of an entry: the entry.
fn iv(entry: &str) -> [u8; LENGTH] {
    let mut iv = [0; LENGTH];
    iv.copy_from_slice(entry.as_bytes());
    iv
}

/// Random bytes.
///
/// # Errors
/// When the system gives none.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
