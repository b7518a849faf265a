//! What a connection is worth under the configuration of a moment, whatever it is asked for. Pure.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::downstream::Tls;
use crate::model::{Invalid, Mode};
use crate::snapshot::{HostTls, Policy};
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

/// The standing of a connection's client with a host at the time `now`.
pub(super) fn standing(host: &HostTls, client: &Tls, now: UnixTime) -> Standing {
    let auth = match &host.policy {
        Policy::Open => return Ok(FOREVER),
        Policy::Refuse(invalid) => return Err(Lost::Unusable(invalid.clone())),
        Policy::Require(auth) => auth,
    };
    match auth.settings.mode {
        Mode::Observe => return Ok(FOREVER),
        Mode::Optional if !client.has_certificate() => return Ok(FOREVER),
        Mode::Optional | Mode::Require => {}
    }
    match &client.judge(auth, now).outcome {
        Ok(verified) => Ok(verified.valid_until.as_secs()),
        Err(refusal) => Err(Lost::Refused(refusal.clone())),
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
