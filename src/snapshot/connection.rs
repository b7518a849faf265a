//! A connection to an upstream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Waker};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::body::Body;

/// Bytes of an upstream's response head, and of body that is read ahead of the downstream.
const MAX_BUFFER: usize = 64 << 10;

/// An HTTP/1.1 connection to an upstream. It has no task of its own: whoever waits for its response, and later the body of
/// that response, drives it. That saves two switches between tasks, and often between threads, per request.
pub struct Connection {
    /// For the one exchange that uses the connection; kept, so that its timer is armed once per timeout and not per request.
    pub alarm: Alarm,
    io: Option<http1::Connection<TokioIo<TcpStream>, Body>>,
    sender: http1::SendRequest<Body>,
}

/// The answer to a request, or the error with the request where it was not sent.
pub type Answer = Result<Response<Incoming>, TrySendError<Request<Body>>>;

impl Connection {
    /// Speaks HTTP/1.1 on `stream`.
    pub async fn new(stream: TcpStream) -> hyper::Result<Self> {
        let (sender, io) = http1::Builder::new().max_buf_size(MAX_BUFFER).handshake(TokioIo::new(stream)).await?;
        Ok(Self { alarm: Alarm::new(Instant::now()), io: Some(io), sender })
    }

    /// Sends a request. The future is ready only if [`Connection::drive`] is called as well.
    pub fn send(&mut self, request: Request<Body>) -> impl Future<Output = Answer> + use<> {
        self.sender.try_send_request(request)
    }

    /// Reads and writes what is possible now, and arranges for `cx` to be woken when more is.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(io) = &mut self.io
            && Pin::new(io).poll(cx).is_ready()
        {
            self.io = None; // closed; an error was given to whoever waits for the response or its body
        }
    }

    /// Whether the connection is open and has nothing under way. Notices that the upstream closed it.
    pub fn is_idle(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.io.is_some() && self.sender.is_ready()
    }

    /// Lets a task of its own drive the connection, so that it can be upgraded.
    pub fn detach(self) -> http1::SendRequest<Body> {
        if let Some(io) = self.io {
            tokio::spawn(io.with_upgrades());
        }
        self.sender
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("open", &self.io.is_some()).finish_non_exhaustive()
    }
}
