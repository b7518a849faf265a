//! Distinguished names as text.

use std::fmt::Write;

use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::prelude::{AttributeTypeAndValue, X509Name};

/// The attribute types that are written by name: those of RFC 4514 section 3 and those that OpenSSL adds.
const TYPES: [(&str, &str); 14] = [
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
];

/// A name as RFC 4514 writes it: the last part first, as nginx's `$ssl_client_s_dn` and `openssl -nameopt RFC2253`:
/// `CN=anna,OU=ops,O=Example`. Special characters get a backslash, control characters are `\XX` per byte of their UTF-8;
/// other characters stay as they are. A value that is no text is `#` and its DER in hexadecimal.
pub(super) fn rfc4514(name: &X509Name<'_>) -> String {
    let mut parts: Vec<_> = name.iter_rdn().collect();
    parts.reverse();
    let part = |part: &&x509_parser::prelude::RelativeDistinguishedName<'_>| {
        part.iter().map(attribute).collect::<Vec<_>>().join("+")
    };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

/// Whether a name that [`rfc4514`] wrote holds an escaped control character.
pub(super) fn has_control(name: &str) -> bool {
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && bytes.next().is_some_and(|escaped| escaped.is_ascii_hexdigit()) {
            return true;
        }
    }
    false
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let known = TYPES.iter().find(|(id, _)| *id == oid).map_or(oid.as_str(), |(_, name)| *name);
    let value = attribute.attr_value();
    match text(value) {
        Some(text) => format!("{known}={}", escape(&text)),
        None => format!("{known}=#{}", hex(&der(value))),
    }
}

/// The value as text: UTF-8, or UTF-16 for `BMPString`, or Latin-1 for `TeletexString` as OpenSSL reads it.
fn text(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            std::str::from_utf8(value.data).ok().map(str::to_owned)
        }
        Tag::BmpString if value.data.len().is_multiple_of(2) => {
            let units = value.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        Tag::TeletexString => Some(value.data.iter().map(|byte| char::from(*byte)).collect()),
        _ => None,
    }
}

fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        if c.is_control() {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "\\{byte:02X}");
            }
            continue;
        }
        let edge = (c == ' ' && (at == 0 || at == last)) || (c == '#' && at == 0);
        if edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The DER of a value, with its tag and length.
fn der(value: &Any<'_>) -> Vec<u8> {
    use x509_parser::asn1_rs::ToDer;
    value.to_der_vec().unwrap_or_default()
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests;
