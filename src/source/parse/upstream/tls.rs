//! How endpoints are spoken to: the scheme, and TLS.

use crate::api::{SecretRef, TlsVerify};
use crate::model::{Invalid, Protocol, UpstreamProtocol, UpstreamTls, VerifyServer};
use crate::source::parse::tls::secret_key;

/// Reads `scheme`, `tlsSecret` and `tlsVerify`: what is spoken, and how TLS is.
pub(in crate::source) fn read(
    scheme: &str,
    secret: Option<SecretRef>,
    verify: Option<TlsVerify>,
    namespace: &str,
    field: &str,
) -> Result<(UpstreamProtocol, Option<UpstreamTls>), Invalid> {
    let (spoken, secure) = match scheme {
        "" => (UpstreamProtocol::Implied, false),
        "http" => (UpstreamProtocol::Http1, false),
        "https" => (UpstreamProtocol::Http1, true),
        "grpc" | "h2c" => (UpstreamProtocol::Http2, false),
        "grpcs" | "h2" => (UpstreamProtocol::Http2, true),
        "tcp" => (UpstreamProtocol::Stream(Protocol::Tcp), false),
        "tls" => (UpstreamProtocol::Stream(Protocol::Tcp), true),
        "udp" => (UpstreamProtocol::Stream(Protocol::Udp), false),
        other => {
            let message = format!(
                "`{other}` is not served; write one of http, https, grpc, grpcs, h2c, h2, or for streams tcp, tls, udp"
            );
            return Err(Invalid::unsupported(format!("{field}.scheme"), message));
        }
    };
    if !secure {
        // Whoever gives a certificate does not want plain text.
        let named = [("tlsSecret", secret.is_some()), ("tlsVerify", verify.is_some())];
        return match named.into_iter().find(|(_, given)| *given) {
            None => Ok((spoken, None)),
            Some((name, _)) => {
                Err(Invalid::spec(format!("{field}.{name}"), "needs a scheme of TLS: https, grpcs, h2 or tls"))
            }
        };
    }
    let secret = secret.map(|secret| secret_key(secret, namespace, &format!("{field}.tlsSecret"))).transpose()?;
    let verify = verify.map_or(Ok(VerifyServer::No), |verify| authorities(verify, namespace, field))?;
    Ok((spoken, Some(UpstreamTls { client: secret, verify })))
}

fn authorities(verify: TlsVerify, namespace: &str, field: &str) -> Result<VerifyServer, Invalid> {
    let TlsVerify { ca_secret, system_roots } = verify;
    let field = format!("{field}.tlsVerify");
    match (ca_secret, system_roots.unwrap_or(false)) {
        (Some(secret), false) => {
            Ok(VerifyServer::Authorities(secret_key(secret, namespace, &format!("{field}.caSecret"))?))
        }
        (None, true) => Ok(VerifyServer::SystemRoots),
        (Some(_), true) | (None, false) => Err(Invalid::spec(field, "must hold either caSecret or systemRoots: true")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{ObjectKey, Reason};

    fn parse(spec: Value) -> Result<(UpstreamProtocol, Option<UpstreamTls>), Invalid> {
        let spec: crate::api::UpstreamSettings = serde_json::from_value(spec).unwrap();
        read(&spec.scheme.unwrap_or_default(), spec.tls_secret, spec.tls_verify, "ns", "spec")
    }

    #[test]
    fn schemes_are_protocols_with_or_without_tls() {
        use UpstreamProtocol::{Http1, Http2, Implied, Stream};
        for (scheme, spoken, secure) in [
            ("", Implied, false),
            ("http", Http1, false),
            ("https", Http1, true),
            ("grpc", Http2, false),
            ("h2c", Http2, false),
            ("grpcs", Http2, true),
            ("h2", Http2, true),
            ("tcp", Stream(Protocol::Tcp), false),
            ("tls", Stream(Protocol::Tcp), true),
            ("udp", Stream(Protocol::Udp), false),
        ] {
            let (got, tls) = parse(json!({"scheme": scheme})).unwrap();
            assert_eq!((got, tls.is_some()), (spoken, secure), "{scheme}");
        }
    }

    #[test]
    fn certificates_come_from_secrets_of_any_namespace() {
        let spec = json!({
            "scheme": "https", "tlsSecret": {"name": "a", "namespace": "other"}, "tlsVerify": {"caSecret": {"name": "b"}},
        });
        let tls = parse(spec).unwrap().1.unwrap();
        assert_eq!(tls.client, Some(ObjectKey::new("other", "a")));
        assert_eq!(tls.verify, VerifyServer::Authorities(ObjectKey::new("ns", "b")));
        let spec = json!({"scheme": "https", "tlsVerify": {"systemRoots": true}});
        assert_eq!(parse(spec).unwrap().1.unwrap().verify, VerifyServer::SystemRoots);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let ca = json!({"name": "a"});
        for (spec, field, reason) in [
            (json!({"scheme": "kafka"}), "spec.scheme", Reason::Unsupported),
            (json!({"scheme": "tcp", "tlsSecret": ca}), "spec.tlsSecret", Reason::InvalidSpec),
            (json!({"scheme": "http", "tlsSecret": ca}), "spec.tlsSecret", Reason::InvalidSpec),
            (json!({"scheme": "grpc", "tlsSecret": ca}), "spec.tlsSecret", Reason::InvalidSpec),
            (json!({"tlsVerify": {"caSecret": ca}}), "spec.tlsVerify", Reason::InvalidSpec),
            (json!({"scheme": "https", "tlsSecret": {}}), "spec.tlsSecret.name", Reason::InvalidSpec),
            (json!({"scheme": "https", "tlsVerify": {}}), "spec.tlsVerify", Reason::InvalidSpec),
            (json!({"scheme": "https", "tlsVerify": {"systemRoots": false}}), "spec.tlsVerify", Reason::InvalidSpec),
            (
                json!({"scheme": "https", "tlsVerify": {"systemRoots": true, "caSecret": ca}}),
                "spec.tlsVerify",
                Reason::InvalidSpec,
            ),
            (
                json!({"scheme": "https", "tlsVerify": {"caSecret": {}}}),
                "spec.tlsVerify.caSecret.name",
                Reason::InvalidSpec,
            ),
        ] {
            let invalid = parse(spec.clone()).unwrap_err();
            assert_eq!((invalid.field.as_str(), invalid.reason), (field, reason), "{spec}: {invalid}");
        }
    }
}
