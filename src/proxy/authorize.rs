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
        Policy::Require(auth) => tls.judge(auth, now).map_err(ProxyError::Refused),
        Policy::Refuse(invalid) => Err(ProxyError::Unusable(invalid.clone())), // not reached: it is the same as nothing
    }
}
