//! `spec.client`.

use std::sync::Arc;

use regex::{RegexBuilder, RegexSetBuilder};

use super::super::no_regex;
use super::failure::failure;
use super::forward::forward;
use super::identity::identities;
use super::{at_most, choice, secret_key};
use crate::api::{self, Client, SecretRef};
use crate::model::{
    ClientAuthRef, ClientSettings, DEFAULT_DEPTH, DataRef, Failure, Invalid, Kind, Mode, ObjectRef, RevocationRef,
    RevocationSettings,
};

/// The deepest chain that can be asked for (OpenSSL's own limit).
const MAX_DEPTH: u32 = 100;

/// Objects that authorities, or lists, are read from.
const MAX_REFS: usize = 16;

const MAX_SKIP: usize = 1024;

/// Bytes that one compiled regular expression may take. `[a-z]{1,9999}` is a few characters and megabytes.
pub(super) const MAX_REGEX: usize = 1 << 20;

/// Bytes that the compiled regular expressions of `skip_mtls_uri_regex` may take together.
const MAX_SET: usize = 10 << 20;

/// Regular expressions of `skip_mtls_uri_regex` that are compiled one by one, too: a thousand would stop the control loop, and
/// the health checks with it, for seconds.
const COMPILED_ALONE: usize = 16;

pub(super) fn client_auth(client: Client, namespace: &str) -> Result<ClientAuthRef, Invalid> {
    let Client {
        ca_certificate_refs,
        ca_secret,
        depth,
        failure: refusal,
        forward: told,
        identities: rules,
        mode,
        revocation: lists,
        skip_mtls_uri_regex,
    } = client;
    let authorities = authorities(ca_secret, ca_certificate_refs.unwrap_or_default(), namespace)?;
    let modes = [("Require", Mode::Require), ("Optional", Mode::Optional), ("Observe", Mode::Observe)];
    let settings = ClientSettings {
        depth: self::depth(depth, "spec.client.depth")?,
        failure: refusal.map_or(Ok(Failure::default()), failure)?,
        forward: forward(told.unwrap_or_default())?,
        identities: identities(rules)?,
        mode: choice(mode.as_deref(), "spec.client.mode", &modes)?.unwrap_or_default(),
        skip: skip(skip_mtls_uri_regex.unwrap_or_default(), "spec.client.skip_mtls_uri_regex")?,
    };
    if settings.failure == Failure::Alert && !settings.skip.is_empty() {
        let message = "needs failure type Http: with Alert the handshake fails before there is a path";
        return Err(Invalid::spec("spec.client.skip_mtls_uri_regex", message));
    }
    let revocation = lists.map(|lists| revocation(lists, namespace)).transpose()?;
    Ok(ClientAuthRef { authorities, revocation, settings })
}

fn authorities(secret: Option<SecretRef>, refs: Vec<api::DataRef>, namespace: &str) -> Result<Vec<DataRef>, Invalid> {
    let mut authorities = Vec::new();
    if let Some(secret) = secret {
        let field = "spec.client.caSecret";
        let key = secret_key(secret, namespace, field)?;
        authorities.push(DataRef { entry: None, field: field.into(), object: ObjectRef { kind: Kind::Secret, key } });
    }
    authorities.extend(data_refs(refs, "spec.client.caCertificateRefs", namespace)?);
    if authorities.is_empty() {
        let message = "must name the Secret of the client CA, or caCertificateRefs other objects that hold it";
        return Err(Invalid::spec("spec.client.caSecret", message));
    }
    Ok(authorities)
}

fn data_refs(refs: Vec<api::DataRef>, field: &str, namespace: &str) -> Result<Vec<DataRef>, Invalid> {
    at_most(refs.len(), MAX_REFS, field)?;
    refs.into_iter().enumerate().map(|(index, data)| data_ref(data, &format!("{field}[{index}]"), namespace)).collect()
}

fn data_ref(data: api::DataRef, field: &str, namespace: &str) -> Result<DataRef, Invalid> {
    let api::DataRef { key: entry, kind, name, namespace: named } = data;
    let kinds = [Kind::Secret, Kind::ConfigMap].map(|kind| (kind.as_str(), kind));
    let kind = choice(kind.as_deref(), &format!("{field}.kind"), &kinds)?.unwrap_or(Kind::Secret);
    if entry.as_deref() == Some("") {
        return Err(Invalid::spec(format!("{field}.key"), "must not be empty; leave it out for the usual keys"));
    }
    let key = secret_key(SecretRef { name, namespace: named }, namespace, field)?;
    Ok(DataRef { entry: entry.map(Arc::from), field: field.into(), object: ObjectRef { kind, key } })
}

fn revocation(revocation: api::Revocation, namespace: &str) -> Result<RevocationRef, Invalid> {
    let api::Revocation { crl_refs, scope, unknown } = revocation;
    let field = "spec.client.revocation";
    let refs = format!("{field}.crlRefs");
    let lists = data_refs(crl_refs.unwrap_or_default(), &refs, namespace)?;
    if lists.is_empty() {
        return Err(Invalid::spec(refs, "must name at least one object with revocation lists"));
    }
    let scopes = [("Chain", false), ("Leaf", true)];
    let leaf_only = choice(scope.as_deref(), &format!("{field}.scope"), &scopes)?.unwrap_or(false);
    let answers = [("Refuse", false), ("Allow", true)];
    let allow_unknown = choice(unknown.as_deref(), &format!("{field}.unknown"), &answers)?.unwrap_or(false);
    Ok(RevocationRef { lists, settings: RevocationSettings { allow_unknown, leaf_only } })
}

/// How many intermediates there may be.
pub(in crate::source) fn depth(depth: Option<i64>, field: &str) -> Result<u32, Invalid> {
    let Some(depth) = depth else { return Ok(DEFAULT_DEPTH) };
    let valid = u32::try_from(depth).ok().filter(|depth| *depth <= MAX_DEPTH);
    valid.ok_or_else(|| Invalid::spec(field, format!("{depth} is not between 0 and {MAX_DEPTH}")))
}

/// The paths that need no client certificate.
pub(in crate::source) fn skip(patterns: Vec<String>, field: &str) -> Result<Vec<Arc<str>>, Invalid> {
    at_most(patterns.len(), MAX_SKIP, field)?;
    for (index, pattern) in patterns.iter().enumerate() {
        // Compiling takes milliseconds for each: what is wrong with one by itself is told without, but for the first few.
        let size = if index < COMPILED_ALONE { MAX_REGEX } else { 0 };
        match check_regex(pattern, &format!("{field}[{index}]"), size) {
            Err(Unusable::TooLarge(_)) if size == 0 => {}
            checked => checked?,
        }
    }
    RegexSetBuilder::new(&patterns).size_limit(MAX_SET).build().map_err(|_| {
        Invalid::spec(field, "the regular expressions take too much memory together; write fewer or simpler ones")
    })?;
    Ok(patterns.into_iter().map(Arc::from).collect())
}

/// Why a regular expression cannot be used.
pub(super) enum Unusable {
    Broken(Invalid),
    TooLarge(Invalid),
}

impl From<Unusable> for Invalid {
    fn from(unusable: Unusable) -> Self {
        let (Unusable::Broken(invalid) | Unusable::TooLarge(invalid)) = unusable;
        invalid
    }
}

/// Refuses what is no regular expression, or is one that would need more memory than `size`, in bytes. An empty one is a
/// mistake: it matches everything.
pub(super) fn check_regex(pattern: &str, field: &str, size: usize) -> Result<(), Unusable> {
    if pattern.is_empty() {
        return Err(Unusable::Broken(Invalid::spec(field, "must not be empty: it would match everything")));
    }
    RegexBuilder::new(pattern).size_limit(size).build().map(drop).map_err(|error| {
        let invalid = no_regex(pattern, &error, field);
        match error {
            regex::Error::CompiledTooBig(_) => Unusable::TooLarge(invalid),
            _ => Unusable::Broken(invalid),
        }
    })
}
