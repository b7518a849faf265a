//! What of a request decides which endpoint it goes to.

use http::header::COOKIE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, request};

use crate::model::{HashKey, HashPart, HostName};
use crate::snapshot::hash;

/// What of a request is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// The client's address as text.
    pub(super) client: &'a HeaderValue,
    pub(super) host: &'a HostName,
    pub(super) parts: &'a request::Parts,
    /// Path and query, in normal form.
    pub(super) target: &'a PathAndQuery,
}

impl<'a> Facts<'a> {
    /// The hash of what `key` names in the request; of the client's address where the request has no such thing.
    pub(super) fn hash(self, key: &HashKey) -> u64 {
        let client = self.client.as_bytes();
        match key {
            HashKey::Combination(parts) => hash(&self.combination(parts).unwrap_or_else(|| client.to_vec())),
            key => hash(self.find(key).unwrap_or(client)),
        }
    }

    /// What the request has for `key`.
    fn find(self, key: &HashKey) -> Option<&'a [u8]> {
        match key {
            HashKey::Address => Some(self.client.as_bytes()),
            HashKey::Argument(name) => argument(self.target, name),
            HashKey::Combination(_) => None, // does not nest
            HashKey::Cookie(name) => cookie(&self.parts.headers, name),
            HashKey::Header(name) => self.parts.headers.get(&**name).map(HeaderValue::as_bytes),
            HashKey::Host => Some(self.host.as_str().as_bytes()),
            HashKey::Path => Some(self.target.path().as_bytes()),
            HashKey::Target => Some(self.target.as_str().as_bytes()),
        }
    }

    /// The parts one after another; `None` where the request has nothing for any of them.
    fn combination(self, parts: &[HashPart]) -> Option<Vec<u8>> {
        let (mut text, mut found) = (Vec::new(), false);
        for part in parts {
            match part {
                HashPart::Key(key) => {
                    let value = self.find(key);
                    found |= value.is_some();
                    text.extend(value.unwrap_or_default());
                }
                HashPart::Text(part) => text.extend(part.as_bytes()),
            }
        }
        found.then_some(text)
    }
}

/// The first parameter `name` of the query, as it is written.
fn argument<'a>(target: &'a PathAndQuery, name: &str) -> Option<&'a [u8]> {
    let mut parameters = target.query()?.split('&').filter_map(|parameter| parameter.split_once('='));
    parameters.find(|(found, _)| *found == name).map(|(_, value)| value.as_bytes())
}

/// The first cookie `name`, as it is written.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(COOKIE).iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn each_key_is_found_and_the_client_stands_for_what_is_missing() {
        let request = Request::get("/").header("x-user", "u").header("cookie", "ab=1; a=2").header("cookie", "c=3");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let (host, target) = (HostName::parse("a.example").unwrap(), PathAndQuery::from_static("/p?xq=1&q=2&q=3"));
        let client = HeaderValue::from_static("10.0.0.9");
        let facts = Facts { client: &client, host: &host, parts: &parts, target: &target };
        let of = |key: &HashKey| HashPart::Key(key.clone());
        let (user, other) = (HashKey::Header("x-user".into()), HashKey::Header("x-other".into()));
        let both = [of(&user), HashPart::Text("/".into()), of(&other), HashPart::Text("/".into()), of(&HashKey::Host)];
        for (key, expected) in [
            (HashKey::Address, "10.0.0.9"),
            (HashKey::Argument("q".into()), "2"),
            (HashKey::Argument("z".into()), "10.0.0.9"),
            (HashKey::Combination(both.into()), "u//a.example"),
            (HashKey::Combination([of(&other), HashPart::Text("x".into())].into()), "10.0.0.9"),
            (HashKey::Cookie("a".into()), "2"),
            (HashKey::Cookie("c".into()), "3"),
            (HashKey::Cookie("b".into()), "10.0.0.9"),
            (user, "u"),
            (other, "10.0.0.9"),
            (HashKey::Host, "a.example"),
            (HashKey::Path, "/p"),
            (HashKey::Target, "/p?xq=1&q=2&q=3"),
        ] {
            assert_eq!(facts.hash(&key), hash(expected.as_bytes()), "{key:?}");
        }
    }
}
