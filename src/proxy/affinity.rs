//! What of a request decides which endpoint it goes to.

use http::header::COOKIE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, request};

use crate::model::{HashKey, HostName};
use crate::snapshot::hash;

/// The hash of what `key` names in a request; of the client's address where the request has no such thing.
pub(super) fn hash_of(
    key: &HashKey,
    parts: &request::Parts,
    host: &HostName,
    target: &PathAndQuery,
    client: &HeaderValue,
) -> u64 {
    let found = match key {
        HashKey::Address => None,
        HashKey::Argument(name) => argument(target, name),
        HashKey::Cookie(name) => cookie(&parts.headers, name),
        HashKey::Header(name) => parts.headers.get(&**name).map(HeaderValue::as_bytes),
        HashKey::Host => Some(host.as_str().as_bytes()),
        HashKey::Path => Some(target.path().as_bytes()),
        HashKey::Target => Some(target.as_str().as_bytes()),
    };
    hash(found.unwrap_or(client.as_bytes()))
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
        for (key, expected) in [
            (HashKey::Address, "10.0.0.9"),
            (HashKey::Argument("q".into()), "2"),
            (HashKey::Argument("z".into()), "10.0.0.9"),
            (HashKey::Cookie("a".into()), "2"),
            (HashKey::Cookie("c".into()), "3"),
            (HashKey::Cookie("b".into()), "10.0.0.9"),
            (HashKey::Header("x-user".into()), "u"),
            (HashKey::Header("x-other".into()), "10.0.0.9"),
            (HashKey::Host, "a.example"),
            (HashKey::Path, "/p"),
            (HashKey::Target, "/p?xq=1&q=2&q=3"),
        ] {
            assert_eq!(hash_of(&key, &parts, &host, &target, &client), hash(expected.as_bytes()), "{key:?}");
        }
    }
}
