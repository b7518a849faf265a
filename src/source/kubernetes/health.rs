//! Whether a watch works: shown in [`Readiness`], and logged once when it changes.

use std::error::Error;

use kube::runtime::watcher;

use crate::readiness::Readiness;

/// The health of one watch.
#[derive(Debug)]
pub(super) struct Health<'a> {
    /// How often in a row the kind was said not to be served.
    absent: usize,
    failing: bool,
    part: String,
    readiness: &'a Readiness,
}

impl<'a> Health<'a> {
    pub(super) fn new(part: String, readiness: &'a Readiness) -> Self {
        readiness.report(&part, Err("not listed yet".to_owned()));
        Self { absent: 0, failing: false, part, readiness }
    }

    /// Whether the last thing that happened was a failure.
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    /// A list is complete.
    pub(super) fn works(&mut self) {
        self.absent = 0;
        self.readiness.report(&self.part, Ok(()));
        if std::mem::take(&mut self.failing) {
            tracing::info!(watch = self.part, "the watch works again");
        }
    }

    /// The watch failed; says how often in a row it was because the kind is not served at all.
    pub(super) fn fails(&mut self, error: &watcher::Error) -> usize {
        let absent = matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404);
        self.absent = if absent { self.absent + 1 } else { 0 };
        self.failing = true;
        let reason = if absent {
            "the API server does not serve this kind; are our CustomResourceDefinitions installed?".to_owned()
        } else {
            explain(error)
        };
        if self.readiness.report(&self.part, Err(reason.clone())) {
            tracing::warn!(watch = self.part, reason, "the watch does not work; the last state stays");
        }
        self.absent
    }
}

/// What an error of the watch says, with its causes. The API server's own message where there is one.
fn explain(error: &watcher::Error) -> String {
    match error {
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchFailed(error)
        | watcher::Error::WatchStartFailed(error) => explain_request(error),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// What an error of a request says, with its causes.
pub(super) fn explain_request(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let own = error.to_string();
        // Some of the layers print their cause themselves.
        if !text.contains(&own) {
            text = format!("{text}: {own}");
        }
        cause = error.source();
    }
    text
}
