//! Header names under which upstreams believe what they are told about the client. A client must not use them.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

/// Names that upstreams trust because we set or check them. WSGI and CGI take `x_real_ip` for `x-real-ip`, so a client's
/// spelling with underscores is removed (nginx removes every name with an underscore; APISIX does not).
pub(super) const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "forwarded",
    "host",
    "proxy",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Names under which proxies and TLS libraries tell upstreams who a client is. What a client sends under them is removed,
/// whether or not the host authenticates clients: an upstream that believes such a header would take anyone for anybody.
const IDENTITY: [&str; 13] = [
    "client-verify",
    "ssl-issuer",
    "ssl-subject",
    "x-arr-clientcert", // Azure App Service
    "x-client-dn",      // Puppet, with x-client-verify
    "x-client-verify",
    "x-ssl-cert",
    "x-ssl-certificate",
    "x-ssl-issuer",
    "x-ssl-issuer-dn",
    "x-ssl-serial",
    "x-ssl-subject",
    "x-ssl-verify",
];

/// Beginnings of such names.
const IDENTITY_PREFIXES: [&str; 10] = [
    "cf-client-cert-", // Cloudflare
    "client-cert",     // RFC 9440; client-certificate
    "ssl-client",      // Apache, ingress-nginx
    "tls-client",
    "x-amzn-mtls-",                // AWS
    "x-client-cert",               // Azure, Google, Kong
    "x-forwarded-client-cert",     // Envoy
    "x-forwarded-tls-client-cert", // Traefik
    "x-ssl-client",                // HAProxy, F5
    "x-tls-client",
];

/// Removes the names of an identity, and those that CGI and its like take for a reserved name or an identity's: `-` and `_`
/// are one to them, and to some every character but letters and digits (lighttpd).
pub(super) fn remove(headers: &mut HeaderMap, identity: &[Arc<str>]) {
    let claims = |name: &&HeaderName| {
        let name = name.as_str();
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return is_identity(name, identity);
        }
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        RESERVED.contains(&name.as_str()) || is_identity(&name, identity)
    };
    let found: Vec<_> = headers.keys().filter(claims).cloned().collect(); // empty: no allocation
    for name in found {
        headers.remove(name);
    }
}

/// Whether upstreams may take `name`, of lower-case letters, digits and hyphens, for an identity.
fn is_identity(name: &str, configured: &[Arc<str>]) -> bool {
    // Most names differ from all of the lists in their first two letters.
    let usual = begins_an_identity(name)
        && (IDENTITY.contains(&name) || IDENTITY_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    usual || configured.iter().any(|other| **other == *name)
}

fn begins_an_identity(name: &str) -> bool {
    matches!(name.as_bytes(), [b'c', b'f' | b'l', ..] | [b's', b's', ..] | [b't', b'l', ..] | [b'x', b'-', ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::headers::tests::{fields, lines};

    #[test]
    fn only_look_alikes_of_reserved_names_are_removed() {
        let mut headers =
            fields(&["x_real_ip: 1", "x-forwarded_for: 1", "content_length: 1", "x_other: 1", "x-other: 1"]);
        remove(&mut headers, &[]);
        assert_eq!(lines(&headers), ["x-other: 1", "x_other: 1"]);
    }

    #[test]
    fn every_name_of_an_identity_is_found() {
        for name in IDENTITY.iter().chain(&IDENTITY_PREFIXES) {
            assert!(is_identity(name, &[]), "{name}");
        }
        assert!(is_identity("user", &["user".into()]) && !is_identity("user", &[]));
    }

    #[test]
    fn claims_of_an_identity_are_removed_in_every_spelling() {
        let mut headers = fields(&[
            "CLIENT-CERT: 1",
            "Client_Cert: 1",
            "client-cert-chain: 1",
            "ssl-client-verify: 1",
            "SSL_CLIENT_S_DN: 1",
            "x-amzn-mtls-clientcert: 1",
            "x-client-cert-present: 1",
            "x-client-dn: 1",
            "x-forwarded-client-cert: 1",
            "x-forwarded-client-cert: 2",
            "X-Forwarded-Tls-Client-Cert-Info: 1",
            "x-ssl-client-cn: 1",
            "x-ssl_verify: 1",
            "x-user: 1",
            "X_User: 1",
            "x.user: 1",
            "Client.Cert: 1",
            "ssl~client~verify: 1",
            "x-users: 1",
            "x-client: 1",
            "x-ssl: 1",
            "accept: 1",
        ]);
        remove(&mut headers, &["x-user".into()]);
        assert_eq!(lines(&headers), ["accept: 1", "x-client: 1", "x-ssl: 1", "x-users: 1"]);
    }
}
