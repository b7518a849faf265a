//! The downstream's socket with the two deadlines that HTTP libraries leave to their users.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::alarm::Alarm;

/// A stream that fails when its first byte is late, and when the peer takes nothing of what is written for too long. The
/// second needs to be here: HTTP does not ask a response for more while it cannot write, so nothing above would notice.
#[derive(Debug)]
pub(super) struct Socket<S> {
    /// Until the first byte has come.
    first_byte: Option<Alarm>,
    send_timeout: Duration,
    /// While writes are blocked.
    stalled: Option<Alarm>,
    stream: S,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, first_byte_timeout: Duration, send_timeout: Duration) -> Self {
        let first_byte = Some(Alarm::new(Instant::now() + first_byte_timeout));
        Self { first_byte, send_timeout, stalled: None, stream }
    }

    fn written<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let timeout = self.send_timeout;
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
        if let Some(alarm) = &mut self.first_byte {
            if polled.is_pending() {
                return alarm.poll(cx).map(|()| Err(timed_out("the client sent nothing")));
            }
            self.first_byte = None;
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

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up() {
        let (_client, server) = duplex(64);
        let mut socket = Socket::new(server, SECOND, SECOND);
        let error = socket.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_spoken_may_pause() {
        let (mut client, server) = duplex(64);
        let mut socket = Socket::new(server, SECOND, SECOND);
        client.write_u8(1).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), 1);
        assert!(tokio::time::timeout(SECOND * 100, socket.read_u8()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (mut client, server) = duplex(64);
        let mut socket = Socket::new(server, SECOND, SECOND);
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
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
