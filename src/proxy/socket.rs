//! The downstream's socket with the deadlines of its connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::downstream::Pace;
use crate::alarm::Alarm;

/// A stream that fails when
/// - its first byte is late,
/// - the head of the next request is late (HTTP/1; hyper has a timer for it, which it allocates and arms for every request),
/// - the peer takes nothing of what is written for too long. HTTP does not ask a response for more while it cannot write,
///   so nothing above would notice.
#[derive(Debug)]
pub(super) struct Socket<S> {
    limits: Limits,
    pace: Arc<Pace>,
    reading: Alarm,
    spoken: bool,
    /// While writes are blocked.
    stalled: Option<Alarm>,
    stream: S,
}

/// The deadlines of a [`Socket`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) first_byte: Duration,
    /// `None` where the protocol above has its own.
    pub(super) idle: Option<Duration>,
    pub(super) send: Duration,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, limits: Limits, pace: Arc<Pace>) -> Self {
        let reading = Alarm::new(Instant::now() + limits.first_byte);
        Self { limits, pace, reading, spoken: false, stalled: None, stream }
    }

    /// Ready with an error when the peer should have sent something by now.
    fn late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.spoken {
            ready!(self.reading.poll(cx));
            return Poll::Ready(timed_out("the client sent nothing"));
        }
        let Some(idle) = self.limits.idle else { return Poll::Pending };
        loop {
            ready!(self.reading.poll(cx));
            // Only now is it worth asking when the wait began.
            let now = Instant::now();
            let due = self.pace.idle_since().map_or(now, Instant::from_std) + idle;
            if due <= now {
                return Poll::Ready(timed_out("the client sent no further request"));
            }
            self.reading.set(due);
        }
    }

    fn written<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let timeout = self.limits.send;
        let stalled = self.stalled.get_or_insert_with(|| Alarm::new(Instant::now() + timeout));
        stalled.poll(cx).map(|()| Err(timed_out("the client takes nothing of the response")))
    }
}

fn timed_out(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_pending() {
            return self.late(cx).map(Err);
        }
        if !self.spoken {
            self.spoken = true;
            if let Some(idle) = self.limits.idle {
                self.reading.set(Instant::now() + idle);
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn socket<S>(stream: S) -> (Socket<S>, Arc<Pace>) {
        let pace = Arc::new(Pace::new());
        (Socket::new(stream, Limits { first_byte: SECOND, idle: Some(SECOND * 5), send: SECOND }, pace.clone()), pace)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up() {
        let (_client, server) = duplex(64);
        let error = socket(server).0.read_u8().await.unwrap_err();
        assert_eq!(error.to_string(), "the client sent nothing");
    }

    #[tokio::test]
    async fn a_client_may_pause_during_a_request_and_a_while_after_it() {
        let (mut client, server) = duplex(64);
        let (mut socket, pace) = socket(server);
        socket.limits.idle = Some(SECOND / 10);
        client.write_u8(1).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), 1);
        pace.begin();
        assert!(tokio::time::timeout(SECOND / 2, socket.read_u8()).await.is_err(), "a request is under way");
        let ended = std::time::Instant::now();
        pace.end(ended);
        let error = socket.read_u8().await.unwrap_err();
        assert_eq!(error.to_string(), "the client sent no further request");
        assert!(ended.elapsed() >= SECOND / 10 && ended.elapsed() < SECOND / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (mut client, server) = duplex(64);
        let (mut socket, _) = socket(server);
        let slow = tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(SECOND / 2).await;
                client.read_exact(&mut [0; 64]).await.unwrap();
            }
            client
        });
        socket.write_all(&[0; 64 * 4]).await.unwrap();
        let _client = slow.await.unwrap();
        let error = socket.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.to_string(), "the client takes nothing of the response");
    }
}
