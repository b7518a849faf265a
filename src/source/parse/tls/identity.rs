//! `spec.client.identities`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::at_most;
use super::client::{MAX_REGEX, check_regex};
use crate::api;
use crate::model::{IdentityRule, Invalid, Network, TextMatch};

const FIELD: &str = "spec.client.identities";

const MAX_RULES: usize = 64;

/// Values of one field of a rule.
const MAX_VALUES: usize = 64;

/// Regular expressions of all rules: each may take a megabyte.
const MAX_REGEXES: usize = 64;

/// Bytes of a text that is compared.
const MAX_TEXT: usize = 2048;

pub(super) fn identities(rules: Option<Vec<api::Identity>>) -> Result<Vec<IdentityRule>, Invalid> {
    let Some(rules) = rules else { return Ok(Vec::new()) };
    if rules.is_empty() {
        return Err(Invalid::spec(FIELD, "must hold at least one rule; leave it out to let in every identity"));
    }
    at_most(rules.len(), MAX_RULES, FIELD)?;
    let rules: Vec<_> = rules
        .into_iter()
        .enumerate()
        .map(|(index, rule)| identity(rule, &format!("{FIELD}[{index}]")))
        .collect::<Result<_, _>>()?;
    let regexes: usize = rules.iter().map(regexes).sum();
    if regexes > MAX_REGEXES {
        let message = format!("holds {regexes} regular expressions; {MAX_REGEXES} are the most");
        return Err(Invalid::spec(FIELD, message));
    }
    Ok(rules)
}

fn regexes(rule: &IdentityRule) -> usize {
    let texts = [&rule.dns, &rule.email, &rule.spiffe, &rule.subject, &rule.uri].into_iter().flatten();
    texts.filter(|text| matches!(text, TextMatch::Regex(_))).count()
}

fn identity(rule: api::Identity, field: &str) -> Result<IdentityRule, Invalid> {
    let api::Identity { certificate_sha256, dns, email, ip, public_key_sha256, spiffe, subject, uri } = rule;
    let rule = IdentityRule {
        certificate_sha256: each(certificate_sha256, &format!("{field}.certificateSha256"), digest)?,
        dns: each(dns, &format!("{field}.dns"), text_match)?,
        email: each(email, &format!("{field}.email"), text_match)?,
        ip: each(ip, &format!("{field}.ip"), |text, field| {
            Network::parse(text).map_err(|why| Invalid::spec(field, why))
        })?,
        public_key_sha256: each(public_key_sha256, &format!("{field}.publicKeySha256"), digest)?,
        spiffe: each(spiffe, &format!("{field}.spiffe"), text_match)?,
        subject: each(subject, &format!("{field}.subject"), text_match)?,
        uri: each(uri, &format!("{field}.uri"), text_match)?,
    };
    if rule == IdentityRule::default() {
        return Err(Invalid::spec(field, "must hold at least one field: an empty rule would let in every identity"));
    }
    Ok(rule)
}

/// Reads the values of one field. An empty list is refused: it could be meant to match nobody, or everybody.
fn each<T, U>(
    values: Option<Vec<T>>,
    field: &str,
    read: fn(&T, &str) -> Result<U, Invalid>,
) -> Result<Vec<U>, Invalid> {
    let Some(values) = values else { return Ok(Vec::new()) };
    if values.is_empty() {
        return Err(Invalid::spec(field, "must hold at least one value"));
    }
    at_most(values.len(), MAX_VALUES, field)?;
    values.iter().enumerate().map(|(index, value)| read(value, &format!("{field}[{index}]"))).collect()
}

fn text_match(text: &api::TextMatch, field: &str) -> Result<TextMatch, Invalid> {
    let api::TextMatch { exact, prefix, regex, suffix } = text;
    let arc = |text: &String| Arc::<str>::from(text.as_str());
    let (name, text) = match (exact, prefix, regex, suffix) {
        (Some(text), None, None, None) => ("exact", TextMatch::Exact(arc(text))),
        (None, Some(text), None, None) => ("prefix", TextMatch::Prefix(arc(text))),
        (None, None, Some(text), None) => ("regex", TextMatch::Regex(arc(text))),
        (None, None, None, Some(text)) => ("suffix", TextMatch::Suffix(arc(text))),
        _ => return Err(Invalid::spec(field, "must hold exactly one of exact, prefix, suffix and regex")),
    };
    let field = format!("{field}.{name}");
    let (TextMatch::Exact(value) | TextMatch::Prefix(value) | TextMatch::Regex(value) | TextMatch::Suffix(value)) =
        &text;
    if value.is_empty() || value.len() > MAX_TEXT {
        return Err(Invalid::spec(field, format!("must be 1 to {MAX_TEXT} bytes long")));
    }
    if matches!(text, TextMatch::Regex(_)) {
        check_regex(value, &field, MAX_REGEX)?;
    }
    Ok(text)
}

/// A SHA-256 digest: hexadecimal as `openssl x509 -fingerprint` or `sha256sum` write it, or base64 as in SPKI pins.
fn digest(text: &String, field: &str) -> Result<[u8; 32], Invalid> {
    let hex = text.replace(':', "");
    let bytes = if hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()).collect::<Option<Vec<_>>>()
    } else {
        STANDARD.decode(text).ok()
    };
    let digest = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    digest.ok_or_else(|| Invalid::spec(field, "must be a SHA-256 digest: 64 hexadecimal digits, or base64"))
}
