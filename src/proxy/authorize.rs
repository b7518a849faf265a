//! Whether a connection may be used for a host. Pure: a decision from a snapshot, a connection, a host and the time.

use rustls_pki_types::UnixTime;

use super::downstream::Tls;
use super::error::{Misdirected, ProxyError};
use crate::model::HostName;
use crate::snapshot::{Policy, Snapshot};

/// Decides whether a request for `host` may be served on a connection (`tls` is `None` for plaintext).
///
/// It is asked for every request and answers from the snapshot of that moment, so a connection from before a change of
/// policy is held to the new one.
///
/// # Errors
/// [`ProxyError::Misdirected`] where another connection is needed: what the host asks for is not what was asked of this
/// connection, in either direction. [`ProxyError::Refused`] and [`ProxyError::Unusable`] where no connection would do.
pub(super) fn authorize(
    snapshot: &Snapshot,
    tls: Option<&Tls>,
    host: &HostName,
    now: UnixTime,
    allow_plaintext_client_auth: bool,
) -> Result<(), ProxyError> {
    let asked = snapshot.policy(host);
    let Some(tls) = tls else {
        return match asked {
            Policy::Open => Ok(()),
            Policy::Require(_) if allow_plaintext_client_auth => Ok(()),
            Policy::Refuse(_) | Policy::Require(_) => Err(ProxyError::Misdirected(Misdirected::Plaintext)),
        };
    };
    let Some(connection) = snapshot.handshake(&tls.sni) else {
        return Err(ProxyError::Misdirected(Misdirected::Gone));
    };
    if let Policy::Refuse(invalid) = &connection.policy
        && let Some(of_host) = snapshot.tls.most_specific(host)
        && of_host.object == connection.object
    {
        return Err(ProxyError::Unusable(invalid.clone()));
    }
    if !connection.policy.same(asked) {
        return Err(ProxyError::Misdirected(Misdirected::OtherPolicy));
    }
    match &connection.policy {
        Policy::Open => Ok(()),
        Policy::Require(auth) => match &tls.judge(auth, now).outcome {
            Ok(_) => Ok(()),
            Err(refusal) => Err(ProxyError::Refused(refusal.clone())),
        },
        Policy::Refuse(invalid) => Err(ProxyError::Unusable(invalid.clone())), // not reached: it is the same as nothing
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};

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
        let settings = ClientSettings { depth, ..ClientSettings::default() };
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
                certificate: None,
                inputs: crate::snapshot::Inputs::default(),
                object: ObjectKey::new("default", *object),
                policy: policy.clone(),
                problems: Vec::new(),
                server: Err(Arc::new(Invalid::spec("spec.secret", "not needed here"))),
            };
            snapshot.tls.insert(&HostPattern::parse(host).unwrap(), Arc::new(tls));
        }
        snapshot
    }

    /// The verdict on a client without a certificate, in a word.
    fn verdict(snapshot: &Snapshot, sni: Option<&str>, host: &str, allow_plaintext: bool) -> &'static str {
        let tls = sni.map(|sni| Tls::new(HostName::parse(sni).unwrap(), Vec::new(), "TLSv1.3"));
        let host = HostName::parse(host).unwrap();
        match authorize(snapshot, tls.as_ref(), &host, UnixTime::now(), allow_plaintext) {
            Ok(()) => "allowed",
            Err(ProxyError::Refused(_)) => "refused",
            Err(ProxyError::Unusable(_)) => "unusable",
            Err(ProxyError::Misdirected(Misdirected::Gone)) => "gone",
            Err(ProxyError::Misdirected(_)) => "misdirected",
            Err(_) => "another error",
        }
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
}
