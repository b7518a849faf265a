//! Which host a request is for: one answer for authorization, routing, headers and logs.

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri};

use super::error::ProxyError;
use crate::model::HostName;

/// The host of a request, and its authority as the client sent it, which becomes the upstream's `Host`.
///
/// The authority of the request target (`:authority` in HTTP/2, the absolute form in HTTP/1) counts before the `Host`
/// header, which must not name another host (RFC 9113 section 8.3.1; RFC 9112 section 3.2.2 would ignore the header, but two
/// hosts in one request are the mark of an attempt to pass one and reach the other).
///
/// `usual` is the host that most requests of the connection name: those are spared the parsing.
///
/// # Errors
/// A request without a host, with several, or with one that is no host name (RFC 9112 section 3.2).
pub(super) fn of(
    uri: &Uri,
    headers: &HeaderMap,
    usual: Option<&HostName>,
) -> Result<(HostName, HeaderValue), ProxyError> {
    let mut values = headers.get_all(HOST).iter();
    let header = values.next();
    if values.next().is_some() {
        return Err(ProxyError::Malformed("more than one Host header"));
    }
    let parse = |authority: &str| match usual {
        Some(usual) if usual.as_str() == authority => Ok(usual.clone()),
        _ => HostName::parse(authority).ok_or(ProxyError::Malformed("the host is no host name")),
    };
    let in_header = match header {
        Some(value) => {
            let text = value.to_str().map_err(|_| ProxyError::Malformed("the host is no host name"))?;
            Some((parse(text)?, value))
        }
        None => None,
    };
    let Some(authority) = uri.authority() else {
        let (name, value) = in_header.ok_or(ProxyError::Malformed("no host"))?;
        return Ok((name, value.clone()));
    };
    let name = parse(authority.as_str())?;
    if in_header.is_some_and(|(other, _)| other != name) {
        return Err(ProxyError::Malformed("the request target and the Host header name different hosts"));
    }
    let value =
        HeaderValue::from_str(authority.as_str()).map_err(|_| ProxyError::Malformed("the host is no host name"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_one_host() {
        for (uri, hosts, expected) in [
            ("/", &["A.test:80"][..], Some(("a.test", "A.test:80"))),
            ("http://b.test:8080/x", &["b.test:8080"], Some(("b.test", "b.test:8080"))),
            ("https://b.test/", &[], Some(("b.test", "b.test"))),
            ("https://b.test/", &["B.test."], Some(("b.test", "b.test"))),
            ("/", &[], None),
            ("/", &[""], None),
            ("/", &["a.test", "a.test"], None),
            ("/", &["a.test, b.test"], None),
            ("/", &["a/b"], None),
            ("/", &["u@a.test"], None),
            ("https://u@a.test/", &[], None),
            ("https://a.test/", &["b.test"], None),
            ("https://a.test/", &["a.test", "a.test"], None),
            ("https://a.test/", &["a b"], None),
        ] {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::from_str(host).unwrap());
            }
            for usual in [None, HostName::parse("a.test"), HostName::parse("b.test")] {
                let found = of(&uri.parse().unwrap(), &headers, usual.as_ref()).ok();
                let found = found.as_ref().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
                assert_eq!(found, expected, "{uri} {hosts:?} {usual:?}");
            }
        }
    }
}
