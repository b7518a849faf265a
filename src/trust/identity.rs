//! Rules on who a client may be.

use regex::{Regex, RegexBuilder};

use super::name::has_control;
use super::{Cause, Holder, Refusal};
use crate::model::{IdentityRule, Network, TextMatch};

/// The largest compiled regular expression, in bytes.
const REGEX_SIZE: usize = 1 << 20;

/// The identities that are let in; without any rule everyone is.
#[derive(Debug, Default)]
pub struct IdentityRules {
    rules: Vec<Rule>,
}

/// One [`IdentityRule`], compiled: every field that is not empty must match, by one of its values.
#[derive(Debug)]
struct Rule {
    certificate_sha256: Vec<[u8; 32]>,
    dns: Vec<Pattern>,
    email: Vec<Pattern>,
    ip: Vec<Network>,
    public_key_sha256: Vec<[u8; 32]>,
    spiffe: Vec<Pattern>,
    subject: Vec<Pattern>,
    uri: Vec<Pattern>,
}

#[derive(Debug)]
enum Pattern {
    Exact(String),
    Prefix(String),
    Regex(Regex),
    Suffix(String),
}

impl IdentityRules {
    /// Compiles rules.
    ///
    /// # Errors
    /// A sentence about a regular expression that is broken or too large.
    pub fn new(rules: &[IdentityRule]) -> Result<Self, String> {
        Ok(Self { rules: rules.iter().map(Rule::new).collect::<Result<_, _>>()? })
    }

    /// Whether everyone is let in.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether `holder` is let in.
    ///
    /// # Errors
    /// `subject not allowed`, with the subject.
    pub fn check(&self, holder: &Holder) -> Result<(), Refusal> {
        if self.rules.is_empty() || self.rules.iter().any(|rule| rule.matches(holder)) {
            return Ok(());
        }
        Err(Refusal::new(Cause::Identity, format!("subject not allowed: {}", holder.subject)))
    }
}

impl Rule {
    fn new(rule: &IdentityRule) -> Result<Self, String> {
        let lower = |text: &str| text.to_ascii_lowercase();
        Ok(Self {
            certificate_sha256: rule.certificate_sha256.clone(),
            dns: patterns(&rule.dns, true, lower)?,
            email: patterns(&rule.email, false, lower_domain)?,
            ip: rule.ip.clone(),
            public_key_sha256: rule.public_key_sha256.clone(),
            spiffe: patterns(&rule.spiffe, false, str::to_owned)?,
            subject: patterns(&rule.subject, false, str::to_owned)?,
            uri: patterns(&rule.uri, false, str::to_owned)?,
        })
    }

    fn matches(&self, holder: &Holder) -> bool {
        let dns = || holder.dns.iter().map(|name| name.to_ascii_lowercase());
        let emails = || holder.emails.iter().map(|address| lower_domain(address));
        let subject = (!has_control(&holder.subject)).then_some(&holder.subject);
        one_of(&self.certificate_sha256, |pin| *pin == holder.certificate_sha256)
            && one_of(&self.public_key_sha256, |pin| *pin == holder.public_key_sha256)
            && one_of(&self.ip, |network| holder.ips.iter().any(|ip| network.contains(*ip)))
            && one_of(&self.dns, |pattern| dns().any(|name| pattern.matches(&name)))
            && one_of(&self.email, |pattern| emails().any(|address| pattern.matches(&address)))
            && one_of(&self.spiffe, |pattern| spiffe_id(&holder.uris).is_some_and(|id| pattern.matches(id)))
            && one_of(&self.subject, |pattern| subject.is_some_and(|subject| pattern.matches_name(subject)))
            && one_of(&self.uri, |pattern| holder.uris.iter().any(|uri| pattern.matches(uri)))
    }
}

/// Whether there is nothing to match, or one of the values matches.
fn one_of<T>(values: &[T], matches: impl FnMut(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(matches)
}

impl Pattern {
    /// Whether the text matches. One with a control character never does: `good.example\0.evil.example` is not
    /// `good.example…` (CVE-2026-47778 and its kind).
    fn matches(&self, text: &str) -> bool {
        if text.chars().any(char::is_control) {
            return false;
        }
        match self {
            Self::Exact(whole) => text == whole,
            Self::Prefix(start) => text.starts_with(start.as_str()),
            Self::Regex(regex) => regex.is_match(text),
            Self::Suffix(end) => text.ends_with(end.as_str()),
        }
    }

    /// As [`Self::matches`], for a name in RFC 4514's form: `CN=evil\,O=Shop` has one attribute, and so neither the end
    /// `,O=Shop` nor a match of `CN=[^,]+,O=Shop`.
    fn matches_name(&self, name: &str) -> bool {
        match self {
            Self::Regex(_) => self.matches(&hex_separators(name)),
            Self::Suffix(end) => {
                let before = name.strip_suffix(end.as_str()).unwrap_or_default();
                let backslashes = before.bytes().rev().take_while(|byte| *byte == b'\\').count();
                backslashes.is_multiple_of(2) && self.matches(name)
            }
            Self::Exact(_) | Self::Prefix(_) => self.matches(name),
        }
    }
}

/// The name with the escaped commas and plus signs of its values as `\2C` and `\2B`: what is left of them separates attributes.
fn hex_separators(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        out.push(letter);
        if letter == '\\' {
            match letters.next() {
                Some(',') => out.push_str("2C"),
                Some('+') => out.push_str("2B"),
                other => out.extend(other),
            }
        }
    }
    out
}

/// Compiles matches; `fold` brings their texts into the form that the compared texts have.
fn patterns(matches: &[TextMatch], ignore_case: bool, fold: impl Fn(&str) -> String) -> Result<Vec<Pattern>, String> {
    let compile = |text: &TextMatch| {
        Ok(match text {
            TextMatch::Exact(whole) => Pattern::Exact(fold(whole)),
            TextMatch::Prefix(start) => Pattern::Prefix(fold(start)),
            TextMatch::Regex(regex) => Pattern::Regex(whole_text(regex, ignore_case)?),
            TextMatch::Suffix(end) => Pattern::Suffix(fold(end)),
        })
    };
    matches.iter().map(compile).collect()
}

/// A regular expression that must match the whole text.
fn whole_text(regex: &str, ignore_case: bool) -> Result<Regex, String> {
    let build = |text: &str| {
        let built = RegexBuilder::new(text).case_insensitive(ignore_case).size_limit(REGEX_SIZE).build();
        built.map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("the regular expression `{regex}` is not usable: {last}")
        })
    };
    // First as it stands: `a)|(b` becomes a valid expression, which is not anchored, when it is put in parentheses.
    build(regex)?;
    build(&format!(r"\A(?:{regex})\z"))
}

/// An e-mail address with its domain in lower case; the local part means what its domain makes of it (RFC 5321
/// section 2.4). A text without `@` is the end of a domain.
fn lower_domain(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').map_or(("", address), |(local, _)| address.split_at(local.len()));
    format!("{local}{}", domain.to_ascii_lowercase())
}

/// The SPIFFE id of a certificate with these URIs: an X.509-SVID has exactly one (SPIFFE X509-SVID section 2), which keeps
/// to the rules of SPIFFE-ID section 2.
fn spiffe_id(uris: &[String]) -> Option<&str> {
    let [id] = uris else { return None };
    let rest = id.strip_prefix("spiffe://")?;
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    let domain_ok = !domain.is_empty()
        && domain.len() <= 255
        && domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
    let segment_ok = |segment: &str| {
        let allowed = segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        allowed && !segment.is_empty() && segment != "." && segment != ".."
    };
    (id.len() <= 2048 && domain_ok && path.is_none_or(|path| path.split('/').all(segment_ok))).then_some(id)
}

#[cfg(test)]
mod tests;
