//! The path of a request, in the one form that skip rules, routes and the upstream see.

use http::uri::PathAndQuery;

use super::error::ProxyError;
use crate::model::normal_path;

/// `target` without `prefix`, which its path begins with.
///
/// # Errors
/// [`ProxyError::Malformed`] for what cannot be sent: a path that begins otherwise is never routed here.
pub(super) fn without(prefix: &str, target: &PathAndQuery) -> Result<PathAndQuery, ProxyError> {
    let rest = target.as_str().strip_prefix(prefix).filter(|rest| rest.starts_with('/'));
    rest.and_then(|rest| rest.parse().ok()).ok_or(ProxyError::Malformed("the path does not begin as its route's do"))
}

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
}
