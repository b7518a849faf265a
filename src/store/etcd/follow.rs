//! What etcd holds, followed: one list, then a watch from its revision on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::client::{Client, Failure, MAX_ANSWER, Repeat};
use super::message::{Header, Lines, Prefix, Range, WatchLine, Watched, bytes};
use crate::store::state::State;
use crate::store::{Event, Listing};

/// Keys that are asked for at a time.
const PAGE: u32 = 100;

/// How often etcd is asked whether it still answers: a watch is silent while nothing changes, and also when nothing comes any more.
const PROBE: Duration = Duration::from_secs(5);

/// How long the answer may take.
const PROBE_ANSWER: Duration = Duration::from_secs(10);

/// How long to wait before etcd is asked again, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How often a list begins anew because etcd compacted its revision meanwhile.
const LISTS: usize = 3;

/// How etcd is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Nothing was heard yet.
    Connecting,
    /// Changes are heard of as they happen.
    Connected,
    /// Not heard since the start: the copy in the data folder is served.
    Copy,
    /// Heard before and not now: what it told last is served.
    Lost,
}

/// What the follower and the store share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Told after each change.
    pub(super) changed: Notify,
    pub(super) connection: watch::Sender<Connection>,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn new() -> Self {
        let connection = watch::Sender::new(Connection::Connecting);
        Self { changed: Notify::new(), connection, state: Mutex::new(State::unknown()) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a copy, if etcd has not answered meanwhile.
    pub(super) fn begin_with_copy(&self, all: Listing) -> bool {
        let mut state = self.lock();
        let serve = state.is_unknown();
        if serve {
            state.replace(all);
            self.connection.send_replace(Connection::Copy);
        }
        serve
    }

    fn replace(&self, all: Listing) {
        self.lock().replace(all);
        self.changed.notify_one();
    }

    fn apply(&self, events: Vec<Event>, revision: u64) {
        self.lock().apply(events, revision);
        self.changed.notify_one();
    }
}

/// Lists everything that begins with `start`, at one revision.
///
/// # Errors
/// When etcd does not answer.
pub(super) async fn list(client: &Client, prefix: &Prefix, start: &str) -> Result<(Header, Listing), Failure> {
    let mut tries = 1;
    loop {
        match list_once(client, prefix, start).await {
            Err(Failure::Refused(refusal)) if tries < LISTS && refusal.message.contains("compacted") => tries += 1,
            listed => return listed,
        }
    }
}

async fn list_once(client: &Client, prefix: &Prefix, start: &str) -> Result<(Header, Listing), Failure> {
    let mut first: Option<Header> = None;
    let mut listing = Listing::default();
    let mut after = None;
    loop {
        let at = first.as_ref().map(|header| header.revision);
        let page = prefix.page(start, after.as_ref(), at, PAGE);
        let Range { header, mut kvs, more } = client.ask("/v3/kv/range", &page, Repeat::Safe).await?;
        listing.entries.extend(kvs.iter().filter_map(|found| prefix.entry(found)));
        let header = first.get_or_insert(header).clone();
        after = kvs.pop();
        if !more || after.is_none() {
            listing.revision = header.revision;
            return Ok((header, listing));
        }
    }
}

/// Follows etcd.
pub(super) struct Follower {
    pub(super) client: Arc<Client>,
    pub(super) prefix: Prefix,
    pub(super) shared: Arc<Shared>,
}

/// Up to where etcd was followed.
struct Position {
    cluster: String,
    revision: u64,
}

/// Why a watch ended.
enum Ended {
    /// What was missed cannot be had any more: everything has to be listed again.
    Behind(String),
    /// It can go on where it was.
    Lost(String),
}

impl Follower {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        let mut position = None;
        let mut pause = PAUSES.0;
        let mut said = None;
        loop {
            let why = match self.follow(&mut position).await {
                Ended::Behind(why) => {
                    tracing::info!(why, "everything in etcd is listed again");
                    position = None;
                    why
                }
                Ended::Lost(why) => why,
            };
            let was_connected = self.shared.connection.send_if_modified(|connection| {
                let connected = *connection == Connection::Connected;
                if connected {
                    *connection = Connection::Lost;
                }
                connected
            });
            if was_connected {
                (pause, said) = (PAUSES.0, None);
            }
            if said.as_ref() != Some(&why) {
                tracing::warn!(why, "etcd is not followed; what is known of it stays in force");
                said = Some(why);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Lists, where the position is not known, and watches as long as it goes.
    async fn follow(&self, position: &mut Option<Position>) -> Ended {
        let at = match position {
            Some(at) => at,
            None => match list(&self.client, &self.prefix, "").await {
                Ok((header, all)) => {
                    tracing::info!(keys = all.entries.len(), revision = header.revision, "etcd was listed");
                    self.shared.replace(all);
                    position.insert(Position { cluster: header.cluster_id, revision: header.revision })
                }
                Err(failure) => return Ended::Lost(failure.to_string()),
            },
        };
        let endpoint = self.client.working();
        let ended = match self.client.stream(endpoint, "/v3/watch", &self.prefix.watch(at.revision + 1)).await {
            Ok(body) => tokio::select! {
                ended = self.read(body, at) => ended,
                why = self.probe(endpoint) => Ended::Lost(why),
            },
            Err(failure) => {
                self.client.forget_token();
                Ended::Lost(failure.to_string())
            }
        };
        self.client.avoid(endpoint);
        ended
    }

    /// Reads a watch until it ends.
    async fn read(&self, mut body: Incoming, at: &mut Position) -> Ended {
        let mut lines = Lines::default();
        let mut created = false;
        loop {
            while let Some(line) = lines.next() {
                if line.is_empty() {
                    continue;
                }
                let line: WatchLine = match serde_json::from_slice(&line) {
                    Ok(line) => line,
                    Err(error) => return Ended::Behind(format!("a line of the watch is none of etcd's: {error}")),
                };
                if let Some(refusal) = line.error {
                    return Ended::Lost(refusal.message);
                }
                if let Err(ended) = self.hear(&line.result, at) {
                    return ended;
                }
                created = true;
            }
            if lines.waiting() > MAX_ANSWER {
                return Ended::Behind("a line of the watch is too long".to_owned());
            }
            let next = if created {
                body.frame().await
            } else {
                match timeout(self.client.timeout(), body.frame()).await {
                    Ok(next) => next,
                    Err(_) => return Ended::Lost("the watch does not begin".to_owned()),
                }
            };
            match next {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        lines.push(data);
                    }
                }
                Some(Err(error)) => return Ended::Lost(error.to_string()),
                None => return Ended::Lost("etcd has ended the watch".to_owned()),
            }
        }
    }

    /// Takes what a watch told.
    fn hear(&self, told: &Watched, at: &mut Position) -> Result<(), Ended> {
        if told.compact_revision > 0 {
            return Err(Ended::Behind(format!(
                "etcd has compacted its history up to revision {}",
                told.compact_revision
            )));
        }
        if told.canceled {
            self.client.forget_token();
            return Err(Ended::Lost(format!("etcd has cancelled the watch: {}", told.cancel_reason)));
        }
        if told.header.cluster_id != at.cluster || told.header.revision < at.revision {
            return Err(Ended::Behind("etcd is another one, or was set back".to_owned()));
        }
        if self.shared.connection.send_replace(Connection::Connected) != Connection::Connected {
            tracing::info!(revision = at.revision, "etcd is followed");
        }
        if let Some(last) = told.events.iter().map(|event| event.kv.mod_revision).max() {
            // Not the header's: events up to that may be still to come.
            at.revision = at.revision.max(last);
            let events = told.events.iter().filter_map(|event| self.prefix.event(event)).collect();
            self.shared.apply(events, at.revision);
        } else if !told.created {
            at.revision = told.header.revision; // etcd says so from time to time: there was nothing for us up to here
        }
        Ok(())
    }

    /// Asks the endpoint of the watch again and again. Returns why it does not answer.
    async fn probe(&self, endpoint: usize) -> String {
        let body = Bytes::from(bytes(&self.prefix.probe()));
        loop {
            sleep(PROBE).await;
            let limit = PROBE_ANSWER.min(self.client.timeout());
            let asked = self.client.ask_one::<Range>(endpoint, "/v3/kv/range", &body, Repeat::Safe);
            match timeout(limit, asked).await {
                Ok(Ok(_)) => {}
                Ok(Err(failure)) => return failure.to_string(),
                Err(_) => return format!("{}: no answer within {limit:?}", self.client.endpoint(endpoint)),
            }
        }
    }
}
