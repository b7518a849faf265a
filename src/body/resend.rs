//! Request bodies that can be sent again: an HTTP/2 upstream may say, after some of a body was sent, that it has not looked at it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::{Body, Upload, UploadState};

/// Bytes of a body that are kept. What is larger than that is not sent again.
const KEPT: usize = 16 << 10;

/// A request body, as long as its request is under way. Dropped, it ends the upload.
#[derive(Debug)]
pub struct Resend(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// How far it has come.
    upload: Option<Arc<Upload>>,
}

#[derive(Debug)]
struct State {
    /// Where the rest comes from; `None` where all of it is kept.
    body: Option<Incoming>,
    ended: bool,
    given_up: bool,
    /// What was given out so far, at most [`KEPT`] bytes; all of it where it was whole from the start.
    kept: BytesMut,
    size: usize,
    /// Who waits for a frame.
    task: Option<Waker>,
    trailers: Option<HeaderMap>,
    /// Counts how often the body was given out: only the last one may read.
    turn: usize,
    /// Who waits for the response: the deadline depends on whom the body waits for.
    watcher: Option<Waker>,
    /// Whether all is kept that was given out, and may be needed again.
    whole: bool,
}

/// A request body on its way to an HTTP/2 connection.
#[derive(Debug)]
pub struct Sending {
    body: Option<Arc<Shared>>,
    /// The place in what is kept, in bytes.
    at: usize,
    trailers_given: bool,
    turn: usize,
}

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
pub enum SendingError {
    /// The downstream broke it off.
    #[error(transparent)]
    Body(#[from] hyper::Error),
    /// Its request has ended, or goes on elsewhere.
    #[error("the request is given up")]
    GivenUp,
}

impl Resend {
    /// The body of a request.
    pub fn new(body: Body) -> Self {
        let (body, kept, upload) = match body {
            Body::Empty => return Self(None),
            Body::Full(bytes) => (None, BytesMut::from(bytes), None),
            Body::Incoming(body) => (Some(body), BytesMut::new(), None),
            Body::Upload(body, upload) => (Some(body), BytesMut::new(), Some(upload)),
        };
        let state = Mutex::new(State {
            ended: body.is_none(),
            body,
            given_up: false,
            kept,
            size: 0,
            task: None,
            trailers: None,
            turn: 0,
            watcher: None,
            whole: true,
        });
        Self(Some(Arc::new(Shared { state, upload })))
    }

    /// The body from its beginning; `None` where that was not kept. What was given out before breaks off.
    pub fn send(&self) -> Option<Sending> {
        let Some(shared) = &self.0 else {
            return Some(Sending { body: None, at: 0, trailers_given: false, turn: 0 });
        };
        let mut state = shared.lock();
        if !state.whole || state.given_up {
            return None;
        }
        state.turn += 1;
        if let Some(task) = state.task.take() {
            task.wake();
        }
        Some(Sending { body: Some(shared.clone()), at: 0, trailers_given: false, turn: state.turn })
    }

    /// Whether it can be sent again.
    pub fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|body| {
            let state = body.lock();
            state.whole && !state.given_up
        })
    }

    /// Wakes `task` when the body waits for somebody else than now.
    pub fn watch(&self, task: &Waker) {
        let Some(body) = &self.0 else { return };
        let mut state = body.lock();
        if !state.watcher.as_ref().is_some_and(|watcher| watcher.will_wake(task)) {
            state.watcher = Some(task.clone());
        }
    }

    /// The upstream has answered: the body is not sent again.
    pub fn settle(&self) {
        if let Some(body) = &self.0 {
            let mut state = body.lock();
            (state.watcher, state.whole) = (None, false);
            // The first time, what is kept of a body under way was given out before.
            if state.turn == 1 && state.body.is_some() {
                state.kept = BytesMut::new();
            }
        }
    }

    /// Whether nothing of it was given out.
    pub fn is_untouched(&self) -> bool {
        self.0.as_ref().is_none_or(|body| {
            let state = body.lock();
            state.body.is_some() && state.size == 0 && state.trailers.is_none()
        })
    }
}

impl Drop for Resend {
    fn drop(&mut self) {
        let Some(body) = &self.0 else { return };
        let (body, task) = {
            let mut state = body.lock();
            state.given_up = true;
            (state.body.take(), state.task.take())
        };
        drop(body);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next frame that was not given out before.
    fn poll(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SendingError>>> {
        let Some(body) = &mut state.body else { return Poll::Ready(Some(Err(SendingError::GivenUp))) };
        let progress = || self.upload.as_ref().map(|upload| upload.progress().1);
        let waited_for = progress();
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let noted = self.upload.as_ref().map(|upload| upload.note(&polled, body));
        let watcher = state.watcher.as_ref().filter(|_| noted != waited_for);
        if let Some(watcher) = watcher {
            watcher.wake_by_ref();
        }
        if noted == Some(UploadState::TooLarge) {
            // Whoever waits for the response ends the exchange, and the body with it.
            (state.given_up, state.whole) = (true, false);
            if state.watcher.is_some() {
                state.task = Some(cx.waker().clone());
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err(SendingError::GivenUp)));
        }
        match polled {
            Poll::Pending => {
                state.task = Some(cx.waker().clone());
                Poll::Pending
            }
            Poll::Ready(None) => {
                state.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                state.whole = false;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let frame = match &self.upload {
                    Some(upload) => upload.pass(frame),
                    None => frame,
                };
                state.keep(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl State {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if let Some(trailers) = frame.trailers_ref() {
            self.ended = true;
            self.trailers = Some(trailers.clone());
        }
        if let Some(data) = frame.data_ref() {
            self.size += data.len();
            self.whole &= self.size <= KEPT;
            if self.whole {
                self.kept.extend_from_slice(data); // copied: a small frame would hold on to the buffer that it was read into
            } else {
                self.kept = BytesMut::new(); // what was kept has been given out before
            }
        }
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = SendingError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SendingError>>> {
        let this = &mut *self;
        let Some(body) = &this.body else { return Poll::Ready(None) };
        let mut state = body.lock();
        if state.turn != this.turn || state.given_up {
            return Poll::Ready(Some(Err(SendingError::GivenUp)));
        }
        if let Some(data) = state.kept.get(this.at..).filter(|data| !data.is_empty()) {
            this.at += data.len();
            return Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(data)))));
        }
        if state.ended {
            let trailers = state.trailers.clone().filter(|_| !std::mem::replace(&mut this.trailers_given, true));
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let polled = body.poll(&mut state, cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.at += frame.data_ref().map_or(0, Bytes::len);
            this.trailers_given |= frame.is_trailers();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let Some(body) = &self.body else { return true };
        let state = body.lock();
        let replayed = self.at >= state.kept.len();
        let trailers = state.trailers.is_some() && !self.trailers_given;
        let ended = state.ended || state.body.as_ref().is_some_and(Incoming::is_end_stream);
        state.turn == self.turn && !state.given_up && replayed && !trailers && ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default() // the request's fields say it already
    }
}

#[cfg(test)]
mod tests;
