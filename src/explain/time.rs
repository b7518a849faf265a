//! Times for people.

use rustls_pki_types::UnixTime;

use crate::model::timestamp;
use crate::trust::seconds;

const DAY: i64 = 86_400;

/// `2026-11-21T13:00:00Z`.
pub(super) fn date(time: UnixTime) -> String {
    timestamp(seconds(time))
}

/// `2026-11-21T13:00:00Z, in 12d` or `…, 3d ago`, as seen from `now`.
pub(super) fn distance(at: i64, now: UnixTime) -> String {
    let away = at.saturating_sub(seconds(now));
    let text = timestamp(at);
    match away.unsigned_abs() / DAY.unsigned_abs() {
        0 if away >= 0 => format!("{text}, in less than a day"),
        0 => format!("{text}, less than a day ago"),
        days if away > 0 => format!("{text}, in {days}d"),
        days => format!("{text}, {days}d ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_with_its_distance() {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_000_000_000));
        assert_eq!(date(now), "2001-09-09T01:46:40Z");
        assert_eq!(distance(1_000_000_000 + 3 * DAY, now), "2001-09-12T01:46:40Z, in 3d");
        assert_eq!(distance(1_000_000_000 - 3 * DAY - 1, now), "2001-09-06T01:46:39Z, 3d ago");
        assert_eq!(distance(1_000_000_001, now), "2001-09-09T01:46:41Z, in less than a day");
        assert_eq!(
            distance(i64::MAX, now),
            format!("{} s since 1970, in {}d", i64::MAX, (i64::MAX - 1_000_000_000) / DAY)
        );
    }
}
