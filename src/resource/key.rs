//! Which resource: a kind and an id.

use std::fmt;
use std::sync::Arc;

use super::Kind;

/// A resource's kind and id. Its text is its key in the store, without the prefix: `routes/1`, `consumers/jack/credentials/a`,
/// `secrets/vault/1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// The id. That of a credential is `{username}/{id}`, that of a secret `{manager}/{id}`; no other has a `/`.
    pub id: Arc<str>,
}

impl Key {
    /// The key of `kind`'s `id`.
    pub fn new(kind: Kind, id: impl Into<Arc<str>>) -> Self {
        Self { kind, id: id.into() }
    }

    /// Reads what follows the prefix in a store; `None` for what is no resource: `data_plane/server_info/…`, a folder's placeholder.
    pub fn parse(text: &str) -> Option<Self> {
        let (plural, id) = text.split_once('/')?;
        let mut parts = id.split('/');
        let (first, second, third) = (parts.next()?, parts.next(), parts.next());
        if id.split('/').any(str::is_empty) || parts.next().is_some() {
            return None;
        }
        match (Kind::from_plural(plural)?, second, third) {
            (Kind::Consumer, Some("credentials"), Some(credential)) => {
                Some(Self::new(Kind::Credential, format!("{first}/{credential}")))
            }
            (Kind::Secret, Some(_), None) => Some(Self::new(Kind::Secret, id)),
            (Kind::Credential | Kind::Secret, ..) => None,
            (kind, None, None) => Some(Self::new(kind, id)),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.id.split_once('/')) {
            (Kind::Credential, Some((consumer, id))) => write!(f, "consumers/{consumer}/credentials/{id}"),
            _ => write!(f, "{}/{}", self.kind.plural(), self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        for (text, kind, id) in [
            ("routes/1", Kind::Route, "1"),
            ("consumers/jack", Kind::Consumer, "jack"),
            ("consumers/jack/credentials/a", Kind::Credential, "jack/a"),
            ("secrets/vault/1", Kind::Secret, "vault/1"),
            ("stream_routes/a.b-c", Kind::StreamRoute, "a.b-c"),
        ] {
            let key = Key::parse(text).unwrap();
            assert_eq!((key.kind, &*key.id), (kind, id));
            assert_eq!(key.to_string(), text);
        }
        for text in [
            "",
            "routes",
            "routes/",
            "/1",
            "routes/1/2",
            "routes//2",
            "credentials/a",
            "consumers/jack/x/a",
            "secrets/vault",
            "data_plane/server_info/1",
            "consumers/jack/credentials/",
            "consumers/jack/credentials/a/b",
        ] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
