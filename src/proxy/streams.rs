//! Runs the streams of HTTP/2 connections, and ends those whose client takes nothing.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::Instant;

use crate::alarm::Alarm;

thread_local! {
    /// Whether the stream that is being polled on this thread waits for us or for the upstream.
    static WAITS_FOR_US: Cell<bool> = const { Cell::new(false) };
}

/// Notes that what is being polled waits for something of our own, which has its own deadline.
pub(super) fn waits_for_us<T>(polled: Poll<T>) -> Poll<T> {
    if polled.is_pending() {
        WAITS_FOR_US.set(true);
    }
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
        WAITS_FOR_US.set(false);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if WAITS_FOR_US.get() {
            stalled = None;
            return Poll::Pending;
        }
        match &mut stalled {
            // Polled again and still stalled: this is either the alarm, or the client has taken a piece.
            Some(alarm) => alarm.poll(cx),
            None => stalled.insert(Alarm::new(Instant::now() + send_timeout)).poll(cx),
        }
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
}
