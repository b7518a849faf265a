//! Request bodies that can be sent again: an HTTP/2 upstream may say, after some of a body was sent, that it has not looked at it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::{Body, Upload};

/// Bytes of a body that are kept. What is larger than that is not sent again.
const KEPT: usize = 16 << 10;

/// A request body, as long as its request is under way. Dropped, it ends the upload.
#[derive(Debug)]
pub struct Resend(Option<Arc<Mutex<State>>>);

#[derive(Debug)]
struct State {
    /// `None` once it is given up.
    body: Option<Incoming>,
    ended: bool,
    /// What was given out so far; `None` once that is too much, or not needed any more.
    kept: Option<Vec<Bytes>>,
    size: usize,
    /// Who waits for a frame.
    task: Option<Waker>,
    trailers: Option<HeaderMap>,
    /// Counts how often the body was given out: only the last one may read.
    turn: usize,
    upload: Arc<Upload>,
    /// Who waits for the response: the deadline depends on whom the body waits for.
    watcher: Option<Waker>,
}

/// A request body on its way to an HTTP/2 connection.
#[derive(Debug)]
pub struct Sending {
    state: Option<Arc<Mutex<State>>>,
    /// The place in what is kept.
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
        let Body::Upload(body, upload) = body else { return Self(None) };
        Self(Some(Arc::new(Mutex::new(State {
            body: Some(body),
            ended: false,
            kept: Some(Vec::new()),
            size: 0,
            task: None,
            trailers: None,
            turn: 0,
            upload,
            watcher: None,
        }))))
    }

    /// The body from its beginning; `None` where that was not kept. What was given out before breaks off.
    pub fn send(&self) -> Option<Sending> {
        let Some(shared) = &self.0 else {
            return Some(Sending { state: None, at: 0, trailers_given: false, turn: 0 });
        };
        let mut state = lock(shared);
        if state.kept.is_none() || state.body.is_none() {
            return None;
        }
        state.turn += 1;
        if let Some(task) = state.task.take() {
            task.wake();
        }
        Some(Sending { state: Some(shared.clone()), at: 0, trailers_given: false, turn: state.turn })
    }

    /// Wakes `task` when the body waits for somebody else than now.
    pub fn watch(&self, task: &Waker) {
        let Some(state) = &self.0 else { return };
        let mut state = lock(state);
        if !state.watcher.as_ref().is_some_and(|watcher| watcher.will_wake(task)) {
            state.watcher = Some(task.clone());
        }
    }

    /// The upstream has answered: the body is not sent again.
    pub fn settle(&self) {
        if let Some(state) = &self.0 {
            let mut state = lock(state);
            (state.kept, state.watcher) = (None, None);
        }
    }
}

impl Drop for Resend {
    fn drop(&mut self) {
        let Some(state) = &self.0 else { return };
        let (body, task) = {
            let mut state = lock(state);
            (state.body.take(), state.task.take())
        };
        drop(body);
        if let Some(task) = task {
            task.wake();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SendingError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Some(Err(SendingError::GivenUp))) };
        let waited_for = self.upload.progress().1;
        let polled = Pin::new(&mut *body).poll_frame(cx);
        self.upload.note(&polled, body);
        if let Some(watcher) = &self.watcher
            && self.upload.progress().1 != waited_for
        {
            watcher.wake_by_ref();
        }
        match polled {
            Poll::Pending => {
                self.task = Some(cx.waker().clone());
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.kept = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let frame = self.upload.pass(frame);
                self.keep(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if let Some(trailers) = frame.trailers_ref() {
            self.ended = true;
            self.trailers = Some(trailers.clone());
        }
        if let (Some(data), Some(kept)) = (frame.data_ref(), &mut self.kept) {
            self.size += data.len();
            kept.push(data.clone());
            if self.size > KEPT {
                self.kept = None;
            }
        }
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = SendingError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SendingError>>> {
        let this = &mut *self;
        let Some(shared) = &this.state else { return Poll::Ready(None) };
        let mut state = lock(shared);
        if state.turn != this.turn {
            return Poll::Ready(Some(Err(SendingError::GivenUp)));
        }
        if let Some(data) = state.kept.as_ref().and_then(|kept| kept.get(this.at)) {
            this.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        if state.ended {
            let trailers = state.trailers.clone().filter(|_| !std::mem::replace(&mut this.trailers_given, true));
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let polled = state.poll(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.at += usize::from(frame.is_data());
            this.trailers_given |= frame.is_trailers();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let Some(state) = &self.state else { return true };
        let state = lock(state);
        let replayed = state.kept.as_ref().is_none_or(|kept| self.at >= kept.len());
        let trailers = state.trailers.is_some() && !self.trailers_given;
        let ended = state.ended || state.body.as_ref().is_some_and(Incoming::is_end_stream);
        state.turn == self.turn && replayed && !trailers && ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default() // the request's fields say it already
    }
}
