//! What the host asks of its clients, and whether this one has it.

use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Asked, Configuration, Step, identity, time};
use crate::model::{Failure, Mode};
use crate::proxy::TrialTls;
use crate::snapshot::{ClientAuth, HostTls, Policy};
use crate::trust::{Cause, Holder, Refusal, Revocation, hex, seconds};

const POLICY: &str = "client policy";
const CERTIFICATE: &str = "client certificate";
const CONNECTION: &str = "connection";

/// How many authorities, revocation lists and rules are listed.
const LISTED: usize = 10;

pub(super) fn steps(configuration: &Configuration<'_>, asked: &Asked) -> Vec<Step> {
    let Configuration { settings, snapshot, .. } = *configuration;
    let tls = snapshot.tls.most_specific(&asked.host);
    let object = tls.map(|tls| format!("ApisixTls {}", tls.object)).unwrap_or_default();
    let mut steps = match snapshot.policy(&asked.host) {
        Policy::Open if tls.is_none() => vec![Step::ok(POLICY, "no ApisixTls speaks for the host: none")],
        policy => vec![of_host(policy, &object, asked.now)],
    };
    let Some(tls) = &asked.trial.tls else {
        steps.extend(
            plaintext(snapshot.policy(&asked.host), settings.allow_plaintext_client_auth)
                .map(|step| step.of(&object, "")),
        );
        return steps;
    };
    if let Some(connection) = tls.host(settings).and_then(|sni| snapshot.handshake(sni)) {
        steps.extend(other_host(configuration, asked, connection));
    }
    if let Policy::Require(auth) = snapshot.policy(&asked.host) {
        let skip = skipped(auth, &asked.path);
        let judged = judged(auth, &tls.chain, auth.skips(&asked.path), asked.now);
        steps.extend(skip.map(|step| step.of(&object, "spec.client.skip_mtls_uri_regex")));
        steps.push(judged.of(object, "spec.client"));
    }
    steps
}

/// The same for a stream over TLS, to the host that its client names. It has no path that could need no certificate.
pub(super) fn stream_steps(configuration: &Configuration<'_>, connection: &TrialTls, now: UnixTime) -> Vec<Step> {
    let host = connection.host(configuration.settings).and_then(|sni| configuration.snapshot.handshake(sni));
    let Some(host) = host else { return Vec::new() };
    let object = format!("ApisixTls {}", host.object);
    let mut steps = vec![of_host(&host.policy, &object, now)];
    if let Policy::Require(auth) = &host.policy {
        steps.push(judged(auth, &connection.chain, false, now).of(object, "spec.client"));
    }
    steps
}

fn of_host(policy: &Policy, object: &str, now: UnixTime) -> Step {
    match policy {
        Policy::Open => Step::ok(POLICY, "none: clients need no certificate").of(object, ""),
        Policy::Refuse(invalid) => {
            let help = "correct what the object's conditions name; until then nobody is let in";
            let message = format!("unusable, and so refuses everyone: {}", invalid.message);
            Step::refused(POLICY, message, help).of(object, &invalid.field)
        }
        Policy::Require(auth) => self::policy(auth, now).of(object, "spec.client"),
    }
}

fn plaintext(policy: &Policy, allowed: bool) -> Option<Step> {
    let message = "the host authenticates its clients, and the request comes without TLS";
    match policy {
        Policy::Open => None,
        Policy::Require(_) if allowed => {
            Some(Step::warning(CONNECTION, "--allow-plaintext-client-auth lets everyone in who comes without TLS"))
        }
        Policy::Require(auth) if auth.settings.mode == Mode::Optional => None,
        Policy::Require(auth) if auth.settings.mode == Mode::Observe => {
            Some(Step::warning(CONNECTION, format!("{message}; mode Observe serves it anyway")))
        }
        Policy::Refuse(_) | Policy::Require(_) => Some(Step::refused(CONNECTION, message, "use https")),
    }
}

/// The request's host beside the connection's.
fn other_host(configuration: &Configuration<'_>, asked: &Asked, connection: &HostTls) -> Option<Step> {
    let sni = asked.trial.tls.as_ref()?.host(configuration.settings)?;
    if *sni == asked.host {
        return None;
    }
    let here = configuration.snapshot.policy(&asked.host);
    let object = format!("ApisixTls {}", connection.object);
    if connection.policy.same(here) {
        let message = format!("{sni} asks for the same as {}: the connection serves both", asked.host);
        return Some(Step::ok(CONNECTION, message).of(object, ""));
    }
    let message =
        format!("{sni} does not ask for what {} asks for: the connection is good for one of them", asked.host);
    let help = "connect with the request's own host as SNI; clients do so by themselves after a 421";
    Some(Step::refused(CONNECTION, message, help).of(object, ""))
}

fn policy(auth: &ClientAuth, now: UnixTime) -> Step {
    let (requirements, settings) = (&auth.requirements, &auth.settings);
    let mode = match settings.mode {
        Mode::Observe => "Observe: everyone is served, refusals are only counted and logged",
        Mode::Optional => "Optional: a certificate that is sent must satisfy it",
        Mode::Require => "Require: a certificate that satisfies it is needed",
    };
    let failure = match &settings.failure {
        Failure::Alert => "a refused client gets a TLS alert".to_owned(),
        Failure::Page => "a refused client gets 400 Bad Request".to_owned(),
        Failure::Answer(answer) => format!("a refused client gets the status {}", answer.status),
    };
    let mut notes = vec![failure, format!("depth: at most {} intermediates", requirements.depth)];
    notes.extend(authorities(auth, now));
    notes.extend(requirements.revocation.iter().flat_map(|revocation| revocation_notes(revocation, now)));
    let rules = settings.identities.iter().enumerate();
    notes.extend(first(rules, "rules on the identity", |(index, rule)| identity::rule(index, rule)));
    notes.extend(settings.skip.iter().map(|skip| format!("no certificate is needed where the path matches `{skip}`")));
    notes.push(format!("policy id {}", auth.id));
    Step::ok(POLICY, mode).notes(notes)
}

/// The first few of many; there may be a hundred.
fn first<T>(all: impl Iterator<Item = T>, what: &str, line: impl Fn(T) -> String) -> Vec<String> {
    let mut lines: Vec<_> = all.map(line).collect();
    let more = lines.len().saturating_sub(LISTED);
    lines.truncate(LISTED);
    lines.extend((more > 0).then(|| format!("and {more} more {what}")));
    lines
}

fn authorities(auth: &ClientAuth, now: UnixTime) -> Vec<String> {
    first(auth.requirements.anchors.iter(), "authorities", |anchor| {
        let until = time::distance(anchor.not_after(), now);
        let judged = if anchor.is_valid(now) { "" } else { "; it is not valid now and vouches for nobody" };
        format!("authority {}, valid until {until}{judged}", anchor.subject())
    })
}

fn revocation_notes(revocation: &Revocation, now: UnixTime) -> Vec<String> {
    let settings = revocation.settings();
    let scope = if settings.leaf_only { "the client's own certificate" } else { "the whole chain" };
    let unknown = if settings.allow_unknown { "is allowed" } else { "is refused" };
    let mut notes = vec![format!("revocation is checked for {scope}; what no current list covers {unknown}")];
    notes.extend(first(revocation.iter(), "revocation lists", |list| {
        let next = time::distance(list.next_update(), now);
        let judged = if list.next_update() < seconds(now) { "; it has expired" } else { "" };
        format!("revocation list of {}: {} certificates, next update {next}{judged}", list.issuer(), list.entries())
    }));
    notes
}

fn skipped(auth: &ClientAuth, path: &str) -> Option<Step> {
    const STEP: &str = "skip rule";
    let matched = auth.skip.matches(path).into_iter().next()?;
    let rule = auth.settings.skip.get(matched)?;
    if auth.skips(path) {
        return Some(Step::ok(STEP, format!("{path} matches `{rule}`: no client certificate is needed")));
    }
    let message = format!("{path} matches `{rule}`, but an upstream may take it for another path: it does not count");
    Some(Step::warning(STEP, message))
}

fn judged(auth: &ClientAuth, chain: &[CertificateDer<'static>], skipped: bool, now: UnixTime) -> Step {
    let sent = chain.iter().enumerate().map(|(index, der)| match Holder::read(der) {
        Some(holder) => format!(
            "certificate {}: subject {}, issuer {}, serial {}, valid until {}, SHA-256 {}",
            index + 1,
            holder.subject,
            holder.issuer,
            hex(&holder.serial).to_uppercase(),
            time::distance(holder.not_after, now),
            hex(&holder.certificate_sha256),
        ),
        None => format!("certificate {} cannot be read", index + 1),
    });
    let refusal = match auth.judge(chain, now) {
        Ok(verified) => {
            let message = format!("satisfies the policy until {}", time::date(verified.valid_until));
            return Step::ok(CERTIFICATE, message).notes(sent);
        }
        Err(refusal) => refusal,
    };
    let names = chain.first().filter(|_| !auth.settings.identities.is_empty()).and_then(Holder::read);
    let sent = sent.chain(names.and_then(|holder| identity::names(&holder)));
    let notes: Vec<_> = sent.chain(missing_issuer(auth, chain, refusal.cause())).collect();
    let message = match &refusal {
        Refusal::NotPresent => "the client sends none".to_owned(),
        Refusal::NotVerified { why, .. } => why.clone(),
    };
    match (auth.settings.mode, refusal.cause()) {
        (Mode::Optional, Cause::NotPresent) => Step::ok(CERTIFICATE, message),
        (Mode::Observe, _) => {
            Step::warning(CERTIFICATE, format!("{message}; mode Observe serves the client anyway")).notes(notes)
        }
        (_, _) if skipped => Step::warning(CERTIFICATE, format!("{message}; the path needs none")).notes(notes),
        (_, cause) => Step::refused(CERTIFICATE, message, help(cause)).notes(notes),
    }
}

/// The name that was looked for among the authorities, and whether one has it.
fn missing_issuer(auth: &ClientAuth, chain: &[CertificateDer<'static>], cause: Cause) -> Vec<String> {
    if cause != Cause::UnknownIssuer {
        return Vec::new();
    }
    let holders: Vec<_> = chain.iter().filter_map(Holder::read).collect();
    let Some(mut last) = holders.first() else { return Vec::new() };
    // Each step goes to another certificate of the chain, so that a circle ends.
    for _ in &holders {
        match holders.iter().find(|holder| holder.subject == last.issuer && holder.subject != holder.issuer) {
            Some(next) => last = next,
            None => break,
        }
    }
    let found = auth.requirements.anchors.iter().any(|anchor| anchor.subject() == last.issuer);
    let wanted = format!("looked for the issuer {}", last.issuer);
    let outcome = if found {
        "an authority has that name, but did not sign the certificate (another key), or is not valid now"
    } else {
        "no authority has that name"
    };
    vec![wanted, outcome.to_owned()]
}

/// What to do about a refusal.
fn help(cause: Cause) -> &'static str {
    match cause {
        Cause::Depth => "raise spec.client.depth, or add the intermediate to the client CAs",
        Cause::Expired => "renew the certificate that has expired",
        Cause::Identity => "use a certificate that one of spec.client.identities allows, or add a rule for it",
        Cause::Invalid => "make the certificate anew; the message says what is wrong with it",
        Cause::NoAnchor => "put a certificate authority that is valid into the client CA Secret",
        Cause::NotPresent => "give the client a certificate: curl --cert client.pem --key client.key",
        Cause::NotYetValid => "wait until notBefore, or set the clocks of client and server right",
        Cause::Revoked => "the authority has revoked the certificate: get another one",
        Cause::RevocationUnknown => {
            "publish a current revocation list of the issuer, or set spec.client.revocation.unknown to Allow"
        }
        Cause::UnknownIssuer => {
            "send the missing intermediates with the certificate, or add its authority to the client CA Secret"
        }
        Cause::Usage => "issue the certificate for TLS client authentication (digitalSignature, clientAuth, CA:FALSE)",
        Cause::Weak => "issue the certificate with SHA-256 and RSA of 2048 bits or more, or with ECDSA",
    }
}
