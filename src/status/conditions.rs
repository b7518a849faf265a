//! The conditions of a report in the shape of the API.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api;
use crate::compile::{Condition, ObjectReport};

/// The longest message that the schema takes.
const MAX_MESSAGE: usize = 32_768;

/// What the object's status should hold. The time of a condition moves only when its status does, as Kubernetes defines
/// it; `written` is what the status held before.
pub(super) fn conditions(report: &ObjectReport, written: &[api::Condition], now: &Time) -> Vec<api::Condition> {
    let condition = |new: Condition| {
        let status = if new.status { "True" } else { "False" };
        let old = written.iter().find(|old| old.kind == new.kind && old.status == status);
        api::Condition {
            last_transition_time: old.map_or(now, |old| &old.last_transition_time).clone(),
            message: shorten(new.message, MAX_MESSAGE),
            observed_generation: (report.meta.generation > 0).then_some(report.meta.generation),
            reason: new.reason.to_owned(),
            status: status.to_owned(),
            kind: new.kind.to_owned(),
        }
    };
    report.conditions().into_iter().map(condition).collect()
}

/// Whether a status that holds `written` says the same already. Conditions of others do not count, times neither.
pub(super) fn says(written: &[api::Condition], wanted: &[api::Condition]) -> bool {
    wanted.iter().all(|new| written.iter().any(|old| old.kind == new.kind && is_same(old, new)))
}

fn is_same(old: &api::Condition, new: &api::Condition) -> bool {
    let api::Condition { last_transition_time: _, message, observed_generation, reason, status, kind: _ } = new;
    (&old.message, &old.observed_generation, &old.reason, &old.status) == (message, observed_generation, reason, status)
}

/// Cuts a text to at most `bytes`, at the end of a character.
pub(super) fn shorten(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let mark = "…";
        let end = (0..=bytes - mark.len()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str(mark);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Effect, Problem};
    use crate::model::{Invalid, Meta, SourceId};

    fn time(seconds: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap())
    }

    fn report(generation: i64, problem: Option<&str>) -> ObjectReport {
        ObjectReport {
            meta: Meta { created: 0, generation },
            problems: problem.into_iter().map(refusal).collect(),
            source: SourceId::Kubernetes,
        }
    }

    fn refusal(message: &str) -> Problem {
        Problem { effect: Effect::Refused, invalid: Invalid::spec("spec", message) }
    }

    #[test]
    fn the_time_moves_with_the_status_alone() {
        let first = conditions(&report(1, None), &[], &time(1));
        assert!(first.iter().all(|c| c.status == "True" && c.last_transition_time == time(1)));
        let second = conditions(&report(2, None), &first, &time(2));
        assert!(second.iter().all(|c| c.last_transition_time == time(1) && c.observed_generation == Some(2)));
        let third = conditions(&report(2, Some("bad")), &second, &time(3));
        let times: Vec<_> = third.iter().map(|c| (c.status.as_str(), c.last_transition_time.clone())).collect();
        assert_eq!(times, [("False", time(3)), ("True", time(1)), ("False", time(3))]);
    }

    #[test]
    fn a_status_is_the_same_apart_from_times_and_others_conditions() {
        let mut written = conditions(&report(1, None), &[], &time(1));
        written.push(api::Condition { kind: "ResourcesAvailable".into(), ..written[0].clone() });
        assert!(says(&written, &conditions(&report(1, None), &[], &time(5))));
        assert!(!says(&written, &conditions(&report(2, None), &[], &time(5))));
        assert!(!says(&written, &conditions(&report(1, Some("bad")), &[], &time(5))));
        assert!(!says(&[], &written));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(shorten("äöü".into(), 6), "äöü");
        assert_eq!(shorten("äöüx".into(), 6), "ä…");
        assert_eq!(shorten("abcdef".into(), 5), "ab…");
    }
}
