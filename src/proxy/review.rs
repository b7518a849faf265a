//! Looks at open connections again when what decided about them has changed: another configuration, or the time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use super::access_log::Escaped;
use super::downstream::{Downstream, Tls};
use super::live::{Due, Role};
use super::record;
use super::standing::{FOREVER, Lost, Standing};
use crate::snapshot::HostTls;

/// How often the earliest end of a standing is looked at. Certificates' times are whole seconds of the wall clock, which may
/// be set: a timer armed for next month would not notice.
const TICK: Duration = Duration::from_secs(1);

/// Reviews until the proxy is gone: what a publication concerns at once, and what has expired within a second.
pub(super) async fn run(shared: Weak<Shared>, mut published: watch::Receiver<()>) {
    published.mark_changed(); // what is served from the start is in force too
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let changed = tokio::select! {
            published = published.changed() => match published {
                Ok(()) => true,
                Err(_) => return,
            },
            _ = tick.tick() => false,
        };
        let Some(shared) = shared.upgrade() else { return };
        let ended = if changed { Vec::new() } else { shared.live.ended(UnixTime::now().as_secs()) };
        if !changed && ended.is_empty() {
            continue;
        }
        // Signatures are checked: not on the threads that serve traffic.
        let reviewed = tokio::task::spawn_blocking(move || {
            if changed {
                enforce(&shared);
            }
            for due in &ended {
                review(&shared, due);
            }
        });
        if let Err(error) = reviewed.await {
            tracing::error!("open connections could not be looked at: {error}");
        }
    }
}

/// Holds every open connection to the published snapshot.
fn enforce(shared: &Arc<Shared>) {
    let snapshot = shared.current.load_full();
    for due in shared.live.outdated(&snapshot) {
        review(shared, &due);
    }
    shared.metrics.enforced_generation.set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
}

/// Judges one connection anew, and closes it where its client was let in and is not any more.
pub(super) fn review(shared: &Arc<Shared>, due: &Due) {
    let verdict = loop {
        let snapshot = shared.current.load_full();
        let host = due.used.configured(&snapshot);
        let standing = of(host, due.used.role, &due.downstream);
        let is_current = || Arc::ptr_eq(&shared.current.load(), &snapshot);
        if let Some(verdict) = shared.live.settle(due, host, &standing, is_current) {
            break verdict;
        }
    };
    if let Err(lost) = verdict {
        close(shared, due, &lost);
    }
}

/// The standing with a host that may not be configured.
pub(super) fn of(host: Option<&Arc<HostTls>>, role: Role, downstream: &Downstream) -> Standing {
    match (host, role) {
        (Some(host), _) => downstream.standing(host),
        (None, Role::Handshake) => Err(Lost::Gone),
        (None, Role::Request) => Ok(FOREVER),
    }
}

fn close(shared: &Shared, due: &Due, lost: &Lost) {
    if !due.downstream.distrust() {
        return; // for another of its hosts
    }
    record::closed(shared, &due.downstream, &due.used.host, lost);
    let subject = due.downstream.tls.as_ref().and_then(Tls::subject).unwrap_or_default();
    tracing::warn!(
        "{lost}, closing the connection, client: {}, sni: \"{}\", host: \"{}\", subject: \"{}\"",
        due.downstream.peer,
        due.downstream.tls.as_ref().map_or("", |tls| tls.sni.as_str()),
        due.used.host.as_str(),
        Escaped(subject.as_bytes()),
    );
}
