//! The lease that decides which replica writes.
//!
//! No clock is compared with another machine's: a holder counts as gone when its lease has not changed for its duration as
//! seen from here, and stops believing in its own lease earlier than that. Two writers for a moment would still do no
//! harm, since both write the same.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// The lease's name.
pub const NAME: &str = "portcullis-leader";

/// How long a lease lasts without being renewed.
const DURATION: Duration = Duration::from_secs(15);

/// How long the holder itself believes in it: less, so that it has stopped before another one begins.
const BELIEF: Duration = Duration::from_secs(12);

/// How often the holder renews.
const RENEWAL: Duration = Duration::from_secs(5);

/// How often another replica looks, and how soon a failure is tried again.
const LOOK: Duration = Duration::from_secs(2);

/// Where the lease is and who wants it.
#[derive(Clone, Debug)]
pub struct Options {
    /// This replica: its pod's name.
    pub holder: String,
    /// The namespace of the lease.
    pub namespace: String,
}

/// Competes for the lease until `stop` completes, and tells `leader` whether this replica holds it. Gives it up at the end,
/// so that another replica takes over at once.
pub async fn run(client: Client, options: Options, leader: watch::Sender<bool>, stop: impl Future<Output = ()>) {
    let api = Api::namespaced(client, &options.namespace);
    let mut candidate = Candidate { api, holder: options.holder, held: None, seen: None };
    tokio::select! {
        () = candidate.compete(&leader) => {}
        () = stop => {}
    }
    tell(&leader, false);
    candidate.vacate().await;
}

fn tell(leader: &watch::Sender<bool>, now: bool) {
    let changed = leader.send_if_modified(|known| std::mem::replace(known, now) != now);
    if changed {
        tracing::info!(
            leader = now,
            lease = NAME,
            "{}",
            if now { "this replica writes status" } else { "this replica writes no status" }
        );
    }
}

struct Candidate {
    api: Api<Lease>,
    /// The lease as it was last written here, and until when it is believed in.
    held: Option<(Lease, Instant)>,
    holder: String,
    /// The version of another's lease, and since when it has not changed.
    seen: Option<(String, Instant)>,
}

impl Candidate {
    async fn compete(&mut self, leader: &watch::Sender<bool>) {
        let mut failing = false;
        loop {
            let begin = Instant::now();
            let until = self.held.as_ref().map_or(begin + RENEWAL, |(_, until)| *until);
            let outcome = timeout_at(until.min(begin + RENEWAL), self.attempt(begin)).await;
            let failed = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer".to_owned()),
            };
            if let Some(why) = &failed
                && !failing
            {
                tracing::warn!(lease = NAME, why, "the lease cannot be read or written");
            }
            failing = failed.is_some();
            if self.held.as_ref().is_some_and(|(_, until)| Instant::now() >= *until) {
                self.held = None;
            }
            tell(leader, self.held.is_some());
            sleep_until(match &self.held {
                Some((_, until)) => until.to_owned().min(begin + if failing { LOOK } else { RENEWAL }),
                None => begin + LOOK,
            })
            .await;
        }
    }

    /// Reads the lease and writes it where it is ours or free. Another one's write in between is no error.
    async fn attempt(&mut self, begin: Instant) -> Result<(), kube::Error> {
        let found = self.api.get_opt(NAME).await?;
        let (lease, mine) = match &found {
            None => (Some(Lease::default()), false),
            Some(lease) => {
                let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
                let mine = holder == self.holder;
                (if mine || holder.is_empty() || self.has_expired(lease, begin) { found.clone() } else { None }, mine)
            }
        };
        let Some(lease) = lease else {
            self.held = None;
            return Ok(());
        };
        let wanted = claim(lease, &self.holder, mine);
        let written = match &found {
            None => self.api.create(&PostParams::default(), &wanted).await,
            Some(_) => self.api.replace(NAME, &PostParams::default(), &wanted).await,
        };
        match written {
            Ok(lease) => {
                self.seen = None;
                self.held = Some((lease, begin + BELIEF));
                Ok(())
            }
            // Somebody was faster: the next look shows who.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.held = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether another's lease has stayed unchanged for its own duration since it was first seen so.
    fn has_expired(&mut self, lease: &Lease, now: Instant) -> bool {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let duration = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs);
        match &self.seen {
            Some((seen, since)) if *seen == version => now.duration_since(*since) > duration,
            _ => {
                self.seen = Some((version, now));
                false
            }
        }
    }

    /// Gives the lease back, if it is held.
    async fn vacate(&mut self) {
        let Some((mut lease, _)) = self.held.take() else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        // The version says that nobody took it meanwhile. If this fails, the lease runs out.
        let _ = timeout(LOOK, self.api.replace(NAME, &PostParams::default(), &lease)).await;
    }
}

/// The lease as its holder writes it. Everything of the old one that is not ours to say stays, its version above all.
fn claim(mut lease: Lease, holder: &str, renewed: bool) -> Lease {
    let now = MicroTime(Timestamp::now());
    let old = lease.spec.take().unwrap_or_default();
    let transitions = old.lease_transitions.unwrap_or(0).saturating_add(i32::from(!renewed));
    lease.metadata = ObjectMeta { name: Some(NAME.to_owned()), ..lease.metadata };
    lease.spec = Some(LeaseSpec {
        acquire_time: if renewed { old.acquire_time.clone() } else { Some(now.clone()) },
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        lease_transitions: Some(transitions),
        renew_time: Some(now),
        ..old
    });
    lease
}

#[cfg(test)]
mod tests;
