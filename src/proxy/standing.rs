//! What a connection is worth under the configuration of a moment, whatever it is asked for. Pure.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::downstream::Tls;
use crate::model::{Invalid, Mode};
use crate::snapshot::{HostTls, Policy, Reason};
use crate::trust::Refusal;

/// Until when a client is let in, in seconds since the epoch; [`FOREVER`] where only another configuration can end it. Or
/// why it is not.
pub(super) type Standing = Result<u64, Lost>;

/// The end of a standing that has none.
pub(super) const FOREVER: u64 = u64::MAX;

/// Why a client is not let in.
#[derive(Clone, Debug)]
pub(super) enum Lost {
    /// The host is not configured any more.
    Gone,
    /// The client does not satisfy the host's policy.
    Refused(Refusal),
    /// The host's policy is unusable.
    Unusable(Arc<Invalid>),
}

/// The standing of a client with a host at the time `now`. `client` is `None` on a plaintext connection.
pub(super) fn standing(host: &HostTls, client: Option<&Tls>, now: UnixTime, allow_plaintext: bool) -> Standing {
    let auth = match &host.policy {
        Policy::Open => return Ok(FOREVER),
        Policy::Refuse(invalid) => return Err(Lost::Unusable(invalid.clone())),
        Policy::Require(auth) => auth,
    };
    let certified = client.filter(|client| client.has_certificate());
    let Some(client) = certified else {
        let needed = auth.settings.mode == Mode::Require && !(client.is_none() && allow_plaintext);
        return if needed { Err(Lost::Refused(Refusal::NotPresent)) } else { Ok(FOREVER) };
    };
    if auth.settings.mode == Mode::Observe {
        return Ok(FOREVER);
    }
    match &client.judge(auth, now).outcome {
        Ok(verified) => Ok(verified.valid_until.as_secs()),
        Err(refusal) => Err(Lost::Refused(refusal.clone())),
    }
}

/// Why `client` would not be let in to `host` at the time `now`, were its policy not in the mode `Observe`.
pub(super) fn observed(host: &HostTls, client: &Tls, now: UnixTime) -> Option<Lost> {
    match &host.policy {
        Policy::Require(auth) if auth.settings.mode == Mode::Observe => {
            client.judge(auth, now).outcome.as_ref().err().cloned().map(Lost::Refused)
        }
        _ => None,
    }
}

impl Lost {
    /// The reason, for metrics and the audit log.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Gone => Reason::HostGone,
            Self::Refused(refusal) => Reason::Client(refusal.cause()),
            Self::Unusable(_) => Reason::UnusablePolicy,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("TLS is not configured any more for the SNI"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unusable(invalid) => write!(f, "client authentication of the host is unusable: {invalid}"),
        }
    }
}
