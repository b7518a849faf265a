//! The first bytes of a plaintext connection: HTTP/2 begins with a preface of its own, where its client knows that it may (RFC 9113
//! section 3.3).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What HTTP/2 begins with (section 3.4). No request of HTTP/1 does.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes may have been looked at: they are read again.
#[derive(Debug)]
pub(super) struct Begun<S> {
    /// What was looked at: `seen` bytes, of which `read` were read again.
    begin: [u8; PREFACE.len()],
    read: u8,
    seen: u8,
    stream: S,
}

impl<S> Begun<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { begin: [0; PREFACE.len()], read: 0, seen: 0, stream }
    }

    fn seen(&self) -> &[u8] {
        &self.begin[..usize::from(self.seen)]
    }

    /// Whether anything has come.
    pub(super) fn has_begun(&self) -> bool {
        self.seen > 0
    }
}

impl<S: AsyncRead + Unpin> Begun<S> {
    /// Looks at as many bytes as tell whether HTTP/2 is spoken. What has come stays where this is not waited for to its end.
    pub(super) async fn is_http2(&mut self) -> io::Result<bool> {
        loop {
            let seen = self.seen();
            if seen == PREFACE || !PREFACE.starts_with(seen) {
                return Ok(seen == PREFACE);
            }
            let place = usize::from(self.seen);
            match self.stream.read(&mut self.begin[place..]).await? {
                0 => return Ok(false),
                length => self.seen += u8::try_from(length).unwrap_or_default(), // 24 at most
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let again = &self.seen()[usize::from(self.read)..];
        if again.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = again.len().min(buf.remaining());
        buf.put_slice(&again[..length]);
        self.read += u8::try_from(length).unwrap_or_default();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_was_looked_at_is_read_again_however_it_came() {
        let with_frame = [&PREFACE[..], &[0; 9]].concat();
        for (bytes, http2) in [
            (&with_frame[..], true),
            (PREFACE, true),
            (&PREFACE[..23], false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r and more than that", false),
            (b"POST / HTTP/1.1\r\nHost: a.test\r\n\r\n", false),
            (b"P", false),
            (b"", false),
        ] {
            for size in [1, 2, 24, 100] {
                let (mut client, server) = duplex(1);
                let sending = async {
                    for piece in bytes.chunks(size) {
                        client.write_all(piece).await.unwrap();
                    }
                    drop(client);
                };
                let reading = async {
                    let mut stream = Begun::new(server);
                    assert_eq!(stream.is_http2().await.unwrap(), http2, "{bytes:?}");
                    assert_eq!(stream.has_begun(), !bytes.is_empty());
                    let mut read = Vec::new();
                    stream.read_to_end(&mut read).await.unwrap();
                    assert_eq!(read, bytes);
                };
                tokio::join!(sending, reading);
            }
        }
    }
}
