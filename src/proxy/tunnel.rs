//! Bytes both ways between two connections that have left HTTP.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::alarm::Alarm;

/// A buffer's size at first, and after it was filled: most WebSockets are idle, and there may be ten thousand.
const SIZES: (usize, usize) = (1 << 10, 16 << 10);

/// Copies until both sides have ended, one has failed, or nothing has moved for `idle` (nginx closes WebSockets by its read
/// timeout too). What has moved until then is in `moved`.
pub(super) async fn run<D, U>(mut down: D, mut up: U, idle: Duration, moved: &mut Moved) -> io::Result<()>
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (mut upward, mut downward) = (Direction::default(), Direction::default());
    let mut alarm = Alarm::new(Instant::now() + idle);
    poll_fn(|cx| {
        let before = (upward.moved, downward.moved);
        let sent = upward.poll(cx, &mut down, &mut up)?;
        let received = downward.poll(cx, &mut up, &mut down)?;
        *moved = Moved { received: upward.moved, sent: downward.moved };
        if sent.is_ready() && received.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if before != (upward.moved, downward.moved) {
            alarm.set(Instant::now() + idle);
        }
        alarm.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

/// Bytes that have gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// From the downstream.
    pub(super) received: u64,
    /// To the downstream.
    pub(super) sent: u64,
}

/// One of the two directions.
#[derive(Default)]
struct Direction {
    buffer: Vec<u8>,
    /// What of the buffer was read and not yet written.
    pending: std::ops::Range<usize>,
    ended: bool,
    flushed: bool,
    moved: u64,
    shut: bool,
}

impl Direction {
    /// Moves what can be moved; ready when the source has ended and the sink was told.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> io::Result<Poll<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        match self.step(cx, from, to) {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn step<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.pending.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer[self.pending.clone()]))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.pending.start += written;
                self.moved += written as u64;
                self.flushed = false;
            }
            if self.ended {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.shut = true;
                    self.buffer = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            if self.pending.start == self.buffer.len() && self.buffer.len() < SIZES.1 {
                let larger = if self.buffer.is_empty() { SIZES.0 } else { SIZES.1 };
                self.buffer.resize(larger, 0);
            }
            let mut buffer = ReadBuf::new(&mut self.buffer);
            if let Poll::Ready(read) = Pin::new(&mut *from).poll_read(cx, &mut buffer) {
                read?;
                self.pending = 0..buffer.filled().len();
                self.ended = self.pending.is_empty();
            } else {
                if !self.flushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.flushed = true;
                }
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn both_directions_flow_and_end() {
        let (mut client, down) = duplex(100);
        let (mut server, up) = duplex(100);
        let tunnel = tokio::spawn(async move {
            let mut moved = Moved::default();
            run(down, up, Duration::from_secs(1), &mut moved).await.map(|()| moved)
        });
        let echo = tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(&mut server);
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            server.shutdown().await.unwrap();
        });
        let (mut read, mut write) = tokio::io::split(&mut client);
        let sent: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        let mut received = Vec::new();
        let ((), _) = tokio::join!(
            async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            },
            async { read.read_to_end(&mut received).await.unwrap() }
        );
        assert_eq!(received, sent);
        echo.await.unwrap();
        assert_eq!(tunnel.await.unwrap().unwrap(), Moved { received: 200_000, sent: 200_000 });
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_tunnel_is_closed() {
        let ((_client, down), (_server, up)) = (duplex(100), duplex(100));
        let error = run(down, up, Duration::from_secs(1), &mut Moved::default()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_stops_the_writer() {
        let (mut client, down) = duplex(100);
        let (_server, up) = duplex(100);
        let tunnel = tokio::spawn(async move { run(down, up, Duration::from_secs(100), &mut Moved::default()).await });
        let mut written = 0;
        while let Ok(now) = tokio::time::timeout(Duration::from_secs(10), client.write(&[0; 1000])).await {
            written += now.unwrap();
        }
        assert!(written <= 100 + SIZES.1 + 100, "{written}");
        assert_eq!(tunnel.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
