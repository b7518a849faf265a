//! Runs the streams of HTTP/2 connections, and ends those whose client takes nothing.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::Instant;

use crate::alarm::Alarm;

/// What a stream was asked for while it was polled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Nothing: its client leaves no room for more.
    Nothing,
    /// Something that was there. The response's body is asked only when the client has made room, so this is progress.
    Given,
    /// Something that we or the upstream do not have yet.
    Waits,
}

thread_local! {
    /// Of the stream that is being polled on this thread.
    static ASKED: Cell<Asked> = const { Cell::new(Asked::Nothing) };
}

/// Notes that something of our own was asked for: while it is not there it has its own deadline.
pub(super) fn waits_for_us<T>(polled: Poll<T>) -> Poll<T> {
    ASKED.set(if polled.is_pending() { Asked::Waits } else { Asked::Given });
    polled
}

/// Spawns the futures of an HTTP/2 connection's streams.
///
/// A client that leaves a stream's window closed holds the response, and the upstream connection that it comes from, while it
/// keeps the connection alive with pings. Nothing of ours is polled meanwhile. So it is seen from the outside: a stream
/// that is pending, though neither the request nor the response's body was asked for more, waits for its client. After
/// `send_timeout` of that it is dropped, which resets it.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) send_timeout: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(run(stream, self.send_timeout));
    }
}

async fn run(stream: impl Future<Output = ()>, send_timeout: Duration) {
    let mut stream = pin!(stream);
    let mut stalled: Option<Alarm> = None;
    poll_fn(move |cx: &mut Context<'_>| {
        ASKED.set(Asked::Nothing);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let asked = ASKED.get();
        if asked == Asked::Waits {
            stalled = None;
            return Poll::Pending;
        }
        let due = || Instant::now() + send_timeout;
        let alarm = stalled.get_or_insert_with(|| Alarm::new(due()));
        // An upstream that is faster than the client never lets us wait: the deadline moves with what the client takes.
        if asked == Asked::Given {
            alarm.set(due());
        }
        alarm.poll(cx)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_for_its_client_is_dropped_and_one_that_waits_for_us_is_not() {
        let limit = Duration::from_secs(1);
        let start = Instant::now();
        run(std::future::pending(), limit).await;
        assert_eq!(start.elapsed(), limit);
        let ours = poll_fn(|_| waits_for_us(Poll::<()>::Pending));
        assert!(tokio::time::timeout(limit * 10, run(ours, limit)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_pieces_is_given_time_for_each() {
        let limit = Duration::from_secs(1);
        let start = Instant::now();
        // Every piece is there at once, and the client takes ten of them before it stops.
        let client = async {
            for _ in 0..10 {
                poll_fn(|_| waits_for_us(Poll::Ready(()))).await;
                tokio::time::sleep(limit * 9 / 10).await;
            }
            std::future::pending::<()>().await;
        };
        run(client, limit).await;
        assert_eq!(start.elapsed(), limit * 81 / 10 + limit);
    }
}
