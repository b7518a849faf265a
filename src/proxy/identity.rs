//! What an upstream is told about a client, as header fields. Made once per verdict; only a client that satisfies the policy
//! has an identity.
//!
//! Certificates hold any text. Every value here is printable ASCII, and no text can end the part it stands in: see
//! [`name`] and [`word`].

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, HeaderValue};
use rustls_pki_types::CertificateDer;

use crate::model::{Forward, IdentityField};
use crate::trust::{Holder, Refusal, hex};

/// Bytes of one value. Most servers take 8 KiB in one field; a longer value is left out, because half a list, or half a
/// certificate, would be a lie.
const MAX_VALUE: usize = 8 << 10;

pub(super) type Field = (HeaderName, HeaderValue);

/// The fields about a client that satisfies its policy: `chain` is what it sent, `holder` what its certificate says.
pub(super) fn of_verified(forward: &Forward, chain: &[CertificateDer<'_>], holder: &Holder) -> Vec<Field> {
    let Some((leaf, issuers)) = chain.split_first() else { return Vec::new() };
    let mut fields = Vec::new();
    let mut add = |name: &str, value: String| fields.extend(field(name, value));
    if forward.client_cert {
        add("client-cert", byte_sequence(leaf));
    }
    if forward.client_cert_chain {
        add("client-cert-chain", issuers.iter().map(|der| byte_sequence(der)).collect::<Vec<_>>().join(", "));
    }
    if forward.xfcc {
        add("x-forwarded-client-cert", xfcc(leaf, holder));
    }
    for (name, value) in &forward.headers {
        add(name, text(*value, holder));
    }
    fields
}

/// The fields about a client that is served without satisfying the policy: its verdict, and nothing that its certificate
/// says.
pub(super) fn of_refused(forward: &Forward, refusal: &Refusal) -> Vec<Field> {
    let verdict = match refusal {
        Refusal::NotPresent => "NONE".to_owned(),
        Refusal::NotVerified { why, .. } => format!("FAILED:{}", percent_encoded(why, |c| matches!(c, ' '..='~'))),
    };
    let verify = forward.headers.iter().filter(|(_, value)| *value == IdentityField::Verify);
    verify.filter_map(|(name, _)| field(name, verdict.clone())).collect()
}

/// `None` for what is empty or too long.
fn field(name: &str, value: String) -> Option<Field> {
    if value.is_empty() {
        return None;
    }
    if value.len() > MAX_VALUE {
        tracing::warn!("{name} is left out: {} bytes are more than upstreams take in one field", value.len());
        return None;
    }
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::try_from(value).ok()?))
}

/// A byte sequence (RFC 8941 section 3.3.5), as RFC 9440 wants a certificate.
fn byte_sequence(der: &[u8]) -> String {
    format!(":{}:", BASE64_STANDARD.encode(der))
}

/// An element of `X-Forwarded-Client-Cert` with the keys, in the order, that Envoy writes: `Hash`, `Cert`, `Subject`, `URI`,
/// `DNS`. No `By`: our certificates name a host and no URI. `Cert` is left out where it makes the value too long.
fn xfcc(leaf: &CertificateDer<'_>, holder: &Holder) -> String {
    let value = |text: &str| {
        let text = word(text);
        if text.contains('=') { format!("\"{text}\"") } else { text }
    };
    let hash = format!("Hash={}", hex(&holder.certificate_sha256));
    let mut rest = format!(";Subject=\"{}\"", name(&holder.subject));
    for uri in &holder.uris {
        let _ = write!(rest, ";URI={}", value(uri)); // writing to a String does not fail
    }
    for dns in &holder.dns {
        let _ = write!(rest, ";DNS={}", value(dns));
    }
    let cert = format!(";Cert=\"{}\"", url_encoded_pem(leaf));
    if hash.len() + cert.len() + rest.len() > MAX_VALUE { hash + &rest } else { hash + &cert + &rest }
}

fn url_encoded_pem(der: &[u8]) -> String {
    let base64 = BASE64_STANDARD.encode(der);
    let lines = base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>());
    percent_encoded(&pem, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~'))
}

fn text(field: IdentityField, holder: &Holder) -> String {
    let list = |texts: &[String]| texts.iter().map(|text| word(text)).collect::<Vec<_>>().join(",");
    match field {
        IdentityField::DnsNames => list(&holder.dns),
        IdentityField::Emails => list(&holder.emails),
        IdentityField::Fingerprint => hex(&holder.certificate_sha256),
        IdentityField::IpAddresses => holder.ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        IdentityField::Issuer => name(&holder.issuer),
        IdentityField::Serial => hex(&holder.serial).to_ascii_uppercase(),
        IdentityField::Subject => name(&holder.subject),
        IdentityField::Uris => list(&holder.uris),
        IdentityField::Verify => "SUCCESS".to_owned(),
    }
}

/// A distinguished name in RFC 4514's form, in printable ASCII and without quotes: what is neither, and an escaped backslash or
/// quote, become RFC 4514's `\HH`. So a quoted name cannot end before its closing quote, however its reader treats `\\"`.
fn name(rfc4514: &str) -> String {
    let mut out = String::with_capacity(rfc4514.len());
    let mut rest = rfc4514.chars().peekable();
    while let Some(c) = rest.next() {
        let (meant, plain) = match (c, rest.peek()) {
            ('\\', Some('\\' | '"')) => (rest.next().unwrap_or(c), false),
            ('\\', Some(' '..='~')) => (c, true),
            ('\\', Some(_)) => continue, // the pairs of what follows
            ('\\', None) | ('"', _) => (c, false),
            _ => (c, matches!(c, ' '..='~')),
        };
        if plain {
            out.push(meant);
        } else {
            encode(meant, '\\', &mut out);
        }
    }
    out
}

/// An entry of a subject alternative name: printable ASCII without spaces, quotes, backslashes, commas and semicolons.
fn word(text: &str) -> String {
    percent_encoded(text, |c| matches!(c, '!'..='~') && !matches!(c, '"' | '\\' | ',' | ';'))
}

/// `text` with everything but what is `plain` percent-encoded; a percent sign too, where it begins no percent-encoding.
fn percent_encoded(text: &str, plain: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let begins = |text: &str| text.len() >= 2 && text.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        if plain(c) && (c != '%' || begins(&text[at + 1..])) {
            out.push(c);
        } else {
            encode(c, '%', &mut out);
        }
    }
    out
}

/// The bytes of `c` in hexadecimal, each after a `mark`.
fn encode(c: char, mark: char, out: &mut String) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        let _ = write!(out, "{mark}{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder {
            certificate_sha256: [0xab; 32],
            dns: vec!["a.test".to_owned(), "b.test,c.test".to_owned()],
            emails: vec!["a@b.test".to_owned(), "\"a;b\"@c.test".to_owned()],
            ips: vec![[10, 0, 0, 1].into(), "2001:db8::1".parse().unwrap()],
            issuer: "CN=ca".to_owned(),
            not_after: 0,
            not_before: 0,
            public_key_sha256: [0; 32],
            serial: vec![0x0a, 0xff],
            subject: "CN=a\\,b,O=\u{e9}\r\nX-Admin: 1".to_owned(),
            uris: vec!["spiffe://td/ns/a".to_owned(), "https://a.test/?a=b%2c%".to_owned()],
        }
    }

    fn lines(fields: &[Field]) -> Vec<String> {
        fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn each_field_is_spelled_as_its_specification_says() {
        let chain: Vec<_> = [&b"leaf"[..], b"one", b"two"].map(CertificateDer::from).into();
        let fields = [
            ("x-dns", IdentityField::DnsNames),
            ("x-mail", IdentityField::Emails),
            ("x-hash", IdentityField::Fingerprint),
            ("x-ip", IdentityField::IpAddresses),
            ("x-issuer", IdentityField::Issuer),
            ("x-serial", IdentityField::Serial),
            ("x-subject", IdentityField::Subject),
            ("x-uri", IdentityField::Uris),
            ("x-verify", IdentityField::Verify),
        ];
        let headers = fields.map(|(name, field)| (name.into(), field)).into();
        let forward = Forward { client_cert: true, client_cert_chain: true, headers, xfcc: true };
        let hash = "ab".repeat(32);
        assert_eq!(
            lines(&of_verified(&forward, &chain, &holder())),
            [
                "client-cert: :bGVhZg==:",
                "client-cert-chain: :b25l:, :dHdv:",
                &format!(
                    "x-forwarded-client-cert: Hash={hash};Cert=\"-----BEGIN%20CERTIFICATE-----%0AbGVhZg%3D%3D%0A-----END%20\
                     CERTIFICATE-----%0A\";Subject=\"CN=a\\,b,O=\\C3\\A9\\0D\\0AX-Admin: 1\";URI=spiffe://td/ns/a;\
                     URI=\"https://a.test/?a=b%2c%25\";DNS=a.test;DNS=b.test%2Cc.test"
                ),
                "x-dns: a.test,b.test%2Cc.test",
                "x-mail: a@b.test,%22a%3Bb%22@c.test",
                &format!("x-hash: {hash}"),
                "x-ip: 10.0.0.1,2001:db8::1",
                "x-issuer: CN=ca",
                "x-serial: 0AFF",
                "x-subject: CN=a\\,b,O=\\C3\\A9\\0D\\0AX-Admin: 1",
                "x-uri: spiffe://td/ns/a,https://a.test/?a=b%2c%25",
                "x-verify: SUCCESS",
            ]
        );
    }

    #[test]
    fn who_is_not_verified_has_a_verdict_and_no_identity() {
        let headers = vec![("x-subject".into(), IdentityField::Subject), ("x-verify".into(), IdentityField::Verify)];
        let forward = Forward { client_cert: true, client_cert_chain: true, headers, xfcc: true };
        assert_eq!(lines(&of_refused(&forward, &Refusal::NotPresent)), ["x-verify: NONE"]);
        let refusal = Refusal::new(crate::trust::Cause::Identity, "subject CN=\u{e9}\n is not allowed");
        assert_eq!(lines(&of_refused(&forward, &refusal)), ["x-verify: FAILED:subject CN=%C3%A9%0A is not allowed"]);
        assert_eq!(of_refused(&Forward::default(), &refusal), []);
    }

    #[test]
    fn no_name_ends_its_quotes() {
        for (rfc4514, expected) in [
            ("CN=a", "CN=a"),
            (r"CN=a\,b\+c\20d", r"CN=a\,b\+c\20d"),
            (r#"CN=\"a\""#, r"CN=\22a\22"),
            (r#"CN=a""#, r"CN=a\22"),
            (r"CN=a\\", r"CN=a\5C"),
            (r#"CN=a\\\""#, r"CN=a\5C\22"),
            (r"CN=a\", r"CN=a\5C"),
            ("CN=\\\u{e9}\0", r"CN=\C3\A9\00"),
            ("", ""),
        ] {
            let name = name(rfc4514);
            assert_eq!(name, expected, "{rfc4514}");
            assert!(!name.contains('"') && !name.ends_with('\\'));
        }
    }

    #[test]
    fn what_is_too_long_is_left_out() {
        let certificate = CertificateDer::from(vec![7; 6000]);
        let forward = Forward { client_cert: true, client_cert_chain: true, xfcc: true, ..Forward::default() };
        let chain = [certificate, CertificateDer::from(vec![8; 7000])];
        let fields = of_verified(&forward, &chain, &holder());
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["client-cert", "x-forwarded-client-cert"]);
        assert!(fields[1].1.to_str().unwrap().starts_with("Hash=") && !fields[1].1.to_str().unwrap().contains("Cert="));

        let crowd = Holder { dns: vec!["a".repeat(100); 100], ..holder() };
        let names = of_verified(&forward, &chain, &crowd).len();
        assert_eq!(names, 1, "a list of names that no upstream would take");
    }
}
