//! The PROXY protocol, versions 1 and 2: what a load balancer says about a connection before its first byte
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What a header of version 2 begins with; as long as the shortest part of a header of version 1 that is always there.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What a header of version 1 begins with.
const VERSION_1: &[u8] = b"PROXY ";

/// The longest header of version 1, its line end included (section 2.1).
const MAX_LINE: usize = 107;

/// Bytes after the first 16 of a header of version 2: addresses and what else the load balancer tells (TLVs), of which a
/// client's certificate is the largest.
const MAX_LENGTH: usize = 4 << 10;

/// Whose connection it is, as a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The client's at this address.
    Client(SocketAddr),
    /// The load balancer's own (`LOCAL`): it asks whether we are there.
    Own,
    /// That of a client which is not named: of a family that the load balancer does not know (`UNKNOWN`), or a UNIX socket.
    Unknown,
}

/// Reads a header, and nothing of what follows it.
///
/// # Errors
/// A header that is none, too long or broken off.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Named> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if length > MAX_LENGTH {
            return Err(malformed("it is too long"));
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        return version_2(fixed[0], fixed[1], &rest).map_err(malformed);
    }
    if !header.starts_with(VERSION_1) {
        return Err(malformed("it begins like none"));
    }
    // Byte by byte: what follows the line is the client's.
    while header.last() != Some(&b'\n') {
        if header.len() == MAX_LINE {
            return Err(malformed("it is too long"));
        }
        header.push(stream.read_u8().await?);
    }
    version_1(&header).map_err(malformed)
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The source that a whole line names.
fn version_1(line: &[u8]) -> Result<Named, &'static str> {
    let line = line.strip_prefix(VERSION_1).and_then(|line| line.strip_suffix(b"\r\n"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok()).ok_or("it is no line")?;
    let mut fields = line.split(' ');
    let family = fields.next();
    if family == Some("UNKNOWN") {
        return Ok(Named::Unknown); // whatever follows (section 2.1)
    }
    let rest: Vec<_> = fields.collect();
    let [source, destination, port, destination_port] = rest[..] else { return Err("it has other fields") };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            Some("TCP4") => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Some("TCP6") => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let source = address(source).ok_or("its source is no address")?;
    address(destination).ok_or("its destination is no address")?;
    let port = self::port(port).ok_or("its source has no port")?;
    self::port(destination_port).ok_or("its destination has no port")?;
    Ok(Named::Client(SocketAddr::new(source, port)))
}

/// A decimal number without a sign and leading zeros.
fn port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port.to_string() == text).then_some(port)
}

/// The source that the addresses at the begin of `rest` name; `command` and `family` are the bytes after the signature.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Result<Named, &'static str> {
    match command {
        0x20 => return Ok(Named::Own), // LOCAL: whatever follows (section 2.2)
        0x21 => {}
        _ => return Err("its version or command is unknown"),
    }
    match family {
        // Unspecified; a UNIX socket, which has no address that means anything here.
        0x00 | 0x31 => Ok(Named::Unknown),
        0x11 => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *rest.first_chunk().ok_or("its addresses are cut off")?;
            Ok(Named::Client(SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))))
        }
        0x21 => {
            let addresses: &[u8; 36] = rest.first_chunk().ok_or("its addresses are cut off")?;
            let (source, ports) = (addresses.first_chunk::<16>(), addresses.last_chunk::<4>());
            let (Some(source), Some([high, low, ..])) = (source, ports) else {
                return Err("its addresses are cut off");
            };
            Ok(Named::Client(SocketAddr::from((*source, u16::from_be_bytes([*high, *low])))))
        }
        _ => Err("its family is not one of TCP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of `bytes`, and what is left.
    fn read(bytes: &[u8]) -> (io::Result<Named>, &[u8]) {
        let mut rest = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(super::read(&mut rest));
        (read, rest)
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    /// Addresses, then a TLV.
    const IPV4: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb, 0x04, 0, 1, 7];

    fn ipv6() -> Vec<u8> {
        let [source, destination] = ["2001:db8::1", "::1"].map(|text| text.parse::<Ipv6Addr>().unwrap().octets());
        [&source[..], &destination[..], &[0x30, 0x39, 0x01, 0xbb]].concat()
    }

    #[test]
    fn a_header_names_the_client_and_ends_where_the_connection_begins() {
        let known = |text: &str| Named::Client(text.parse().unwrap());
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n".to_vec(), known("192.0.2.1:12345")),
            (b"PROXY TCP6 2001:db8::1 ::1 12345 443\r\n".to_vec(), known("[2001:db8::1]:12345")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Named::Unknown),
            (b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n".to_vec(), Named::Unknown),
            (v2(0x21, 0x11, IPV4), known("192.0.2.1:12345")),
            (v2(0x21, 0x21, &ipv6()), known("[2001:db8::1]:12345")),
            (v2(0x21, 0x00, &[]), Named::Unknown),
            (v2(0x21, 0x31, &[0; 216]), Named::Unknown),
            (v2(0x20, 0x11, IPV4), Named::Own),
            (v2(0x20, 0xff, &[]), Named::Own),
            (v2(0x21, 0x11, &[IPV4, &vec![0; MAX_LENGTH - IPV4.len()]].concat()), known("192.0.2.1:12345")),
        ] {
            let bytes = [&header, &b"PROXY TCP4"[..]].concat();
            let (read, rest) = read(&bytes);
            assert_eq!(read.unwrap(), expected, "{header:?}");
            assert_eq!(rest, b"PROXY TCP4", "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert!(read(long.as_bytes()).0.is_err() && read(long.replacen('x', "", 1).as_bytes()).0.is_ok());
        for header in [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY  TCP4 192.0.2.1 10.0.0.1 12345 443\r\n",
            "proxy TCP4 192.0.2.1 10.0.0.1 12345 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 12345 443 \r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 12345\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 012 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +12 443\r\n",
            "PROXY TCP4 192.0.2.01 10.0.0.1 12345 443\r\n",
            "PROXY TCP4 2001:db8::1 ::1 12345 443\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 12345 443\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 12345 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 12345 443",
            "PROXY ",
        ] {
            assert!(read(header.as_bytes()).0.is_err(), "{header}");
        }
        for header in [
            v2(0x11, 0x11, IPV4),
            v2(0x22, 0x11, IPV4),
            v2(0x21, 0x12, IPV4),
            v2(0x21, 0x22, &ipv6()),
            v2(0x21, 0x11, &IPV4[..11]),
            v2(0x21, 0x21, &ipv6()[..35]),
            v2(0x21, 0x11, &vec![0; MAX_LENGTH + 1]),
            v2(0x21, 0x11, IPV4)[..20].to_vec(),
            SIGNATURE.to_vec(),
        ] {
            assert!(read(&header).0.is_err(), "{header:?}");
        }
    }
}
