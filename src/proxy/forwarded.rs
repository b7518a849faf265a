//! The client that a proxy in front of us tells about.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::Network;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Whether a connection's peer is believed about who its client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is not one of the trusted addresses.
    Distrusted,
    /// It is one of them.
    Trusted,
    /// There are none: nobody is believed, and nothing that a chain of proxies says is thrown away.
    Unknown,
}

impl Word {
    /// The word of `peer`.
    pub(super) fn of(peer: IpAddr, trusted: &[Network]) -> Self {
        match trusted {
            [] => Self::Unknown,
            _ if contains(trusted, peer) => Self::Trusted,
            _ => Self::Distrusted,
        }
    }
}

/// A client that is not the connection's peer.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) ip: IpAddr,
    /// `ip` as text.
    pub(super) text: HeaderValue,
}

impl Client {
    /// The client that a trusted peer names: the right-most address of `X-Forwarded-For` that is not itself trusted (nginx
    /// `real_ip_recursive on`); where there is no such field, that of `X-Real-IP`. `None` where it names none. A proxy that
    /// ends `X-Forwarded-For` with a word that is no address need not have set `X-Real-IP`, which is then the client's own.
    pub(super) fn named(headers: &HeaderMap, trusted: &[Network]) -> Option<Box<Self>> {
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let ip = if headers.contains_key(X_FORWARDED_FOR) {
            nearest(entries, trusted)
        } else {
            address(headers.get(X_REAL_IP)?.as_bytes())
        }?;
        let text = HeaderValue::try_from(ip.to_string()).ok()?;
        Some(Box::new(Self { ip, text }))
    }
}

fn contains(networks: &[Network], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(ip))
}

/// The first address that is not trusted; where all are, the last one; what lies beyond a word that is no address was said by
/// nobody whom we believe.
fn nearest<'a>(entries: impl Iterator<Item = &'a [u8]>, trusted: &[Network]) -> Option<IpAddr> {
    let mut found = None;
    for entry in entries {
        let Some(ip) = address(entry) else { break };
        found = Some(ip);
        if !contains(trusted, ip) {
            break;
        }
    }
    found
}

/// Reads an address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip: Option<IpAddr> = bare.parse().ok();
    let ip = ip.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted() -> Vec<Network> {
        ["10.0.0.0/8", "2001:db8::/32"].map(|text| Network::parse(text).unwrap()).into()
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_not_trusted() {
        for (fields, expected) in [
            (&[("x-forwarded-for", "192.0.2.1")][..], Some("192.0.2.1")),
            (&[("x-forwarded-for", "192.0.2.9, 192.0.2.1,10.0.0.1 ")], Some("192.0.2.1")),
            (
                &[("x-forwarded-for", "192.0.2.9"), ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "10.0.0.1")],
                Some("192.0.2.1"),
            ),
            (&[("x-forwarded-for", "10.0.0.2, 10.0.0.1")], Some("10.0.0.2")),
            (&[("x-forwarded-for", "192.0.2.1, unknown, 10.0.0.1")], Some("10.0.0.1")),
            (&[("x-forwarded-for", "192.0.2.1, unknown")], None),
            (&[("x-forwarded-for", "192.0.2.1,")], None),
            (&[("x-forwarded-for", "")], None),
            (&[("x-forwarded-for", "192.0.2.1:443")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "2001:db9::1, [2001:db8::1]:443, [2001:db8::2]")], Some("2001:db9::1")),
            (&[("x-forwarded-for", "::ffff:192.0.2.1, ::ffff:10.0.0.1")], Some("192.0.2.1")),
            (&[("x-real-ip", "192.0.2.1")], Some("192.0.2.1")),
            (&[("x-real-ip", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2")], Some("192.0.2.2")),
            (&[("x-real-ip", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2, unknown")], None),
            (&[("x-real-ip", "nobody")], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let found = Client::named(&headers, &trusted());
            assert_eq!(found.as_ref().map(|client| client.text.to_str().unwrap()), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_word_counts_where_its_speaker_is_listed() {
        for (peer, expected) in [("10.1.1.1", Word::Trusted), ("192.0.2.1", Word::Distrusted)] {
            let peer = peer.parse().unwrap();
            assert_eq!(Word::of(peer, &trusted()), expected);
            assert_eq!(Word::of(peer, &[]), Word::Unknown);
        }
    }
}
