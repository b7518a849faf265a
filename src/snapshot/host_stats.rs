//! What happened at a host: counters for metrics. They survive recompilation, and go with their host.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustls_pki_types::UnixTime;

use crate::trust::Cause;

/// The counters of one host pattern. Where nothing happened they take two words.
#[derive(Debug, Default)]
pub struct HostStats(OnceLock<Box<HostCounts>>);

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The client sent an alert: it does not accept our certificate, or stopped.
    Alerted,
    /// The client went away.
    Closed,
    /// Completed, with a new session.
    Full,
    /// No version, cipher suite, signature scheme or application protocol in common.
    Incompatible,
    /// The client broke the protocol, or its proof of possession is wrong.
    Misbehaved,
    /// The client's certificate was refused in the handshake itself.
    Refused,
    /// Completed, with a session from before.
    Resumed,
    /// The host's certificate or policy is unusable.
    Unusable,
}

/// Why a client is not served: the cause of a refusal, or what stands in the way of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client does not satisfy the policy.
    Client(Cause),
    /// The host is not configured any more.
    HostGone,
    /// The connection cannot be used for the host.
    Misdirected,
    /// The host's policy itself is unusable.
    UnusablePolicy,
}

/// Upper bounds of the days that client certificates have left; what is over the last one has a year and more.
pub const DAYS: [u32; 8] = [1, 3, 7, 14, 30, 60, 90, 365];

/// How often, and when last, an anchor vouched for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorUse {
    /// Handshakes.
    pub count: u64,
    /// The last one, in seconds since the epoch.
    pub last: u64,
}

/// What was counted.
#[derive(Debug, Default)]
pub struct HostCounts {
    /// By SHA-256 of the anchor.
    anchors: Mutex<BTreeMap<[u8; 32], AnchorUse>>,
    closed: [AtomicU64; Reason::ALL.len()],
    days: [AtomicU64; DAYS.len() + 1],
    days_sum: AtomicU64,
    handshakes: [AtomicU64; Handshake::ALL.len()],
    observed: [AtomicU64; Reason::ALL.len()],
    refused: [AtomicU64; Reason::ALL.len()],
}

impl Handshake {
    /// Every end, in declaration order.
    pub const ALL: [Self; 8] = [
        Self::Alerted,
        Self::Closed,
        Self::Full,
        Self::Incompatible,
        Self::Misbehaved,
        Self::Refused,
        Self::Resumed,
        Self::Unusable,
    ];

    /// `full`, `resumed` or `failed`, and why.
    pub const fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Alerted => ("failed", "client_alert"),
            Self::Closed => ("failed", "closed"),
            Self::Full => ("full", ""),
            Self::Incompatible => ("failed", "incompatible"),
            Self::Misbehaved => ("failed", "misbehaved"),
            Self::Refused => ("failed", "refused"),
            Self::Resumed => ("resumed", ""),
            Self::Unusable => ("failed", "unusable"),
        }
    }
}

impl Reason {
    /// Every reason: the causes first, in their order.
    pub const ALL: [Self; Cause::ALL.len() + 3] = {
        let mut all = [Self::HostGone; Cause::ALL.len() + 3];
        let mut index = 0;
        while index < Cause::ALL.len() {
            all[index] = Self::Client(Cause::ALL[index]);
            index += 1;
        }
        all[index + 1] = Self::Misdirected;
        all[index + 2] = Self::UnusablePolicy;
        all
    };

    /// The reason as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client(cause) => cause.as_str(),
            Self::HostGone => "host_gone",
            Self::Misdirected => "misdirected",
            Self::UnusablePolicy => "unusable_policy",
        }
    }

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Client(cause) => cause as usize,
            Self::HostGone => Cause::ALL.len(),
            Self::Misdirected => Cause::ALL.len() + 1,
            Self::UnusablePolicy => Cause::ALL.len() + 2,
        }
    }
}

impl HostStats {
    /// What was counted; `None` where nothing has happened.
    pub fn counts(&self) -> Option<&HostCounts> {
        self.0.get().map(|counts| &**counts)
    }

    fn counted(&self) -> &HostCounts {
        self.0.get_or_init(Box::default)
    }

    /// A connection was closed because its client is not let in any more.
    pub fn closed(&self, reason: Reason) {
        inc(&self.counted().closed[reason.index()]);
    }

    /// A handshake ended.
    pub fn handshake(&self, end: Handshake) {
        inc(&self.counted().handshakes[end as usize]);
    }

    /// A request was served that would have been refused, were its policy enforced.
    pub fn observed(&self, reason: Reason) {
        inc(&self.counted().observed[reason.index()]);
    }

    /// A request was refused.
    pub fn refused(&self, reason: Reason) {
        inc(&self.counted().refused[reason.index()]);
    }

    /// `anchor` (its SHA-256) vouched for the client of a handshake at the time `now`, whose certificate ends at
    /// `not_after`, in seconds since the epoch.
    pub fn verified(&self, anchor: [u8; 32], not_after: i64, now: UnixTime) {
        let counts = self.counted();
        let now = now.as_secs();
        let days = u64::try_from(not_after).unwrap_or(0).saturating_sub(now) / 86_400;
        inc(&counts.days[DAYS.partition_point(|bound| u64::from(*bound) < days)]);
        counts.days_sum.fetch_add(days, Ordering::Relaxed);
        let mut anchors = counts.anchors.lock().unwrap_or_else(PoisonError::into_inner);
        let used = anchors.entry(anchor).or_insert(AnchorUse { count: 0, last: now });
        *used = AnchorUse { count: used.count + 1, last: used.last.max(now) };
    }
}

fn inc(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read<const N: usize>(counters: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|index| counters[index].load(Ordering::Relaxed))
}

impl HostCounts {
    /// The use of an anchor, by its SHA-256; `None` where it vouched for nobody.
    pub fn anchor(&self, sha256: &[u8; 32]) -> Option<AnchorUse> {
        self.anchors.lock().unwrap_or_else(PoisonError::into_inner).get(sha256).copied()
    }

    /// Connections closed because their client was not let in any more, in the order of [`Reason::ALL`].
    pub fn closed(&self) -> [u64; Reason::ALL.len()] {
        read(&self.closed)
    }

    /// Client certificates by the days that they had left in a handshake, and the sum of those days. The bounds are
    /// [`DAYS`].
    pub fn days(&self) -> ([u64; DAYS.len() + 1], u64) {
        (read(&self.days), self.days_sum.load(Ordering::Relaxed))
    }

    /// Handshakes, in the order of [`Handshake::ALL`].
    pub fn handshakes(&self) -> [u64; Handshake::ALL.len()] {
        read(&self.handshakes)
    }

    /// Requests served that would have been refused, in the order of [`Reason::ALL`].
    pub fn observed(&self) -> [u64; Reason::ALL.len()] {
        read(&self.observed)
    }

    /// Requests refused, in the order of [`Reason::ALL`].
    pub fn refused(&self) -> [u64; Reason::ALL.len()] {
        read(&self.refused)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn places_and_order_agree() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason:?}");
        }
        for (index, end) in Handshake::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, index, "{end:?}");
        }
    }

    #[test]
    fn an_anchor_is_remembered_with_its_last_use_and_days_have_bounds() {
        let stats = HostStats::default();
        assert!(stats.counts().is_none(), "nothing has happened");
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        stats.verified([1; 32], 1_000 + 7 * 86_400, at(1_000));
        stats.verified([1; 32], 900 + 400 * 86_400, at(900));
        let counts = stats.counts().unwrap();
        assert_eq!(counts.anchor(&[1; 32]), Some(AnchorUse { count: 2, last: 1_000 }));
        assert_eq!(counts.anchor(&[2; 32]), None);
        assert_eq!(counts.days(), ([0, 0, 1, 0, 0, 0, 0, 0, 1], 407));
    }
}
