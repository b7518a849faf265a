//! Blocks of IP addresses.

use std::fmt;
use std::net::IpAddr;

/// A block of addresses of one family, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// The block's first address.
    first: IpAddr,
    /// The length of the prefix in bits.
    bits: u8,
}

/// Bits of an IPv4-mapped address before the IPv4 address.
const MAPPED: u8 = 96;

impl Network {
    /// Parses `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`.
    ///
    /// # Errors
    /// A sentence about what is wrong. Bits beyond the prefix are refused: the length or the address is mistyped.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("`{text}` is no IP address or network: write `192.0.2.7` or `10.0.0.0/8`");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let width = width(address);
        let bits = match bits {
            None => width,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= width).ok_or_else(invalid)?
            }
            Some(_) => return Err(invalid()),
        };
        let first = masked(address, bits);
        if first != address {
            return Err(format!("`{text}` has bits beyond its prefix: write `{first}/{bits}`"));
        }
        Ok(Self { first, bits })
    }

    /// The block of IPv4 addresses that a block of IPv4-mapped IPv6 addresses stands for (RFC 4291 section 2.5.5.2); every
    /// other block as it is.
    #[must_use]
    pub fn to_canonical(self) -> Self {
        match self.first.to_canonical() {
            v4 @ IpAddr::V4(_) if self.first.is_ipv6() && self.bits >= MAPPED => {
                Self { first: v4, bits: self.bits - MAPPED }
            }
            _ => self,
        }
    }

    /// Whether every address of the block is on the loopback interface. A block that reaches beyond 127.0.0.0/8 or `::1` begins
    /// outside of it.
    pub fn is_loopback(self) -> bool {
        self.to_canonical().first.is_loopback()
    }

    /// Whether `address` is in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.bits) == self.first
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `address` without the bits beyond a prefix of `bits`.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    let beyond = u32::from(width(address) - bits);
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(beyond).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(beyond).unwrap_or(0)).into()),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, bits } = self;
        if *bits == width(*first) { write!(f, "{first}") } else { write!(f, "{first}/{bits}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_what_shares_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7/32", "192.0.2.7", "::ffff:192.0.2.7"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", "10.1.2.3"),
        ] {
            let block = Network::parse(network).unwrap();
            assert!(block.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!block.contains(outside.parse().unwrap()), "{network} {outside}");
            assert_eq!(Network::parse(&block.to_string()), Ok(block));
        }
    }

    #[test]
    fn a_mapped_block_is_one_of_ipv4() {
        for (mapped, expected) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(Network::parse(mapped).unwrap().to_canonical().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_block_is_refused_with_what_to_write() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "a.test", "*"]
        {
            assert!(Network::parse(text).unwrap_err().contains("is no IP address or network"), "{text}");
        }
        assert!(Network::parse("10.0.0.1/8").unwrap_err().contains("write `10.0.0.0/8`"));
        assert!(Network::parse("2001:db8::1/32").unwrap_err().contains("write `2001:db8::/32`"));
    }
}
