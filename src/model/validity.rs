//! How long something that an object refers to is valid.

use std::sync::Arc;

use super::{Effect, Invalid, Problem, Reason};

/// How long before its end a certificate is reported, in seconds: 30 days, but at most a quarter of its lifetime, because
/// certificates of a week are renewed within the week.
const SOON: i64 = 30 * 86_400;

/// How long a certificate or revocation list is valid. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The field that leads to it.
    pub field: Arc<str>,
    /// What it is.
    pub kind: Validated,
    /// Its end: the last second in which it is valid.
    pub not_after: i64,
    /// Its beginning.
    pub not_before: i64,
    /// What it is called: `certificate CN=a of Secret ns/a`.
    pub what: String,
}

/// What is valid for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validated {
    /// A certificate authority of clients.
    Authority,
    /// A revocation list.
    RevocationList {
        /// Whether clients are refused without it.
        needed: bool,
    },
    /// The host's own certificate.
    ServerCertificate,
}

impl Validity {
    /// Whether it is valid at `now`.
    pub fn holds(&self, now: i64) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// What is to be said about it at `now`. The text is the same until the next change.
    pub fn problem(&self, now: i64) -> Option<Problem> {
        let (reason, verb, at) = if now < self.not_before {
            (Reason::NotYetValid, "is not valid before", self.not_before)
        } else if now > self.not_after {
            (Reason::Expired, "has expired at", self.not_after)
        } else if now >= self.soon() {
            (Reason::ExpiresSoon, "expires at", self.not_after)
        } else {
            return None;
        };
        let consequence = match self.kind {
            Validated::Authority if reason != Reason::ExpiresSoon => "; it vouches for nobody",
            Validated::RevocationList { needed: true } => "; clients that it is about are refused",
            Validated::RevocationList { needed: false } => "; what it does not revoke is let in",
            Validated::ServerCertificate if reason != Reason::ExpiresSoon => "; clients will not accept it",
            Validated::Authority | Validated::ServerCertificate => "",
        };
        let refuses = self.kind == Validated::RevocationList { needed: true };
        let effect = if refuses { Effect::Refused } else { Effect::Warning };
        let message = format!("{} {verb} {}{consequence}", self.what, timestamp(at));
        Some(Problem { effect, invalid: Invalid::new(reason, &*self.field, message) })
    }

    /// When [`Validity::problem`] says something else for the first time after `now`.
    pub fn next(&self, now: i64) -> Option<i64> {
        let times = [self.not_before, self.soon(), self.not_after.saturating_add(1)];
        times.into_iter().filter(|time| *time > now).min()
    }

    /// From when on it is reported. A revocation list is published anew all the time, and shortly before its end.
    fn soon(&self) -> i64 {
        let lifetime = self.not_after.saturating_sub(self.not_before);
        match self.kind {
            Validated::RevocationList { .. } => self.not_after.saturating_add(1),
            Validated::Authority | Validated::ServerCertificate => self.not_after - SOON.min(lifetime / 4),
        }
    }
}

/// A time, given in seconds since the epoch, in RFC 3339.
pub fn timestamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s since 1970"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn validity(kind: Validated, days: i64) -> Validity {
        Validity { field: "spec.secret".into(), kind, not_after: days * DAY, not_before: 0, what: "certificate".into() }
    }

    fn said(validity: &Validity, now: i64) -> Option<(Effect, Reason)> {
        validity.problem(now).map(|problem| (problem.effect, problem.invalid.reason))
    }

    #[test]
    fn a_certificate_is_reported_before_its_end_and_after_it() {
        let year = validity(Validated::ServerCertificate, 365);
        let soon = Some((Effect::Warning, Reason::ExpiresSoon));
        assert_eq!(said(&year, -1), Some((Effect::Warning, Reason::NotYetValid)));
        assert_eq!((said(&year, 335 * DAY - 1), said(&year, 335 * DAY)), (None, soon));
        assert_eq!(
            (said(&year, 365 * DAY), said(&year, 365 * DAY + 1)),
            (soon, Some((Effect::Warning, Reason::Expired)))
        );
        let week = validity(Validated::Authority, 8);
        assert_eq!((said(&week, 6 * DAY - 1), said(&week, 6 * DAY)), (None, soon));
        let text = year.problem(335 * DAY).unwrap().invalid.to_string();
        assert_eq!(text, "spec.secret: certificate expires at 1971-01-01T00:00:00Z");
    }

    #[test]
    fn an_expired_list_refuses_where_it_is_needed() {
        let needed = validity(Validated::RevocationList { needed: true }, 1);
        assert_eq!((said(&needed, DAY), said(&needed, DAY + 1)), (None, Some((Effect::Refused, Reason::Expired))));
        let optional = validity(Validated::RevocationList { needed: false }, 1);
        assert_eq!(said(&optional, DAY + 1), Some((Effect::Warning, Reason::Expired)));
    }

    #[test]
    fn the_next_time_is_when_the_text_changes() {
        for kind in [Validated::Authority, Validated::RevocationList { needed: true }, Validated::ServerCertificate] {
            let validity = validity(kind, 365);
            let mut now = -1;
            while let Some(next) = validity.next(now) {
                assert!(next > now);
                assert_eq!(validity.problem(now), validity.problem(next - 1), "{kind:?} {now}");
                now = next;
            }
            assert_eq!(now, 365 * DAY + 1);
        }
        let forever = Validity { not_after: i64::MAX, not_before: i64::MIN, ..validity(Validated::Authority, 1) };
        assert_eq!(forever.problem(0), None);
    }
}
