//! Which fields a message has, of those that we look at.

use http::HeaderMap;

/// A set of fields, found in one pass over the names. Most requests have few of them, and a look-up for each would cost a
/// hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Present(u16);

impl Present {
    pub(super) const CONTENT_LENGTH: Self = Self(1);
    pub(super) const COOKIE: Self = Self(1 << 1);
    pub(super) const EXPECT: Self = Self(1 << 2);
    pub(super) const FORWARDED: Self = Self(1 << 3);
    /// Any field that concerns one connection only, [`Present::EXPECT`], [`Present::TE`] and
    /// [`Present::TRANSFER_ENCODING`] among them.
    pub(super) const HOP_BY_HOP: Self = Self(1 << 4);
    pub(super) const REFERER: Self = Self(1 << 5);
    pub(super) const TE: Self = Self(1 << 6);
    pub(super) const TRANSFER_ENCODING: Self = Self(1 << 7);
    pub(super) const VIA: Self = Self(1 << 8);
    pub(super) const X_FORWARDED_FOR: Self = Self(1 << 9);

    /// The fields of `headers`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::default(), |found, name| found.with(Self::named(name.as_str())))
    }

    fn named(name: &str) -> Self {
        match name {
            "connection"
            | "keep-alive"
            | "proxy"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "upgrade" => Self::HOP_BY_HOP,
            "content-length" => Self::CONTENT_LENGTH,
            "cookie" => Self::COOKIE,
            "expect" => Self::HOP_BY_HOP.with(Self::EXPECT),
            "forwarded" => Self::FORWARDED,
            "referer" => Self::REFERER,
            "te" => Self::HOP_BY_HOP.with(Self::TE),
            "transfer-encoding" => Self::HOP_BY_HOP.with(Self::TRANSFER_ENCODING),
            "via" => Self::VIA,
            "x-forwarded-for" => Self::X_FORWARDED_FOR,
            _ => Self::default(),
        }
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `field` is there.
    pub(super) const fn has(self, field: Self) -> bool {
        self.0 & field.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_field_is_found_by_its_name() {
        for (name, expected) in [
            ("Content-Length", Present::CONTENT_LENGTH),
            ("cookie", Present::COOKIE),
            ("forwarded", Present::FORWARDED),
            ("referer", Present::REFERER),
            ("via", Present::VIA),
            ("X-Forwarded-For", Present::X_FORWARDED_FOR),
            ("connection", Present::HOP_BY_HOP),
            ("proxy", Present::HOP_BY_HOP),
            ("te", Present(Present::HOP_BY_HOP.0 | Present::TE.0)),
            ("x-te", Present::default()),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("1"));
            headers.insert("accept", HeaderValue::from_static("1"));
            assert_eq!(Present::of(&headers), expected, "{name}");
        }
    }
}
