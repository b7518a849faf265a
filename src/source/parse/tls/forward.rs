//! `spec.client.forward`.

use std::sync::Arc;

use super::{at_most, choice};
use crate::api;
use crate::model::{Forward, IdentityField, Invalid};

const FIELD: &str = "spec.client.forward";

const MAX_HEADERS: usize = 16;

/// Bytes of a header's name.
const MAX_NAME: usize = 128;

const VALUES: [(&str, IdentityField); 9] = [
    ("DnsNames", IdentityField::DnsNames),
    ("Emails", IdentityField::Emails),
    ("Fingerprint", IdentityField::Fingerprint),
    ("IpAddresses", IdentityField::IpAddresses),
    ("Issuer", IdentityField::Issuer),
    ("Serial", IdentityField::Serial),
    ("Subject", IdentityField::Subject),
    ("Uris", IdentityField::Uris),
    ("Verify", IdentityField::Verify),
];

/// Names that mean something else to the proxy or to most upstreams. What a client sends under a name of `headers` is removed
/// from the requests of every host, which must not take anybody's cookies away.
const TAKEN: [&str; 52] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "alt-used",
    "authorization",
    "cache-control",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "dnt",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "max-forwards",
    "origin",
    "pragma",
    "prefer",
    "priority",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-real-ip",
    "x-request-id",
];

/// Beginnings of such names.
const TAKEN_PREFIXES: [&str; 3] = ["sec-", "x-forwarded-", "grpc-"];

/// Headers with fields of their own.
const OWN_FIELDS: [(&str, &str); 3] = [
    ("client-cert", "clientCert"),
    ("client-cert-chain", "clientCertChain"),
    ("x-forwarded-client-cert", "xForwardedClientCert"),
];

pub(super) fn forward(forward: api::Forward) -> Result<Forward, Invalid> {
    let api::Forward { client_cert, client_cert_chain, headers: named, x_forwarded_client_cert } = forward;
    let field = format!("{FIELD}.headers");
    let named = named.unwrap_or_default();
    at_most(named.len(), MAX_HEADERS, &field)?;
    let mut headers: Vec<(Arc<str>, IdentityField)> = Vec::with_capacity(named.len());
    for (index, api::ForwardedHeader { name, value }) in named.into_iter().enumerate() {
        let field = |part: &str| format!("{field}[{index}].{part}");
        let name = header_name(&name.unwrap_or_default(), &headers).map_err(|why| Invalid::spec(field("name"), why))?;
        let value = choice(value.as_deref(), &field("value"), &VALUES)?;
        let value =
            value.ok_or_else(|| Invalid::spec(field("value"), "must say what the header holds: Subject, ..."))?;
        headers.push((name.into(), value));
    }
    Ok(Forward {
        client_cert: client_cert.unwrap_or(false),
        client_cert_chain: client_cert_chain.unwrap_or(false),
        headers,
        xfcc: x_forwarded_client_cert.unwrap_or(false),
    })
}

/// The name in lower case, if it is a token (RFC 9110 section 5.6.2) that is free to use and differs from those of `before`.
fn header_name(name: &str, before: &[(Arc<str>, IdentityField)]) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_token) {
        return Err(format!("must be a header's name: 1 to {MAX_NAME} letters, digits and hyphens"));
    }
    let name = name.to_ascii_lowercase();
    // CGI and WSGI take one for the other.
    let dashed = name.replace('_', "-");
    if let Some((_, field)) = OWN_FIELDS.iter().find(|(own, _)| *own == dashed) {
        return Err(format!("`{name}` has a field of its own: set {FIELD}.{field}"));
    }
    if TAKEN.contains(&dashed.as_str()) || TAKEN_PREFIXES.iter().any(|prefix| dashed.starts_with(prefix)) {
        return Err(format!("`{name}` has another meaning; take a name such as `x-client-subject`"));
    }
    if before.iter().any(|(other, _)| other.replace('_', "-") == dashed) {
        return Err(format!("`{name}` stands twice"));
    }
    Ok(name)
}
