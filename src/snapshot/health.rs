//! The health of endpoints. It is found out by upstream and not by route, and lives longer than a snapshot.

mod counts;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use tokio::sync::{Notify, Semaphore};

use self::counts::Counts;
use super::endpoint::{Endpoint, Transport};
use super::upstream_tls::ClientTls;
use crate::model::{Criteria, HealthCheck, Sign, Thresholds};

/// What makes two checks the same: they share what they find out, whatever the number of routes and snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckId {
    /// How endpoints are checked.
    pub check: Arc<HealthCheck>,
    /// The `Host` that the upstream is always sent, where it is.
    pub host: Option<HeaderValue>,
    /// How TLS is spoken in checks; `None` where it is not.
    pub tls: Option<Arc<ClientTls>>,
    /// The upstream as logs and metrics call it.
    pub upstream: Arc<str>,
}

/// The checks of one upstream.
#[derive(Debug)]
pub struct Checks {
    /// What they are.
    pub id: CheckId,
    /// One for every active check that may be under way.
    pub slots: Semaphore,
}

impl Checks {
    fn new(id: CheckId) -> Self {
        let slots = Semaphore::new(id.check.active.concurrency.clamp(1, Semaphore::MAX_PERMITS));
        Self { id, slots }
    }
}

/// The endpoints that one upstream's checks look after.
#[derive(Debug)]
pub struct Watched {
    /// How.
    pub checks: Arc<Checks>,
    /// Which.
    pub targets: HashMap<(SocketAddr, Transport), Arc<Target>>,
}

/// An endpoint whose health is looked after. It is healthy until found otherwise (APISIX).
#[derive(Debug)]
pub struct Target {
    /// How.
    pub checks: Arc<Checks>,
    /// Which.
    pub endpoint: Arc<Endpoint>,
    /// The `Host` that active checks send.
    pub host: HeaderValue,
    changed: Notify,
    /// Whether it is healthy and nothing speaks against it: then a success is no news, and takes no lock.
    clean: AtomicBool,
    counts: Mutex<Counts>,
    healthy: AtomicBool,
}

impl Watched {
    /// The checks `id` without endpoints. What `previous` has of them is gone on with.
    pub fn new(id: &CheckId, previous: Option<&Self>) -> Self {
        let checks = previous.map_or_else(|| Arc::new(Checks::new(id.clone())), |previous| previous.checks.clone());
        Self { checks, targets: HashMap::new() }
    }

    /// Looks after `endpoint`, which `host` stands for in requests. What `previous` knows of it is gone on with.
    pub fn watch(&mut self, endpoint: &Arc<Endpoint>, host: HeaderValue, previous: Option<&Self>) -> Arc<Target> {
        let key = (endpoint.address, endpoint.transport.clone());
        let known = previous.and_then(|previous| previous.targets.get(&key));
        let new = || Arc::new(Target::new(self.checks.clone(), endpoint.clone(), host));
        self.targets.entry(key).or_insert_with(|| known.map_or_else(new, Arc::clone)).clone()
    }
}

impl Target {
    fn new(checks: Arc<Checks>, endpoint: Arc<Endpoint>, host: HeaderValue) -> Self {
        let (clean, healthy) = (AtomicBool::new(true), AtomicBool::new(true));
        Self { checks, endpoint, host, changed: Notify::new(), clean, counts: Mutex::default(), healthy }
    }

    /// Whether requests are sent to it.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Waits until its health has changed since this was called last.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes what an active check found into account.
    pub fn checked(&self, sign: Sign) {
        self.count(sign, &self.checks.id.check.active.criteria.thresholds, "active");
    }

    /// The criteria for what becomes of requests, where that counts.
    pub(super) fn passive(&self) -> Option<&Criteria> {
        self.checks.id.check.passive.as_ref()
    }

    /// Takes what became of a request into account.
    pub(super) fn served(&self, sign: Sign) {
        if let Some(criteria) = self.passive() {
            self.count(sign, &criteria.thresholds, "passive");
        }
    }

    fn count(&self, sign: Sign, thresholds: &Thresholds, checked: &'static str) {
        if sign == Sign::Success && self.clean.load(Ordering::Relaxed) {
            return;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let change = counts.count(sign, thresholds);
        self.clean.store(counts.is_clean(), Ordering::Relaxed);
        let Some(healthy) = change else { return };
        self.healthy.store(healthy, Ordering::Relaxed);
        drop(counts);
        self.changed.notify_one();
        let (upstream, endpoint, threshold) = (&*self.checks.id.upstream, &*self.endpoint.text, thresholds.of(sign));
        let why = match sign {
            Sign::HttpFailure => "answers with the status of an unhealthy endpoint",
            Sign::Success => "successes",
            Sign::TcpFailure => "failed connections",
            Sign::Timeout => "timeouts",
        };
        if healthy {
            tracing::info!(upstream, endpoint, checked, "endpoint is healthy again after {threshold} {why} in a row");
        } else {
            tracing::warn!(upstream, endpoint, checked, "endpoint is unhealthy after {threshold} {why} in a row");
        }
    }
}
