//! A connection to an upstream.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::alarm::Alarm;
use crate::body::Body;

/// Bytes of an upstream's response head, and of body that is read ahead of the downstream.
const MAX_BUFFER: usize = 64 << 10;

/// An HTTP/1.1 connection to an upstream. It has no task of its own: whoever waits for its response, and later the body of
/// that response, drives it. That saves two switches between tasks, and often between threads, per request.
pub struct Connection {
    /// For the one exchange that uses the connection; kept, so that its timer is armed once per timeout and not per request.
    pub alarm: Alarm,
    io: Io,
    /// The name that its handshake was for, as [`Secure::name`](super::Secure::name) gives it; empty without TLS.
    pub name: Box<str>,
    requests: u64,
    sender: http1::SendRequest<Body>,
    signal: Arc<Signal>,
    /// `signal`, as hyper wants it.
    waker: Waker,
}

/// What is read and written.
#[expect(clippy::large_enum_variant, reason = "the large one is what most connections have")]
enum Io {
    Closed,
    Plain(http1::Connection<TokioIo<TcpStream>, Body>),
    /// Boxed, because most connections have none.
    Secure(Box<http1::Connection<TokioIo<TlsStream<TcpStream>>, Body>>),
}

/// What hyper wakes in place of the task that drives the connection. Hyper's halves are made for different tasks and wake
/// each other; here both are polled by one task in turn, and would have it polled once more after each response for nothing.
#[derive(Default)]
struct Signal {
    /// Whether there may be something to do that [`Connection::drive`] has not seen.
    stirred: AtomicBool,
    task: AtomicWaker,
}

thread_local! {
    /// Whether this thread takes what hyper has for a task. What it wakes meanwhile is hyper's other half, which the task drives
    /// before it waits.
    static TAKING: Cell<bool> = const { Cell::new(false) };
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !TAKING.get() {
            self.stirred.store(true, Ordering::Release);
            self.task.wake();
        }
    }
}

/// While it lives, [`TAKING`] is set: also where a panic ends it.
struct Taking;

impl Taking {
    fn begin() -> Self {
        TAKING.set(true);
        Self
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        TAKING.set(false);
    }
}

/// The answer to a request, or the error with the request where it was not sent.
pub type Answer = Result<Response<Incoming>, TrySendError<Request<Body>>>;

impl Connection {
    /// Speaks HTTP/1.1 on `stream`.
    pub async fn new(stream: TcpStream) -> hyper::Result<Self> {
        let (sender, io) = http1::Builder::new().max_buf_size(MAX_BUFFER).handshake(TokioIo::new(stream)).await?;
        Ok(Self::of(sender, Io::Plain(io), Box::default()))
    }

    /// Speaks HTTP/1.1 on `stream`, whose handshake was for `name`.
    pub async fn secure(stream: TlsStream<TcpStream>, name: &str) -> hyper::Result<Self> {
        let (sender, io) = http1::Builder::new().max_buf_size(MAX_BUFFER).handshake(TokioIo::new(stream)).await?;
        Ok(Self::of(sender, Io::Secure(Box::new(io)), name.into()))
    }

    fn of(sender: http1::SendRequest<Body>, io: Io, name: Box<str>) -> Self {
        let signal = Arc::new(Signal::default());
        let waker = signal.clone().into();
        Self { alarm: Alarm::new(Instant::now()), io, name, requests: 0, sender, signal, waker }
    }

    /// Sends a request. The answer is to be had from [`Connection::poll_answer`].
    pub fn send(&mut self, request: Request<Body>) -> impl Future<Output = Answer> + use<> {
        self.requests += 1;
        // Without a budget, because a budget that is used up would have to wake the task.
        unconstrained(self.sender.try_send_request(request))
    }

    /// How many requests were sent.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// The answer to what was sent.
    pub fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        answer: Pin<&mut impl Future<Output = Answer>>,
    ) -> Poll<Answer> {
        self.drive(cx);
        answer.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Reads and writes what is possible now, and arranges for `cx` to be woken when more is.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if matches!(self.io, Io::Closed) {
            return;
        }
        self.signal.task.register(cx.waker());
        self.signal.stirred.store(false, Ordering::Relaxed);
        let mut cx = Context::from_waker(&self.waker);
        let closed = match &mut self.io {
            Io::Closed => false,
            Io::Plain(io) => Pin::new(io).poll(&mut cx).is_ready(),
            Io::Secure(io) => Pin::new(&mut **io).poll(&mut cx).is_ready(),
        };
        if closed {
            self.io = Io::Closed; // an error was given to whoever waits for the response or its body
        }
    }

    /// The next piece of a response's `body`. Drives the connection if there is none yet.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Self::take(body);
        if polled.is_ready() {
            return polled;
        }
        self.drive(cx);
        Self::take(body)
    }

    fn take(body: &mut Body) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let _taking = Taking::begin();
        Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    /// Whether the connection is open and has nothing under way. Notices that the upstream closed it.
    pub fn is_idle(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.is_open() && self.sender.is_ready()
    }

    /// [`Connection::is_idle`] of a connection whose response's body has just been taken to its end: mostly hyper knew that end
    /// when it was driven last.
    pub fn has_come_to_rest(&mut self) -> bool {
        if self.signal.stirred.load(Ordering::Acquire) || !self.is_open() || !self.sender.is_ready() {
            return self.is_idle();
        }
        self.signal.task.register(Waker::noop()); // the task has no more to do with it
        true
    }

    fn is_open(&self) -> bool {
        !matches!(self.io, Io::Closed)
    }

    /// [`Connection::is_idle`] of a connection that was idle, without looking where nothing has stirred since.
    pub fn is_still_idle(&mut self) -> bool {
        !self.signal.stirred.load(Ordering::Acquire) || self.is_idle()
    }

    /// Lets a task of its own drive the connection, so that it can be upgraded.
    pub fn detach(self) -> http1::SendRequest<Body> {
        match self.io {
            Io::Closed => {}
            Io::Plain(io) => drop(tokio::spawn(io.with_upgrades())),
            Io::Secure(io) => drop(tokio::spawn(io.with_upgrades())),
        }
        self.sender
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("open", &self.is_open()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn connection() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Connection::new(stream).await.unwrap(), listener.accept().await.unwrap().0)
    }

    /// Waits until `done`, letting sockets be looked at.
    async fn until(mut done: impl FnMut() -> bool) {
        let wait = async {
            while !done() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap();
    }

    #[tokio::test]
    async fn only_the_socket_wakes() {
        let (mut connection, mut upstream) = connection().await;
        let count = Arc::new(Count::default());
        let waker = count.clone().into();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..3 {
            let request = Request::get("/").header("host", "a.test").body(Body::Empty).unwrap();
            let mut answer = pin!(connection.send(request));
            assert!(connection.poll_answer(&mut cx, answer.as_mut()).is_pending());
            let woken = count.0.load(Ordering::SeqCst);
            upstream.read_exact(&mut [0; "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n".len()]).await.unwrap();
            upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
            until(|| count.0.load(Ordering::SeqCst) > woken).await;
            let woken = count.0.load(Ordering::SeqCst);
            let Poll::Ready(Ok(response)) = connection.poll_answer(&mut cx, answer) else { panic!("no answer") };
            let mut body = Body::Incoming(response.into_body());
            let Poll::Ready(Some(Ok(frame))) = connection.poll_body(&mut cx, &mut body) else { panic!("no body") };
            assert_eq!(frame.into_data().unwrap(), "hi");
            assert!(connection.has_come_to_rest());
            drop(body);
            assert!(connection.is_still_idle());
            assert_eq!(count.0.load(Ordering::SeqCst), woken);
        }
        let woken = count.0.load(Ordering::SeqCst);
        drop(upstream);
        until(|| !connection.is_still_idle()).await;
        assert_eq!(count.0.load(Ordering::SeqCst), woken, "the task has gone on to other things");
    }

    #[tokio::test]
    async fn an_upstream_that_closes_is_noticed() {
        let (mut connection, upstream) = connection().await;
        assert!(connection.is_idle());
        assert!(connection.is_still_idle());
        drop(upstream);
        until(|| !connection.is_still_idle()).await;
    }
}
