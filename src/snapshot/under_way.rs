//! A request at an endpoint, as far as it decides about others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::endpoint::Endpoint;
use super::health::Target;
use crate::model::Sign;

/// What a failed attempt counts as where response times decide: an endpoint that refuses quickly is not a quick one.
const FAILED: Duration = Duration::from_secs(10);

/// A request that is under way at an endpoint, as long as this lives.
#[derive(Debug)]
pub struct UnderWay {
    endpoint: Arc<Endpoint>,
    /// When it was begun, until it is known what became of it.
    started: Option<Instant>,
    target: Option<Arc<Target>>,
}

impl UnderWay {
    /// A request to `endpoint`, begun at `now`. What becomes of it is news to `target`.
    pub(super) fn at(endpoint: Arc<Endpoint>, target: Option<Arc<Target>>, now: Instant) -> Self {
        endpoint.under_way.fetch_add(1, Ordering::Relaxed);
        Self { endpoint, started: Some(now), target }
    }

    /// The endpoint has answered, `now`. Said twice, or after a failure, it counts once.
    pub fn answered(&mut self, status: StatusCode, now: Instant) {
        let Some(started) = self.started.take() else { return };
        self.endpoint.latency.observe(now.saturating_duration_since(started), now);
        if let Some(target) = &self.target
            && let Some(sign) = target.passive().and_then(|criteria| criteria.judge(status.as_u16()))
        {
            target.served(sign);
        }
    }

    /// The endpoint has failed, `now`.
    pub fn failed(&mut self, sign: Sign, now: Instant) {
        if self.started.take().is_none() {
            return;
        }
        self.endpoint.latency.observe(FAILED, now);
        if let Some(target) = &self.target {
            target.served(sign);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.endpoint.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
