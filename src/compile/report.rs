//! What we owe the user about each object, made by the same compilation as the snapshot.

use std::collections::BTreeMap;

use crate::model::{Effect, Kind, Meta, ObjectRef, Problem, SourceId};

/// What became of every object that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By object. Objects of another controller's class are not in it.
    pub objects: BTreeMap<ObjectRef, ObjectReport>,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectReport {
    /// Age and generation of the object that was compiled.
    pub meta: Meta,
    /// What is wrong, most important first; empty where all is well.
    pub problems: Vec<Problem>,
    /// Where the object came from: only Kubernetes has a status to write.
    pub source: SourceId,
}

impl Report {
    /// Has the problems of resources of the Admin API name their fields as these do.
    pub(super) fn name_fields_of_resources(&mut self) {
        let resources = self.objects.iter_mut().filter(|(_, report)| report.source == SourceId::Store);
        for (object, report) in resources {
            let is_inside = object.kind == Kind::ApisixUpstream && !object.key.name.starts_with("upstreams/");
            let within = if is_inside { "upstream." } else { "" };
            for problem in &mut report.problems {
                problem.invalid = problem.invalid.clone().of_resource(within);
            }
        }
    }
}

/// A condition as Kubernetes objects carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The condition's type.
    pub kind: &'static str,
    /// For people.
    pub message: String,
    /// CamelCase, for machines.
    pub reason: &'static str,
    /// Whether it holds.
    pub status: bool,
}

impl ObjectReport {
    /// The conditions of the object, in this order:
    /// - `Accepted`: false when the object or part of it is refused (APISIX's type; reason `Accepted` or the cause);
    /// - `ResolvedRefs`: false when a Secret, Service or port is missing or unusable;
    /// - `Programmed`: true when the running proxy serves the object as written. Its message then holds what needs attention
    ///   soon, and its reason is that of the first such warning.
    pub fn conditions(&self) -> [Condition; 3] {
        use crate::model::Reason::{Conflict, InvalidSpec, Unsupported};
        let is_spec = |p: &Problem| matches!(p.invalid.reason, Conflict | InvalidSpec | Unsupported);
        let of = |wanted: &dyn Fn(&Problem) -> bool| self.problems.iter().filter(|p| wanted(p)).collect::<Vec<_>>();
        let own = of(&|p| is_spec(p) && matches!(p.effect, Effect::Refused | Effect::RuleRefused));
        let reference = of(&|p| p.effect != Effect::Warning && (!is_spec(p) || p.effect == Effect::Unresolved));
        [
            Self::condition("Accepted", "Accepted", "the object is valid", &own),
            Self::condition("ResolvedRefs", "ResolvedRefs", "every reference is resolved", &reference),
            Self::condition("Programmed", "Programmed", "the proxy serves this object", &of(&|_| true)),
        ]
    }

    /// Warnings alone do not make a condition false.
    fn condition(kind: &'static str, good: &'static str, message: &str, problems: &[&Problem]) -> Condition {
        match problems.first() {
            None => Condition { kind, message: message.to_owned(), reason: good, status: true },
            Some(first) => Condition {
                kind,
                message: problems.iter().map(|p| p.invalid.to_string()).collect::<Vec<_>>().join("; "),
                reason: first.invalid.reason.as_str(),
                status: problems.iter().all(|p| p.effect == Effect::Warning),
            },
        }
    }
}
