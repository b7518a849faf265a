//! One watch with its retries: kube's watcher, paced, and begun anew where it fails for longer.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

/// The events of one watch. It never ends.
pub(super) type Watch<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

/// The waits between retries; the last one repeats.
const WAITS: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Failures that lie further apart are not one outage. Longer than a request may take to fail.
const QUIET: Duration = Duration::from_secs(300);

/// How long one watch request lasts. kube's watcher notices a dead connection five seconds later.
const SECONDS: u32 = 60;

/// Watches what `api` shows.
///
/// kube's watcher resumes where it was, but in silence: after an outage nothing would tell that it is over. So the first
/// interruption is not worth a word, and from the second in a row on, the watch begins anew with a list: each error that
/// comes out of here is followed by another one or by [`Event::InitDone`]. That also finds what was deleted meanwhile.
pub(super) fn watch<K>(api: Api<K>, config: watcher::Config) -> Watch<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    // Not streaming lists: with kube 4.2 those do not say when they begin.
    let config = config.page_size(500).timeout(SECONDS);
    begin_anew(move || watcher(api.clone(), config.clone()).boxed())
}

fn begin_anew<K: Send + 'static>(open: impl Fn() -> Watch<K> + Send + 'static) -> Watch<K> {
    let retries = Retries { events: open(), failed: None, failures: 0, open };
    stream::unfold(retries, |mut retries| async move { Some((retries.next().await?, retries)) }).boxed()
}

struct Retries<K, O> {
    events: Watch<K>,
    /// When the last failure was.
    failed: Option<Instant>,
    /// How many there were in a row.
    failures: usize,
    open: O,
}

impl<K, O: Fn() -> Watch<K>> Retries<K, O> {
    async fn next(&mut self) -> Option<Result<Event<K>, watcher::Error>> {
        loop {
            let error = match self.events.next().await? {
                Ok(event) => {
                    // `Init` comes before the first request, and so proves nothing.
                    if !matches!(event, Event::Init) {
                        self.failures = 0;
                    }
                    return Some(Ok(event));
                }
                Err(error) => error,
            };
            if self.failed.is_some_and(|last| last.elapsed() > QUIET) {
                self.failures = 0;
            }
            let listing = matches!(error, watcher::Error::InitialListFailed(_));
            let silent = self.failures == 0 && !listing;
            self.pause().await;
            if silent {
                tracing::debug!(%error, kind = std::any::type_name::<K>(), "watch interrupted");
                continue;
            }
            if !listing {
                self.events = (self.open)();
            }
            return Some(Err(error));
        }
    }

    async fn pause(&mut self) {
        sleep(WAITS[self.failures.min(WAITS.len() - 1)]).await;
        self.failures += 1;
        self.failed = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kube::core::Status;

    use super::*;

    type Item = Result<Event<u8>, watcher::Error>;

    fn failure() -> Item {
        Err(watcher::Error::WatchError(Status::failure("away", "x").boxed()))
    }

    /// What a watch shows whose streams hold `streams`, one after the other, and then nothing more; and how many were
    /// opened.
    async fn shown(streams: Vec<Vec<Item>>) -> (Vec<String>, usize) {
        let opened = Arc::new(AtomicUsize::new(0));
        let left = Arc::new(std::sync::Mutex::new(streams.into_iter()));
        let count = opened.clone();
        let watch = begin_anew(move || {
            count.fetch_add(1, Ordering::Relaxed);
            let events = left.lock().unwrap().next().unwrap_or_default();
            stream::iter(events).chain(stream::pending()).boxed()
        });
        let until = sleep(Duration::from_secs(3600));
        let shown = watch.take_until(until).map(|item| item.map_or("failed".into(), |event| format!("{event:?}")));
        (shown.collect().await, opened.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn one_interruption_is_not_told() {
        let (shown, opened) = shown(vec![vec![Ok(Event::InitDone), failure(), Ok(Event::Apply(1)), failure()]]).await;
        assert_eq!((shown, opened), (vec!["InitDone".into(), "Apply(1)".into()], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_ends_with_a_list() {
        let first = vec![Ok(Event::InitDone), failure(), failure()];
        let (shown, opened) = shown(vec![first, vec![Ok(Event::Init), failure()], vec![Ok(Event::InitDone)]]).await;
        assert_eq!(shown, ["InitDone", "failed", "Init", "failed", "InitDone"]);
        assert_eq!(opened, 3);
    }
}
