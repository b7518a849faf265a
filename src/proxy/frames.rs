//! Counts the HTTP/2 frames of a client that ask for work and bring nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of the preface (RFC 9113 section 3.4), which come before the first frame.
const PREFACE: u32 = 24;

/// Bytes of a frame's header (section 4.1).
const HEADER: u8 = 9;

/// What a client may have spent at once. A `PING` costs 1, a reset 20: 500 resets, as in Envoy
/// (`overload.premature_reset_total_stream_count`).
const MOST: u32 = 10_000;

/// What it gets back per second: 2,000 pings, or 100 resets.
const PER_SECOND: u64 = 2_000;

/// What a frame costs. Those that carry requests are limited as such, and floods of `CONTINUATION` and small `DATA` by h2.
fn cost(kind: u8, length: u32) -> u32 {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const CONTINUATION: u8 = 9;
    match kind {
        DATA if length == 0 => 1,
        DATA | HEADERS | CONTINUATION => 0,
        // The request may have been sent to an upstream, whose connection is lost with it (CVE-2023-44487).
        RST_STREAM => 20,
        _ => 1, // PING, SETTINGS, PRIORITY, WINDOW_UPDATE and unknown ones
    }
}

/// What a connection's frames have cost.
#[derive(Debug)]
struct Account {
    /// What was read of a frame's header: its length, and its type.
    header: [u8; 4],
    /// How many bytes of the header were read, those that follow included.
    read: u8,
    /// Since when nothing was given back.
    since: Instant,
    /// Bytes to come before the next header.
    skip: u32,
    spent: u32,
    /// Bytes written since then. A client that takes much must say so often (`WINDOW_UPDATE`).
    written: u64,
}

impl Account {
    fn new(now: Instant) -> Self {
        Self { header: [0; 4], read: 0, since: now, skip: PREFACE, spent: 0, written: 0 }
    }

    /// Adds the frames that begin in `bytes`, which follow those of the last call.
    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = bytes.len().min(self.skip as usize);
                self.skip -= u32::try_from(skipped).unwrap_or(self.skip);
                bytes = &bytes[skipped..];
                continue;
            }
            if let Some(place) = self.header.get_mut(usize::from(self.read)) {
                *place = bytes[0];
            }
            self.read += 1;
            bytes = &bytes[1..];
            if self.read == HEADER {
                self.read = 0;
                let [a, b, c, kind] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]);
                self.spent = self.spent.saturating_add(cost(kind, self.skip));
            }
        }
    }

    /// Whether too much is spent. Looks at the clock only where it seems so.
    fn is_overdrawn(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.spent <= MOST {
            return false;
        }
        let now = now();
        let millis = u64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX);
        let earned = millis.saturating_mul(PER_SECOND) / 1000 + self.written / 1024;
        self.spent = self.spent.saturating_sub(u32::try_from(earned).unwrap_or(u32::MAX));
        (self.since, self.written) = (now, 0);
        self.spent > MOST
    }
}

/// The stream of an HTTP/2 connection, which fails when its client sends too many frames for nothing.
#[derive(Debug)]
pub(super) struct Frames<S> {
    account: Account,
    /// Counts the connections that fail so.
    floods: Counter,
    stream: S,
}

impl<S> Frames<S> {
    pub(super) fn new(stream: S, floods: Counter) -> Self {
        Self { account: Account::new(Instant::now()), floods, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.account.add(&buf.filled()[before..]);
        if this.account.is_overdrawn(Instant::now) {
            this.floods.inc();
            return Poll::Ready(Err(io::Error::other("the client sends too many HTTP/2 frames for nothing")));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    fn written(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(length)) = &polled {
            self.account.written += *length as u64;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        [vec![0, 0, length, kind, 0, 0, 0, 0, 1], vec![kind; length.into()]].concat()
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        // DATA, an empty one, HEADERS, RST_STREAM, PING, one of an unknown kind.
        let frames = [frame(0, 200), frame(0, 0), frame(1, 50), frame(3, 4), frame(6, 8), frame(99, 0)].concat();
        let bytes = [vec![b'P'; PREFACE as usize], frames].concat();
        for size in [1, 2, 8, 9, 10, 25, bytes.len()] {
            let mut account = Account::new(Instant::now());
            for part in bytes.chunks(size) {
                account.add(part);
            }
            assert_eq!((account.spent, account.read, account.skip), (23, 0, 0), "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_spent_comes_back_with_time_and_with_what_the_client_takes() {
        let start = Instant::now();
        let mut account = Account { skip: 0, ..Account::new(start) };
        let pings = |account: &mut Account, count| (0..count).for_each(|_| account.add(&frame(6, 8)));
        pings(&mut account, MOST);
        assert!(!account.is_overdrawn(|| start));
        pings(&mut account, 1);
        assert!(account.is_overdrawn(|| start));
        assert!(!account.is_overdrawn(|| start + Duration::from_secs(1)));
        pings(&mut account, 2_000);
        assert!(account.is_overdrawn(|| start + Duration::from_secs(1)));
        account.written = 1 << 20;
        assert!(!account.is_overdrawn(|| start + Duration::from_secs(1)));
        assert_eq!(account.spent, MOST + 1 - 1024);
    }
}
