//! The handshake: which object answers for the name, and its certificate.

use rustls_pki_types::UnixTime;

use super::{Configuration, Step, time};
use crate::model::{Effect, HostName, HostPattern, Kind, Validity};
use crate::proxy::TrialTls;
use crate::snapshot::{HostTable, HostTls, ServerCertificate};
use crate::trust::{Holder, seconds};

const STEP: &str = "TLS host";
const CERTIFICATE: &str = "server certificate";

/// How many names are offered where the right one is missing.
pub(super) const NEAREST: usize = 5;

pub(super) fn steps(configuration: &Configuration<'_>, connection: &TrialTls, now: UnixTime) -> Vec<Step> {
    let Some(sni) = connection.host(configuration.settings) else {
        let help = "name the host in the handshake (SNI); clients do so unless the URL holds an IP address";
        return vec![Step::refused(STEP, "the client names no host (SNI)", help)];
    };
    let table = &configuration.snapshot.tls;
    let Some(tls) = configuration.snapshot.handshake(sni) else { return vec![unknown(sni, table)] };
    let pattern = HostPattern::Exact(sni.as_str().into());
    let pattern = if table.get(&pattern).is_some() { pattern } else { HostPattern::Wildcard(after_label(sni).into()) };
    let object = format!("ApisixTls {}", tls.object);
    let fallback =
        connection.sni.is_none().then(|| format!("{sni} stands for clients that name no host (--fallback-sni)"));
    let covered = Step::ok(STEP, format!("{sni} is covered by {pattern}")).notes(fallback);
    let mut steps = vec![covered.of(&object, "spec.hosts")];
    for problem in configuration.problems(Kind::ApisixTls, &tls.object) {
        let message = problem.invalid.message.clone();
        let step = match problem.effect {
            Effect::Refused | Effect::RuleRefused => {
                Step { verdict: super::Verdict::Refused, ..Step::ok("object", message) }
            }
            Effect::Stale | Effect::Unresolved | Effect::Warning => Step::warning("object", message),
        };
        steps.push(step.of(&object, &problem.invalid.field));
    }
    match &tls.server {
        Err(invalid) => {
            let help = "correct the object or the Secret; until then nobody connects";
            steps.push(Step::refused(CERTIFICATE, invalid.message.clone(), help).of(object, &invalid.field));
        }
        Ok(_) => steps.extend(tls.certificates.iter().map(|one| certificate(one, sni, now).of(&object, "spec.secret"))),
    }
    steps
}

/// `.b.c` of `a.b.c`.
fn after_label(host: &HostName) -> &str {
    let name = host.as_str();
    name.find('.').map_or("", |at| &name[at..])
}

fn unknown(sni: &HostName, table: &HostTable<std::sync::Arc<HostTls>>) -> Step {
    let help = match table.most_specific(sni) {
        // The certificate of a wildcard covers one label, as browsers see it (RFC 6125 section 6.4.3).
        Some(wider) => format!(
            "ApisixTls {} has a wildcard for it, which covers one label only in a handshake; list {sni} in spec.hosts",
            wider.object
        ),
        None => format!("list {sni} in spec.hosts of an ApisixTls, or correct the name"),
    };
    let known = nearest(sni, table.iter().map(|(pattern, tls)| (pattern, format!("ApisixTls {}", tls.object))));
    Step::refused(STEP, format!("no ApisixTls covers {sni}"), help).notes(known)
}

/// The patterns that have the longest common end with `host`.
pub(super) fn nearest(host: &HostName, known: impl Iterator<Item = (HostPattern, String)>) -> Vec<String> {
    let labels = |text: &str| text.rsplit('.').map(str::to_owned).collect::<Vec<_>>();
    let wanted = labels(host.as_str());
    let common = |pattern: &HostPattern| {
        let pattern = labels(&pattern.to_string());
        wanted.iter().zip(&pattern).take_while(|(one, other)| one == other).count()
    };
    let mut known: Vec<_> = known.map(|(pattern, of)| (common(&pattern), pattern, of)).collect();
    known.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let total = known.len();
    let mut lines: Vec<_> =
        known.into_iter().take(NEAREST).map(|(_, pattern, of)| format!("known is {pattern} of {of}")).collect();
    if total > NEAREST {
        lines.push(format!("and {} more", total - NEAREST));
    }
    lines
}

fn certificate(certificate: &ServerCertificate, sni: &HostName, now: UnixTime) -> Step {
    let ServerCertificate { key, secret, validity, .. } = certificate;
    let Validity { not_after, not_before, .. } = validity;
    let holder = key.end_entity_cert().ok().and_then(Holder::read);
    let (names, subject) = holder.map(|holder| (holder.dns, holder.subject)).unwrap_or_default();
    let step = if *not_after < seconds(now) {
        Step::warning(CERTIFICATE, "has expired: clients that check it do not connect")
    } else if *not_before > seconds(now) {
        Step::warning(CERTIFICATE, "is not yet valid: clients that check it do not connect")
    } else if !names.iter().any(|name| covers(name, sni)) {
        Step::warning(CERTIFICATE, format!("is not for {sni}: clients that check it do not connect"))
    } else {
        Step::ok(CERTIFICATE, "is valid for the host")
    };
    let names = if names.is_empty() { "no DNS name".to_owned() } else { names.join(", ") };
    step.notes([
        format!("Secret {secret}: subject {subject}, for {names}"),
        format!("valid until {}", time::distance(*not_after, now)),
    ])
}

/// Whether a certificate's name covers `host` (RFC 6125 section 6.4.3).
fn covers(name: &str, host: &HostName) -> bool {
    match HostPattern::parse(name) {
        Ok(HostPattern::Exact(name)) => *name == *host.as_str(),
        Ok(HostPattern::Wildcard(suffix)) => *suffix == *after_label(host),
        Ok(HostPattern::Any) | Err(_) => false,
    }
}
