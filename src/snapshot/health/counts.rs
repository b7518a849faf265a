//! From signs to health: the rules of APISIX's lua-resty-healthcheck, without clock or lock.

use crate::model::{Sign, Thresholds};

/// What is known about one endpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    http_failures: u32,
    successes: u32,
    tcp_failures: u32,
    timeouts: u32,
    unhealthy: bool,
}

impl Counts {
    /// Whether the endpoint is healthy and nothing speaks against it.
    pub(super) fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Takes a sign into account; says whether the endpoint is healthy where that changes.
    ///
    /// A success ends every run of failures, and a failure the run of successes; failures of different kinds are counted apart.
    pub(super) fn count(&mut self, sign: Sign, thresholds: &Thresholds) -> Option<bool> {
        let is_success = sign == Sign::Success;
        if is_success {
            *self = Self { successes: self.successes, unhealthy: self.unhealthy, ..Self::default() };
        } else {
            self.successes = 0;
        }
        if is_success != self.unhealthy {
            return None; // what it is already
        }
        let count = match sign {
            Sign::HttpFailure => &mut self.http_failures,
            Sign::Success => &mut self.successes,
            Sign::TcpFailure => &mut self.tcp_failures,
            Sign::Timeout => &mut self.timeouts,
        };
        let threshold = thresholds.of(sign);
        if threshold == 0 {
            return None;
        }
        *count += 1;
        if *count < threshold {
            return None;
        }
        *self = Self { unhealthy: !is_success, ..Self::default() };
        Some(is_success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { http_failures: 3, successes: 2, tcp_failures: 2, timeouts: 2 };

    /// What becomes of a healthy endpoint after each of `signs`: `+` healthy, `-` unhealthy, `.` no change. Signs are `s`uccess,
    /// `h`ttp failure, `t`cp failure and time`o`ut.
    fn told(signs: &str, thresholds: &Thresholds) -> String {
        let mut counts = Counts::default();
        let sign = |sign| match sign {
            's' => Sign::Success,
            'h' => Sign::HttpFailure,
            't' => Sign::TcpFailure,
            _ => Sign::Timeout,
        };
        let told = signs.chars().map(|c| counts.count(sign(c), thresholds));
        told.map(|told| told.map_or('.', |healthy| if healthy { '+' } else { '-' })).collect()
    }

    #[test]
    fn failures_of_a_kind_in_a_row_make_unhealthy() {
        for (signs, changes) in [
            ("hhh", "..-"),
            ("tt", ".-"),
            ("oo", ".-"),
            ("hhtoh", "....-"),
            ("hhshhsshhh", ".........-"),
            ("tsts", "...."),
            ("hhhhhh", "..-..."),
        ] {
            assert_eq!(told(signs, &THRESHOLDS), changes, "{signs}");
        }
    }

    #[test]
    fn successes_in_a_row_make_healthy() {
        for (signs, changes) in [
            ("ttss", ".-.+"),
            ("ttshss", ".-...+"),
            ("ttsoss", ".-...+"),
            ("ttsstt", ".-.+.-"),
            ("ssssss", "......"),
            // Failures while it is unhealthy do not count towards the next time.
            ("tthhssh", ".-...+."),
        ] {
            assert_eq!(told(signs, &THRESHOLDS), changes, "{signs}");
        }
    }

    #[test]
    fn a_threshold_of_zero_changes_nothing() {
        let off = Thresholds { http_failures: 0, successes: 0, ..THRESHOLDS };
        for (signs, changes) in [("hhhhhhhh", "........"), ("ttssss", ".-...."), ("tst", "...")] {
            assert_eq!(told(signs, &off), changes, "{signs}");
        }
    }

    #[test]
    fn an_endpoint_is_clean_until_something_speaks_against_it() {
        let mut counts = Counts::default();
        counts.count(Sign::Success, &THRESHOLDS);
        assert!(counts.is_clean());
        counts.count(Sign::Timeout, &THRESHOLDS);
        assert!(!counts.is_clean());
        counts.count(Sign::Success, &THRESHOLDS);
        assert!(counts.is_clean());
    }
}
