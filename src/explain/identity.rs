//! Rules on the identity, and what a certificate has to match them with.

use std::fmt::Display;

use crate::model::{IdentityRule, TextMatch};
use crate::trust::{Holder, hex};

/// What a rule asks for: everything in it must match.
pub(super) fn rule(index: usize, rule: &IdentityRule) -> String {
    let mut parts = Vec::new();
    let texts = [
        ("subject", &rule.subject),
        ("dns", &rule.dns),
        ("email", &rule.email),
        ("uri", &rule.uri),
        ("spiffe", &rule.spiffe),
    ];
    for (field, matches) in texts {
        parts.extend(any_of(field, matches.iter().map(text)));
    }
    parts.extend(any_of("ip", rule.ip.iter().map(ToString::to_string)));
    parts.extend(any_of("certificateSha256", rule.certificate_sha256.iter().map(|sum| hex(sum))));
    parts.extend(any_of("publicKeySha256", rule.public_key_sha256.iter().map(|sum| hex(sum))));
    format!("identities[{index}] asks for {}", parts.join(", and "))
}

fn any_of(field: &str, values: impl Iterator<Item = String>) -> Option<String> {
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| format!("{field} {}", values.join(" or ")))
}

fn text(wanted: &TextMatch) -> String {
    match wanted {
        TextMatch::Exact(text) => format!("`{text}`"),
        TextMatch::Prefix(text) => format!("beginning with `{text}`"),
        TextMatch::Regex(text) => format!("matching `{text}`"),
        TextMatch::Suffix(text) => format!("ending with `{text}`"),
    }
}

/// The alternative names of a certificate.
pub(super) fn names(holder: &Holder) -> Option<String> {
    fn kind<T: Display>(name: &str, values: &[T]) -> Vec<String> {
        values.iter().map(|value| format!("{name} {value}")).collect()
    }
    let names =
        [kind("DNS", &holder.dns), kind("e-mail", &holder.emails), kind("IP", &holder.ips), kind("URI", &holder.uris)];
    let names = names.concat();
    (!names.is_empty()).then(|| format!("its alternative names are {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_told_with_all_that_it_asks_for() {
        let wanted = IdentityRule {
            dns: vec![TextMatch::Exact("a.test".into()), TextMatch::Suffix(".b.test".into())],
            ip: vec![crate::model::Network::parse("10.0.0.0/8").unwrap()],
            subject: vec![TextMatch::Prefix("CN=a".into())],
            ..IdentityRule::default()
        };
        let expected = "identities[2] asks for subject beginning with `CN=a`, and dns `a.test` or ending with `.b.test`, \
                        and ip 10.0.0.0/8";
        assert_eq!(rule(2, &wanted), expected);
    }
}
