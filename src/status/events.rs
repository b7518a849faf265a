//! Events, for what a person has to act on: an object that is refused, a certificate that expires.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::MANAGER;
use super::conditions::shorten;
use crate::api;
use crate::compile::ObjectReport;
use crate::model::Effect;

/// The longest note that the API takes.
const MAX_NOTE: usize = 1024;

pub(super) struct Events(Recorder);

impl Events {
    pub(super) fn new(client: Client, instance: Option<String>) -> Self {
        Self(Recorder::new(client, Reporter { controller: MANAGER.to_owned(), instance }))
    }

    /// Tells why an object is refused and what is to be warned of, unless the status that it had already said so.
    pub(super) async fn tell(&self, report: &ObjectReport, written: &[api::Condition], object: &ObjectReference) {
        for event in events(report, written) {
            if let Err(error) = self.0.publish(&event, object).await {
                tracing::debug!(%error, object = ?object.name, "the event was not written");
            }
        }
    }
}

/// The events for an object: why it is refused, in the first place, and every warning.
fn events(report: &ObjectReport, written: &[api::Condition]) -> Vec<Event> {
    let of =
        |effects: &'static [Effect]| report.problems.iter().filter(move |problem| effects.contains(&problem.effect));
    let told = of(&[Effect::Refused, Effect::RuleRefused]).take(1).chain(of(&[Effect::Warning]));
    told.filter_map(|problem| {
        let note = problem.invalid.to_string();
        // `Programmed` lists every problem.
        if written.iter().any(|old| old.kind == "Programmed" && old.message.contains(&note)) {
            return None;
        }
        Some(Event {
            type_: EventType::Warning,
            reason: problem.invalid.reason.as_str().to_owned(),
            note: Some(shorten(note, MAX_NOTE)),
            action: "Compile".to_owned(),
            secondary: None,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::model::{Invalid, Meta, Problem, SourceId};

    #[test]
    fn refusals_and_warnings_are_told_once() {
        let problem = |effect, message: &str| Problem { effect, invalid: Invalid::spec("spec.hosts", message) };
        let mut report = ObjectReport {
            meta: Meta::default(),
            problems: vec![
                problem(Effect::Refused, "must hold at least one host"),
                problem(Effect::Refused, "is told with the first one"),
                problem(Effect::Stale, "still serves"),
                problem(Effect::Warning, "expires"),
            ],
            source: SourceId::Kubernetes,
        };
        let notes = |events: Vec<Event>| events.into_iter().map(|event| event.note.unwrap()).collect::<Vec<_>>();
        let refusal = "spec.hosts: must hold at least one host";
        assert_eq!(notes(events(&report, &[])), [refusal, "spec.hosts: expires"]);
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        let written = super::super::conditions::conditions(&report, &[], &now);
        assert_eq!(notes(events(&report, &written)), [""; 0]);
        report.problems.retain(|problem| problem.effect == Effect::Warning);
        let written = super::super::conditions::conditions(&report, &[], &now);
        assert!(written.iter().all(|condition| condition.status == "True"), "a warning takes nothing away");
        assert_eq!(notes(events(&report, &written)), [""; 0]);
    }
}
