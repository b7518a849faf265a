//! Path patterns of routes.

use std::fmt;
use std::sync::Arc;

use super::normal_path;

/// What a route's path covers: [normal](normal_path) paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathPattern {
    /// The path itself.
    Exact(Arc<str>),
    /// Every path that starts with the text before the final `*`, compared byte by byte: `/a*` covers `/ab`, `/a/*` covers
    /// `/a/` and below but not `/a` (APISIX's router).
    Prefix(Arc<str>),
}

impl PathPattern {
    /// Parses `/a`, `/a*` or `/a/*`.
    ///
    /// # Errors
    /// A sentence about what is wrong. A `*` before the end is refused: APISIX's default router would cut the pattern
    /// there in silence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("`{text}` must start with `/`"));
        }
        if let Some(bad) = text.chars().find(|c| c.is_control() || *c == ' ' || *c == '?' || *c == '#') {
            return Err(format!("`{text}` must not hold {bad:?}"));
        }
        let normal = |path: &str| normal_path(path).map(String::from).map_err(|why| format!("`{text}`: {why}"));
        let (pattern, rest) = text.split_once('*').map_or((text, None), |(head, tail)| (head, Some(tail)));
        match rest {
            None => Ok(Self::Exact(normal(pattern)?.into())),
            // With a letter in place of what follows: the last segment of `/a/..*` is the beginning of one, no dot segment.
            Some("") => {
                let with_letter = normal(&format!("{pattern}z"))?;
                Ok(Self::Prefix(with_letter.strip_suffix('z').unwrap_or(&with_letter).into()))
            }
            Some(_) => Err(format!("`{text}` holds a `*` before its end; only a final `*` is served")),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_in_normal_form() {
        for (text, normal) in [
            ("/%7eu/./%c3%a4", "/~u/%C3%A4"),
            ("/ä*", "/%C3%A4*"),
            ("/a/..*", "/a/..*"),
            ("/zz*", "/zz*"),
            ("/a/../b/*", "/b/*"),
        ] {
            assert_eq!(PathPattern::parse(text).unwrap().to_string(), normal);
        }
    }

    #[test]
    fn paths_are_exact_or_end_in_a_star() {
        assert_eq!(PathPattern::parse("/a").unwrap(), PathPattern::Exact("/a".into()));
        assert_eq!(PathPattern::parse("/a*").unwrap(), PathPattern::Prefix("/a".into()));
        assert_eq!(PathPattern::parse("/*").unwrap(), PathPattern::Prefix("/".into()));
        for text in ["", "a", "*", "/a*b", "/a/*/b", "/a?x", "/a b", "/a\n", "/%2*", "/%4*", "/a%", "/../a", "/a\\b"] {
            assert!(PathPattern::parse(text).is_err(), "{text:?}");
        }
    }
}
