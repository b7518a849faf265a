//! Whether a request may be served. Pure: a decision from a snapshot, a connection, a host, a path and the time.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::downstream::Tls;
use super::error::{Misdirected, ProxyError};
use super::verdict::Verdict;
use crate::model::{HostName, Mode};
use crate::snapshot::{ClientAuth, Policy, Snapshot};
use crate::trust::Refusal;

/// A request that is served.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// Why the request would have been refused, were the host's policy not in the mode `Observe`.
    pub(super) observed: Option<ProxyError>,
    /// What the client has proved; `None` where the host asks for nothing.
    pub(super) verdict: Option<Arc<Verdict>>,
}

/// Decides whether a request for `path` of `host` may be served on a connection (`tls` is `None` for plaintext).
///
/// It is asked for every request and answers from the snapshot of that moment, so a connection from before a change of
/// policy is held to the new one. Which connection it is comes first, for skipped paths too: what a path needs is the
/// business of the host's own policy, and on a connection that was made for another one nothing is known about the client.
///
/// # Errors
/// [`ProxyError::Misdirected`] where another connection is needed: what the host asks for is not what was asked of this
/// connection, in either direction. [`ProxyError::Refused`] and [`ProxyError::Unusable`] where no connection would do.
pub(super) fn authorize(
    snapshot: &Snapshot,
    tls: Option<&Tls>,
    host: &HostName,
    path: &str,
    now: UnixTime,
    allow_plaintext_client_auth: bool,
) -> Result<Access, ProxyError> {
    let asked = snapshot.policy(host);
    let usable = match tls {
        None => plaintext(asked, allow_plaintext_client_auth),
        Some(tls) => secure(snapshot, tls, host, asked),
    };
    let Policy::Require(auth) = asked else { return usable.map(|_| Access::default()) };
    match usable {
        Ok(Some(tls)) => judged(tls.judge(auth, now), auth, path),
        Ok(None) => Ok(Access { observed: None, verdict: Some(nobody(auth, now)) }),
        Err(error) if auth.settings.mode == Mode::Observe => {
            Ok(Access { observed: Some(error), verdict: Some(nobody(auth, now)) })
        }
        Err(error) => Err(error),
    }
}

/// Whether a host that asks for `asked` is served without TLS: where nothing is asked for, or need not be answered.
fn plaintext<'a>(asked: &Policy, allow_client_auth: bool) -> Result<Option<&'a Tls>, ProxyError> {
    match asked {
        Policy::Open => Ok(None),
        Policy::Require(auth) if allow_client_auth || auth.settings.mode == Mode::Optional => Ok(None),
        Policy::Refuse(_) | Policy::Require(_) => Err(ProxyError::Misdirected(Misdirected::Plaintext)),
    }
}

/// Whether what was asked of the connection is what `host` asks for.
fn secure<'a>(
    snapshot: &Snapshot,
    tls: &'a Tls,
    host: &HostName,
    asked: &Policy,
) -> Result<Option<&'a Tls>, ProxyError> {
    let Some(connection) = snapshot.handshake(&tls.sni) else {
        return Err(ProxyError::Misdirected(Misdirected::Gone));
    };
    if let Policy::Refuse(invalid) = &connection.policy
        && let Some(of_host) = snapshot.tls.most_specific(host)
        && of_host.object == connection.object
    {
        return Err(ProxyError::Unusable(invalid.clone()));
    }
    if connection.policy.same(asked) { Ok(Some(tls)) } else { Err(ProxyError::Misdirected(Misdirected::OtherPolicy)) }
}

/// What the policy makes of its own verdict.
fn judged(verdict: Arc<Verdict>, auth: &Arc<ClientAuth>, path: &str) -> Result<Access, ProxyError> {
    let Err(refusal) = &verdict.outcome else {
        return Ok(Access { observed: None, verdict: Some(verdict) });
    };
    let mode = auth.settings.mode;
    let not_needed = mode == Mode::Optional && *refusal == Refusal::NotPresent;
    if not_needed || auth.skips(path) {
        return Ok(Access { observed: None, verdict: Some(verdict) });
    }
    let error = ProxyError::Refused { auth: auth.clone(), verdict: verdict.clone() };
    if mode == Mode::Observe {
        return Ok(Access { observed: Some(error), verdict: Some(verdict) });
    }
    Err(error)
}

/// The verdict on a client of which nothing is known.
fn nobody(auth: &ClientAuth, now: UnixTime) -> Arc<Verdict> {
    Arc::new(Verdict::new(&[], auth, now))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use rustls_pki_types::CertificateDer;

    use super::*;
    use crate::model::{ClientSettings, HostPattern, Invalid, ObjectKey};
    use crate::snapshot::{ClientAuth, HostTls};
    use crate::trust::Anchors;

    static AUTHORITY: LazyLock<String> = LazyLock::new(|| {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    });

    /// Policies of equal depth are equal.
    fn require(depth: u32) -> Policy {
        policy(Mode::Require, depth, &[])
    }

    fn policy(mode: Mode, depth: u32, skip: &[&str]) -> Policy {
        let skip = skip.iter().map(|regex| (*regex).into()).collect();
        let settings = ClientSettings { depth, mode, skip, ..ClientSettings::default() };
        let anchors = Anchors::from_pem(AUTHORITY.as_bytes()).unwrap();
        Policy::Require(Arc::new(ClientAuth::new(anchors, None, settings).unwrap()))
    }

    fn refuse() -> Policy {
        Policy::Refuse(Arc::new(Invalid::spec("spec.client", "broken")))
    }

    /// Hosts with their policies; those of one object have its name.
    fn snapshot(hosts: &[(&str, &str, Policy)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (host, object, policy) in hosts {
            let tls = HostTls {
                certificates: Vec::new(),
                inputs: crate::snapshot::Inputs::default(),
                object: ObjectKey::new("default", *object),
                policy: policy.clone(),
                problems: Vec::new(),
                protocols: None,
                server: Err(Arc::new(Invalid::spec("spec.secret", "not needed here"))),
                validities: Arc::default(),
            };
            snapshot.tls.insert(&HostPattern::parse(host).unwrap(), Arc::new(tls));
        }
        snapshot
    }

    fn word(error: &ProxyError) -> &'static str {
        match error {
            ProxyError::Refused { .. } => "refused",
            ProxyError::Unusable(_) => "unusable",
            ProxyError::Misdirected(Misdirected::Gone) => "gone",
            ProxyError::Misdirected(_) => "misdirected",
            _ => "another error",
        }
    }

    /// What becomes of a request of a client that sent `chain`, in words.
    fn access(
        snapshot: &Snapshot,
        (sni, chain): (Option<&str>, &[CertificateDer<'static>]),
        (host, path): (&str, &str),
        allow_plaintext: bool,
    ) -> String {
        let tls = sni.map(|sni| Tls::new(HostName::parse(sni).unwrap(), chain.to_vec(), "TLSv1.3"));
        let host = HostName::parse(host).unwrap();
        match authorize(snapshot, tls.as_ref(), &host, path, UnixTime::now(), allow_plaintext) {
            Ok(Access { observed: Some(error), .. }) => format!("observed: {}", word(&error)),
            Ok(_) => "allowed".to_owned(),
            Err(error) => word(&error).to_owned(),
        }
    }

    /// Of a client without a certificate.
    fn verdict(snapshot: &Snapshot, sni: Option<&str>, host: &str, allow_plaintext: bool) -> String {
        access(snapshot, (sni, &[]), (host, "/"), allow_plaintext)
    }

    #[test]
    fn a_connection_serves_hosts_that_ask_for_what_its_own_host_asks_for() {
        let snapshot = snapshot(&[
            ("open.test", "open", Policy::Open),
            ("one.test", "one", require(1)),
            ("same.test", "same", require(1)),
            ("two.test", "two", require(2)),
            ("broken.test", "broken", refuse()),
            ("too.broken.test", "broken", refuse()),
            ("other.broken.test", "other", refuse()),
            ("*.wild.test", "wild", require(1)),
        ]);
        for (sni, host, expected) in [
            (Some("open.test"), "open.test", "allowed"),
            (Some("open.test"), "unprotected.test", "allowed"),
            (Some("open.test"), "one.test", "misdirected"),
            (Some("open.test"), "broken.test", "misdirected"),
            (Some("one.test"), "one.test", "refused"), // judged: it has no certificate
            (Some("one.test"), "same.test", "refused"),
            (Some("one.test"), "two.test", "misdirected"),
            (Some("one.test"), "open.test", "misdirected"),
            (Some("one.test"), "unprotected.test", "misdirected"),
            (Some("one.test"), "a.wild.test", "refused"),
            (Some("one.test"), "b.a.wild.test", "refused"),
            (Some("open.test"), "b.a.wild.test", "misdirected"), // deeper than the handshake's wildcard, yet protected
            (Some("b.a.wild.test"), "open.test", "gone"),
            (Some("removed.test"), "removed.test", "gone"),
            (Some("broken.test"), "broken.test", "unusable"),
            (Some("broken.test"), "too.broken.test", "unusable"),
            (Some("broken.test"), "other.broken.test", "misdirected"),
            (Some("broken.test"), "open.test", "misdirected"),
            (None, "open.test", "allowed"),
            (None, "unprotected.test", "allowed"),
            (None, "one.test", "misdirected"),
            (None, "b.a.wild.test", "misdirected"),
            (None, "broken.test", "misdirected"),
        ] {
            assert_eq!(verdict(&snapshot, sni, host, false), expected, "{sni:?} {host}");
        }
        assert_eq!(verdict(&snapshot, None, "one.test", true), "allowed");
        assert_eq!(verdict(&snapshot, None, "broken.test", true), "misdirected");
    }
    #[test]
    fn a_mode_decides_what_a_refusal_means() {
        let snapshot = snapshot(&[
            ("open.test", "open", Policy::Open),
            ("one.test", "one", require(1)),
            ("optional.test", "optional", policy(Mode::Optional, 1, &[])),
            ("observed.test", "observed", policy(Mode::Observe, 1, &[])),
        ]);
        let (none, bad) = (&[][..], &[CertificateDer::from(&b"no certificate"[..])][..]);
        for (sni, chain, host, expected) in [
            (Some("optional.test"), none, "optional.test", "allowed"),
            (Some("optional.test"), bad, "optional.test", "refused"),
            (Some("optional.test"), none, "one.test", "misdirected"),
            (Some("optional.test"), none, "open.test", "misdirected"),
            (Some("open.test"), none, "optional.test", "misdirected"),
            (None, none, "optional.test", "allowed"),
            (Some("observed.test"), none, "observed.test", "observed: refused"),
            (Some("observed.test"), bad, "observed.test", "observed: refused"),
            (Some("observed.test"), none, "one.test", "misdirected"),
            (Some("observed.test"), none, "open.test", "misdirected"),
            (Some("open.test"), none, "observed.test", "observed: misdirected"),
            (Some("gone.test"), none, "observed.test", "observed: gone"),
            (None, none, "observed.test", "observed: misdirected"),
        ] {
            assert_eq!(access(&snapshot, (sni, chain), (host, "/"), false), expected, "{sni:?} {chain:?} {host}");
        }
        assert_eq!(verdict(&snapshot, None, "observed.test", true), "allowed");
    }

    #[test]
    fn a_skipped_path_needs_no_certificate_on_the_connection_of_its_own_host() {
        let snapshot = snapshot(&[
            ("open.test", "open", Policy::Open),
            ("skip.test", "skip", policy(Mode::Require, 1, &["^/public", "/health$"])),
            ("optional.test", "optional", policy(Mode::Optional, 1, &["^/public"])),
            ("observed.test", "observed", policy(Mode::Observe, 1, &["^/public"])),
        ]);
        let bad = &[CertificateDer::from(&b"no certificate"[..])][..];
        for (sni, host, path, expected) in [
            (Some("skip.test"), "skip.test", "/public", "allowed"),
            (Some("skip.test"), "skip.test", "/public/a.css", "allowed"),
            (Some("skip.test"), "skip.test", "/x/health", "allowed"),
            (Some("skip.test"), "skip.test", "/x/public", "refused"),
            (Some("skip.test"), "skip.test", "/", "refused"),
            (Some("skip.test"), "skip.test", "/public;a", "refused"),
            (Some("skip.test"), "skip.test", "/public/..;/admin", "refused"),
            (Some("skip.test"), "skip.test", "/public/..%2Fadmin", "refused"),
            (Some("skip.test"), "skip.test", "/public//admin", "refused"),
            (Some("skip.test"), "skip.test", "/public/%252e%252e/admin", "refused"),
            (Some("open.test"), "skip.test", "/public", "misdirected"),
            (None, "skip.test", "/public", "misdirected"),
            (Some("optional.test"), "optional.test", "/public", "allowed"),
            (Some("observed.test"), "observed.test", "/public", "allowed"),
            (Some("observed.test"), "observed.test", "/", "observed: refused"),
        ] {
            assert_eq!(access(&snapshot, (sni, bad), (host, path), false), expected, "{sni:?} {host} {path}");
        }
    }
}
