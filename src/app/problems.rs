//! Problems of objects in the log: each once when it appears and once when it is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::compile::Report;
use crate::model::{Effect, ObjectRef, Problem};
use crate::source::manifests::Manifests;

/// Logs the problems of every report until the control loop ends. Objects of `manifests` are named with file and line.
pub(super) async fn log(mut reports: watch::Receiver<Arc<Report>>, manifests: Option<Manifests>) {
    let mut known: BTreeMap<ObjectRef, Vec<Problem>> = BTreeMap::new();
    while reports.changed().await.is_ok() {
        let report = reports.borrow_and_update().clone();
        for (object, entry) in &report.objects {
            let before = known.get(object).map_or(&[][..], Vec::as_slice);
            for problem in entry.problems.iter().filter(|problem| !before.contains(problem)) {
                tell(object, problem, manifests.as_ref());
            }
            if entry.problems.is_empty() && !before.is_empty() {
                tracing::info!("{object}: all problems are solved");
            }
        }
        known = report
            .objects
            .iter()
            .filter(|(_, entry)| !entry.problems.is_empty())
            .map(|(object, entry)| (object.clone(), entry.problems.clone()))
            .collect();
    }
}

fn tell(object: &ObjectRef, problem: &Problem, manifests: Option<&Manifests>) {
    let place = manifests
        .and_then(|manifests| manifests.locate(object, &problem.invalid))
        .map(|(path, line)| format!("{}:{line}: ", path.display()))
        .unwrap_or_default();
    let Problem { effect, invalid } = problem;
    match effect {
        Effect::Refused => tracing::error!(reason = invalid.reason.as_str(), "{place}{object} is refused: {invalid}"),
        Effect::RuleRefused => {
            tracing::error!(reason = invalid.reason.as_str(), "{place}a rule of {object} is refused: {invalid}");
        }
        Effect::Stale | Effect::Unresolved | Effect::Warning => {
            tracing::warn!(reason = invalid.reason.as_str(), "{place}{object}: {invalid}");
        }
    }
}
