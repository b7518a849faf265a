//! The path of a request, in the one form that skip rules, routes and the upstream see.

use http::uri::PathAndQuery;

use super::error::ProxyError;
use crate::model::normal_path;

/// `target` with its path in [normal form](normal_path); the query stays as it was sent.
///
/// # Errors
/// [`ProxyError::Malformed`] for a path that has no normal form.
pub(super) fn normal(target: PathAndQuery) -> Result<PathAndQuery, ProxyError> {
    let path = match normal_path(target.path()).map_err(ProxyError::Malformed)? {
        std::borrow::Cow::Borrowed(_) => return Ok(target),
        std::borrow::Cow::Owned(path) => path,
    };
    let whole = match target.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    PathAndQuery::try_from(whole).map_err(|_| ProxyError::Malformed("the path cannot be normalised"))
}

/// Whether everyone takes the normal path `path` for the same resource. An upstream may merge slashes, cut parameters off
/// (`/public/..;/admin` is `/admin` to Tomcat), decode separators, decode what was encoded twice, stumble over control
/// characters, or read what is no UTF-8 as something else (`%C0%AE` as a dot). Such a path may lead somewhere else there than
/// its beginning says.
pub fn is_plain(path: &str) -> bool {
    let mut pieces = path.split('%');
    let mut decoded = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let Some((digits, rest)) = piece.split_at_checked(2) else { return false };
        match u8::from_str_radix(digits, 16) {
            Err(_) | Ok(0..0x20 | 0x7f | b'/' | b'\\' | b';' | b'%') => return false,
            Ok(byte) => decoded.push(byte),
        }
        decoded.extend_from_slice(rest.as_bytes());
    }
    !path.contains("//") && !path.contains(';') && std::str::from_utf8(&decoded).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_is_normalised() {
        for (target, expected) in
            [("/a/../b?c=/../%7e%zz", "/b?c=/../%7e%zz"), ("/%7e", "/~"), ("/%7e?", "/~?"), ("/a?b=%7e", "/a?b=%7e")]
        {
            assert_eq!(normal(target.parse().unwrap()).unwrap().as_str(), expected);
        }
        assert!(normal("/%zz".parse().unwrap()).is_err());
    }

    #[test]
    fn a_path_that_can_be_taken_for_another_is_not_plain() {
        for path in
            ["/a//b", "//", "/a;/b", "/a%2Fb", "/a%5Cb", "/a%3Bb", "/a%252Fb", "/a%0A", "/%C0%AE", "/%C3", "/%", "/%4"]
        {
            assert!(!is_plain(path), "{path}");
        }
        for path in ["/", "/a/b.css", "/a%20b", "/a%2B%3D%5B", "/%C3%A4"] {
            assert!(is_plain(path), "{path}");
        }
    }
}
