//! Certificates.

use regex::Regex;
use serde_json::Value;

use super::invalid;
use crate::model::HostPattern;
use crate::trust::{self, Anchors, Unpaired};

/// Whether certificates are some, keys belong to them, and authorities are ones.
pub(super) fn check(value: &Value) -> Result<(), String> {
    pair(text(value, "cert"), text(value, "key"))?;
    if text(value, "type") == "client" {
        return Ok(());
    }
    let (certificates, keys) = (texts(value, "certs"), texts(value, "keys"));
    if certificates.len() != keys.len() {
        return Err("mismatched number of certs and keys".to_owned());
    }
    for (place, (certificate, key)) in certificates.into_iter().zip(keys).enumerate() {
        pair(certificate, key).map_err(|why| format!("failed to handle cert-key pair[{}]: {why}", place + 1))?;
    }
    if let Some(client) = value.get("client") {
        authorities(text(client, "ca")).map_err(|why| format!("failed to validate client_cert: {why}"))?;
        for regex in texts(client, "skip_mtls_uri_regex") {
            Regex::new(regex).map_err(|_| {
                invalid(format!("property \"client\" validation failed: skip_mtls_uri_regex: `{regex}` is not usable"))
            })?;
        }
    }
    names(value)?;
    if texts(value, "ssl_protocols").contains(&"TLSv1.1") {
        return Err("ssl_protocols: TLSv1.1 is not supported; write TLSv1.2, TLSv1.3 or both".to_owned());
    }
    Ok(())
}

/// Whether a certificate and a key can be read and belong together.
pub(super) fn pair(certificate: &str, key: &str) -> Result<(), String> {
    trust::check_pair(certificate.as_bytes(), key.as_bytes()).map_err(|why| match why {
        Unpaired::Certificate(why) => unreadable_certificate(&why),
        Unpaired::Key(why) => format!("failed to parse key: PEM_read_bio_PrivateKey() failed: it {why}"),
        Unpaired::Mismatch => why.to_string(),
    })
}

/// OpenSSL's words, which APISIX shows, then ours.
fn unreadable_certificate(why: &str) -> String {
    format!("failed to parse cert: PEM_read_bio_X509_AUX() failed: it {why}")
}

fn authorities(pem: &str) -> Result<(), String> {
    let certificates = trust::certificates(pem.as_bytes()).map_err(|why| unreadable_certificate(&why))?;
    if certificates.iter().any(|certificate| trust::public_key(certificate).is_none()) {
        return Err(unreadable_certificate("holds what is no X.509 certificate"));
    }
    let (anchors, _) = Anchors::read([pem.as_bytes()]);
    anchors.map(|_| ()).map_err(|why| format!("client.ca: {why}"))
}

fn names(value: &Value) -> Result<(), String> {
    let names = texts(value, "snis").into_iter().map(|name| ("snis", name));
    let name = value.get("sni").and_then(Value::as_str).map(|name| ("sni", name));
    for (field, name) in names.chain(name) {
        HostPattern::parse(name).map_err(|why| invalid(format!("property \"{field}\" validation failed: {why}")))?;
    }
    Ok(())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn texts<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    value.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}
