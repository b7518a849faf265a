//! The audit log: who was refused where, and by which rule. One event per refusal, with the target `portcullis::audit`; of
//! many that are alike the first few of every ten seconds, and then their number.

mod limit;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use limit::{Limiter, Untold};
use rustls_pki_types::CertificateDer;

use crate::model::ObjectKey;
use crate::trust::{Holder, hex};

/// What became of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its open connection was closed.
    Closed,
    /// It was served, because the policy only observes.
    Observed,
    /// It was refused.
    Refused,
}

/// A refusal.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// What became of the client.
    pub action: Action,
    /// The client's certificate; `None` where it sent none. It is read only if the entry is written.
    pub certificate: Option<&'a CertificateDer<'a>>,
    /// The field of `object` that decides.
    pub field: &'a str,
    /// The host that the client asked for, in normal form.
    pub host: &'a str,
    /// The ApisixTls that decides; `None` where none does.
    pub object: Option<&'a ObjectKey>,
    /// The client's address.
    pub peer: SocketAddr,
    /// The cause, as in metrics.
    pub reason: &'static str,
    /// The request line; `None` where there was no request.
    pub request: Option<&'a dyn fmt::Display>,
    /// Whether the TLS session was resumed; `None` without TLS.
    pub resumed: Option<bool>,
    /// The host of the handshake; `None` without TLS or SNI.
    pub sni: Option<&'a str>,
    /// The cause in full.
    pub why: &'a dyn fmt::Display,
}

/// The audit log of a process.
#[derive(Debug)]
pub struct Audit(Limiter<Like>);

/// What makes two refusals alike. Nothing in it is the client's choice but its network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Like {
    network: IpAddr,
    object: Option<ObjectKey>,
    reason: &'static str,
}

impl Like {
    fn new(peer: IpAddr, reason: &'static str, object: Option<&ObjectKey>) -> Self {
        Self { network: network(peer), object: object.cloned(), reason }
    }
}

/// The /24 of an IPv4 address, the /64 of an IPv6 address: what one client can have to itself.
fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) & !0xff).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self(Limiter::new(Instant::now()))
    }
}

impl Audit {
    /// Writes `entry`, unless too many like it were written lately; says whether it did.
    pub fn tell(&self, entry: &Entry<'_>) -> bool {
        let Entry { action, certificate, field, host, object, peer, reason, request, resumed, sni, why } = *entry;
        if !self.0.admits(&Like::new(peer.ip(), reason, object)) {
            return false;
        }
        let holder = certificate.and_then(Holder::read);
        let holder = holder.as_ref();
        // The texts are quoted and escaped by the format that writes them.
        tracing::info!(
            action = action.as_str(),
            reason,
            why = why.to_string(),
            object = object.map(ToString::to_string),
            field,
            host,
            sni,
            peer = peer.to_string(),
            subject = holder.map(|holder| &*holder.subject),
            issuer = holder.map(|holder| &*holder.issuer),
            serial = holder.map(|holder| hex(&holder.serial).to_uppercase()),
            certificate_sha256 = holder.map(|holder| hex(&holder.certificate_sha256)),
            public_key_sha256 = holder.map(|holder| hex(&holder.public_key_sha256)),
            resumed,
            request = request.map(ToString::to_string),
            "client refused"
        );
        true
    }

    /// Whether to log a handshake that was refused before the client could show a certificate.
    pub fn admits_handshake(&self, peer: IpAddr, reason: &'static str) -> bool {
        self.0.admits(&Like::new(peer, reason, None))
    }

    /// Says what was not written in the last ten seconds. To be called about that often.
    pub fn sum_up(&self, now: Instant) {
        let Some(Untold { most, others }) = self.0.turn(now) else { return };
        for (Like { network, object, reason }, count) in most {
            let (network, object) = (network.to_string(), object.as_ref().map(ToString::to_string));
            tracing::info!(reason, object, network, count, "more refusals like those before");
        }
        if others > 0 {
            tracing::info!(count = others, "more refusals, of other clients or for other reasons");
        }
    }
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Observed => "observed",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("reason", &self.reason).field("host", &self.host).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_alike() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.77"), "192.0.2.0");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
