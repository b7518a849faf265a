//! Events, for what a person has to act on: an object that is refused.

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

    /// Tells why an object is refused, unless the status that it had already said so.
    pub(super) async fn tell(&self, report: &ObjectReport, written: &[api::Condition], object: &ObjectReference) {
        let Some(event) = refusal(report, written) else { return };
        if let Err(error) = self.0.publish(&event, object).await {
            tracing::debug!(%error, object = ?object.name, "the event was not written");
        }
    }
}

/// The event for a refused object.
fn refusal(report: &ObjectReport, written: &[api::Condition]) -> Option<Event> {
    let refused = report.problems.iter().find(|problem| problem.effect == Effect::Refused)?;
    let reason = refused.invalid.reason.as_str();
    let note = refused.invalid.to_string();
    // `Programmed` lists every problem.
    let known = |old: &api::Condition| old.kind == "Programmed" && old.status == "False" && old.message.contains(&note);
    if written.iter().any(known) {
        return None;
    }
    Some(Event {
        type_: EventType::Warning,
        reason: reason.to_owned(),
        note: Some(shorten(note, MAX_NOTE)),
        action: "Compile".to_owned(),
        secondary: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Invalid, Meta, Problem, SourceId};

    #[test]
    fn a_refusal_is_told_once() {
        let invalid = Invalid::spec("spec.hosts", "must hold at least one host");
        let mut report = ObjectReport {
            meta: Meta::default(),
            problems: vec![Problem { effect: Effect::Refused, invalid }],
            source: SourceId::Kubernetes,
        };
        let event = refusal(&report, &[]).unwrap();
        assert_eq!((event.reason.as_str(), event.note.unwrap().contains("spec.hosts")), ("InvalidSpec", true));
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        let written = super::super::conditions::conditions(&report, &[], &now);
        assert!(refusal(&report, &written).is_none());
        report.problems[0].effect = Effect::Stale;
        assert!(refusal(&report, &[]).is_none(), "a stale certificate still serves");
    }
}
