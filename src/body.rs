//! The one body type that travels both ways: streamed bodies pass through as they came, without a box or a copy.

mod resend;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

pub use resend::{Resend, Sending, SendingError};

/// A request or response body.
#[derive(Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// A short answer of our own, given out once.
    Full(Bytes),
    /// A body as hyper receives it.
    Incoming(Incoming),
    /// A request body whose progress is watched by whoever waits for the response.
    Upload(Incoming, Arc<Upload>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(_) => {
                let Self::Full(bytes) = std::mem::take(&mut *self) else { return Poll::Ready(None) };
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Incoming(body) => Pin::new(body).poll_frame(cx),
            Self::Upload(body, upload) => {
                // It may be polled again before the exchange is ended. What would come then looked like the rest of it.
                if upload.progress().1 == UploadState::TooLarge {
                    return Poll::Pending;
                }
                let polled = Pin::new(&mut *body).poll_frame(cx);
                if upload.note(&polled, body) == UploadState::TooLarge {
                    return Poll::Pending; // whoever waits for the response sees the state, and ends the exchange
                }
                polled.map_ok(|frame| upload.pass(frame))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Incoming(body) | Self::Upload(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(body) | Self::Upload(body, _) => body.size_hint(),
        }
    }
}

/// How far a request body has come. Written by the body, read by the exchange that it belongs to.
#[derive(Debug)]
pub struct Upload {
    /// Bytes that may still come.
    left: AtomicU64,
    frames: AtomicU32,
    state: AtomicU32,
    /// Removes what the downstream may not say from the body's trailers.
    strip: Strip,
    /// Names that the downstream may not use, beside those that `strip` knows.
    reserved: Arc<[Arc<str>]>,
}

/// Removes what a downstream may not say from trailers: names that it knows, and those of a list.
pub type Strip = fn(&mut HeaderMap, &[Arc<str>]);

/// Whom a request body waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// The upstream has not asked for more.
    Upstream,
    /// The downstream has not sent more.
    Downstream,
    /// Nobody: it has ended.
    Ended,
    /// Nobody: the downstream broke it off, or sent what is no body.
    Broken,
    /// Nobody: it has more bytes than it may.
    TooLarge,
}

impl Upload {
    /// A body of `most` bytes at most of which nothing was asked for yet, and what is removed from its trailers.
    pub fn new(most: u64, strip: Strip, reserved: Arc<[Arc<str>]>) -> Self {
        Self { left: most.into(), frames: AtomicU32::default(), state: AtomicU32::default(), strip, reserved }
    }

    /// The frame as the upstream may see it.
    fn pass(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_trailers() {
            Ok(mut trailers) => {
                (self.strip)(&mut trailers, &self.reserved);
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        }
    }

    fn note(&self, polled: &Poll<Option<Result<Frame<Bytes>, hyper::Error>>>, body: &Incoming) -> UploadState {
        let state = match polled {
            Poll::Ready(Some(Ok(frame))) if !self.takes(frame) => UploadState::TooLarge,
            Poll::Pending => UploadState::Downstream,
            Poll::Ready(Some(Ok(_))) if !http_body::Body::is_end_stream(body) => UploadState::Upstream,
            Poll::Ready(Some(Err(_))) => UploadState::Broken,
            Poll::Ready(_) => UploadState::Ended,
        };
        if polled.is_ready() {
            self.frames.fetch_add(1, Ordering::Relaxed);
        }
        self.state.store(state as u32, Ordering::Relaxed);
        state
    }

    /// Whether there is room for `frame`. Only the body itself takes room.
    fn takes(&self, frame: &Frame<Bytes>) -> bool {
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        let left = self.left.load(Ordering::Relaxed).checked_sub(length);
        self.left.store(left.unwrap_or(0), Ordering::Relaxed);
        left.is_some()
    }

    /// Frames taken so far, and whom the next one waits for.
    pub fn progress(&self) -> (u32, UploadState) {
        let state = match self.state.load(Ordering::Relaxed) {
            0 => UploadState::Upstream,
            1 => UploadState::Downstream,
            2 => UploadState::Ended,
            3 => UploadState::Broken,
            _ => UploadState::TooLarge,
        };
        (self.frames.load(Ordering::Relaxed), state)
    }
}
