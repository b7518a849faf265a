//! Host names and host patterns: one normal form for SNI, the `Host` header, `:authority` and configuration.

use std::fmt;
use std::sync::Arc;

/// The longest name that DNS can carry, in bytes without the final dot (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;

/// A concrete host in normal form: lower case, no port, no final dot. IPv6 literals keep their brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

impl HostName {
    /// Reads a `Host` header value, an `:authority` or an SNI. The port is dropped.
    ///
    /// Returns `None` for what is no host: empty, longer than 253 bytes, user information, or a byte that neither a DNS
    /// name (with `_`, which real names use) nor an IP literal contains.
    pub fn parse(authority: &str) -> Option<Self> {
        let (host, port) = split_port(authority)?;
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let literal = host.starts_with('[');
        let host = host.strip_suffix('.').unwrap_or(host);
        let valid = |b: u8| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => true,
            b':' | b'[' | b']' => literal,
            _ => false,
        };
        if host.is_empty() || host.len() > MAX_NAME || !host.bytes().all(valid) {
            return None;
        }
        if !literal && host.split('.').any(str::is_empty) {
            return None;
        }
        Some(Self(if host.bytes().any(|b| b.is_ascii_uppercase()) {
            host.to_ascii_lowercase().into()
        } else {
            host.into()
        }))
    }

    /// The host as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits `host[:port]` or `[v6][:port]`; the port may be missing or empty, and is not judged here.
fn split_port(authority: &str) -> Option<(&str, &str)> {
    if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        let (host, rest) = authority.split_at(end);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, port)),
            None => rest.is_empty().then_some((host, "")),
        };
    }
    Some(authority.split_once(':').unwrap_or((authority, "")))
}

/// Which hosts an object speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Every host: a route without `hosts`.
    Any,
    /// One host, in normal form.
    Exact(Arc<str>),
    /// `*.example.com`, kept as `.example.com`. Never the bare `example.com`.
    ///
    /// For a TLS handshake it covers one label (APISIX, RFC 6125 section 6.4.3); for routes, and for the question which
    /// policy protects a host, any number of labels (APISIX's router), so that no deeper name slips past a policy.
    Wildcard(Arc<str>),
}

impl HostPattern {
    /// Parses a host of an ApisixRoute or ApisixTls: `a.example` or `*.example`, any case, one final dot allowed.
    ///
    /// # Errors
    /// A sentence about what is wrong. `*` alone and `*example.com` (which APISIX matches against `xexample.com` too) are
    /// refused: they cover more than they seem to.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix('*') {
            let Some(name) = rest.strip_prefix('.') else {
                return Err(format!("`{text}` is no host; a wildcard is written `*.example.com`"));
            };
            let name = Self::name(name, text)?;
            return Ok(Self::Wildcard(format!(".{name}").into()));
        }
        Ok(Self::Exact(Self::name(text, text)?.0))
    }

    fn name(name: &str, whole: &str) -> Result<HostName, String> {
        if name.contains(':') {
            return Err(format!("`{whole}` must not hold a port or an IPv6 address"));
        }
        HostName::parse(name).ok_or_else(|| format!("`{whole}` is no host name"))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_normal_form() {
        for text in ["A.Example", "a.example.", "a.example:9443", "a.EXAMPLE.:9443", "a.example:"] {
            assert_eq!(HostName::parse(text).map(|h| h.to_string()).as_deref(), Some("a.example"), "{text}");
        }
        assert_eq!(HostName::parse("[::1]:80").unwrap().as_str(), "[::1]");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in
            ["", ".", ":80", "a b", "u@a", "a/b", "a..b", ".a", "a:b", "a:80:80", "[::1", "[::1]x", "a\0", "é.example"]
        {
            assert_eq!(HostName::parse(text), None, "{text:?}");
        }
        assert_eq!(HostName::parse(&"a".repeat(254)), None);
    }

    #[test]
    fn patterns_are_normal_and_never_wider_than_they_look() {
        assert_eq!(HostPattern::parse("*.Foo.com.").unwrap(), HostPattern::Wildcard(".foo.com".into()));
        assert_eq!(HostPattern::parse("Foo.com").unwrap(), HostPattern::Exact("foo.com".into()));
        for text in ["*", "*foo.com", "a.*.com", "", "*.", "foo.com:80", "**.foo.com"] {
            assert!(HostPattern::parse(text).is_err(), "{text:?}");
        }
    }
}
