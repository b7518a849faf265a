//! HTTP/2 connections to an endpoint, each shared by many requests.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use std::{fmt, io};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncGuard, Notify};

use super::Endpoint;
use crate::body::Sending;

/// Requests on one connection, whatever the peer allows: more of them take another connection, and so another processor.
const MAX_STREAMS: usize = 128;

/// Connections to one endpoint.
const MAX_CONNECTIONS: usize = 64;

/// Bytes of a response that are read ahead of its downstream. The connection has room for all of its streams, so that slow
/// downstreams hold up nobody else's responses.
const STREAM_WINDOW: u32 = 64 << 10;
#[expect(clippy::cast_possible_truncation, reason = "128")]
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;

/// Bytes of a request that are buffered.
const SEND_BUFFER: usize = 64 << 10;

/// Bytes of a response's decoded fields.
const HEADER_LIST: u32 = 64 << 10;

/// What a connection reads and writes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

type Io = http2::Connection<TokioIo<Box<dyn Stream>>, Sending, Tasks>;

/// One connection.
pub struct Http2 {
    /// Until it has ended.
    io: Arc<Mutex<Option<Io>>>,
    /// Since when no request is under way.
    idle: Mutex<Instant>,
    /// The name that its handshake was for, as [`Secure::name`](super::Secure::name) gives it; empty without TLS.
    name: Box<str>,
    /// Whether it takes no further request.
    retired: AtomicBool,
    sender: http2::SendRequest<Sending>,
    /// Requests so far.
    sent: AtomicU64,
    /// Requests under way.
    streams: AtomicUsize,
}

/// Runs the tasks of a connection, and tells when the peer's first settings may have come.
#[derive(Clone, Default)]
struct Tasks(Arc<Settings>);

#[derive(Default)]
struct Settings {
    known: AtomicBool,
    polled: Notify,
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let settings = self.0.clone();
        tokio::spawn(async move {
            let mut task = pin!(task);
            poll_fn(|cx| {
                let polled = task.as_mut().poll(cx);
                if !settings.known.load(Ordering::Relaxed) {
                    settings.polled.notify_one();
                }
                polled
            })
            .await;
        });
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Http2 {
    /// Speaks HTTP/2 on `stream`, whose handshake was for `name`, and waits for the peer's settings. There are no pings: servers of
    /// gRPC close connections for them.
    ///
    /// # Errors
    /// When the peer closes the connection, or what it sends is no HTTP/2. One that sends nothing is waited for.
    pub async fn new(stream: Box<dyn Stream>, name: &str) -> io::Result<Arc<Self>> {
        let tasks = Tasks::default();
        let settings = tasks.0.clone();
        let mut builder = http2::Builder::new(tasks);
        builder
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(0) // until the peer's settings
            .initial_stream_window_size(STREAM_WINDOW)
            .max_header_list_size(HEADER_LIST)
            .max_send_buf_size(SEND_BUFFER);
        let (sender, io) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let io = Arc::new(Mutex::new(Some(io)));
        tokio::spawn(drive(io.clone(), settings.clone()));
        let connection = Self {
            idle: Mutex::new(Instant::now()),
            io,
            name: name.into(),
            retired: AtomicBool::new(false),
            sender,
            sent: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
        };
        while connection.limit() == 0 {
            if connection.is_closed() {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the peer does not speak HTTP/2"));
            }
            settings.polled.notified().await;
        }
        settings.known.store(true, Ordering::Relaxed);
        Ok(Arc::new(connection))
    }

    /// How many requests the peer takes at a time.
    fn limit(&self) -> usize {
        lock(&self.io).as_ref().map_or(0, Io::current_max_send_streams).min(MAX_STREAMS)
    }

    fn is_closed(&self) -> bool {
        lock(&self.io).is_none() || self.sender.is_closed()
    }

    fn is_usable(&self) -> bool {
        !self.retired.load(Ordering::Relaxed) && !self.is_closed()
    }

    /// Takes no further request.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2").field("name", &self.name).field("streams", &self.streams).finish_non_exhaustive()
    }
}

async fn drive(io: Arc<Mutex<Option<Io>>>, settings: Arc<Settings>) {
    poll_fn(|cx| {
        let mut io = lock(&io);
        match io.as_mut().map(|io| Pin::new(io).poll(cx)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(_)) | None => {
                *io = None;
                Poll::Ready(())
            }
        }
    })
    .await;
    settings.polled.notify_one();
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub struct Multiplexed {
    all: Mutex<Vec<Arc<Http2>>>,
    connecting: AsyncMutex<()>,
    /// Told when there may be room again.
    freed: Notify,
}

impl Multiplexed {
    /// Waits for room on a connection for `name`, or for the turn to connect.
    pub async fn room<'a>(&'a self, endpoint: &Arc<Endpoint>, name: &str) -> Result<Room, Turn<'a>> {
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(room) = self.take(endpoint, name) {
                return Ok(room);
            }
            tokio::select! {
                // One at a time: the others find room on the connection that the first one makes.
                turn = self.connecting.lock() => {
                    if let Some(room) = self.take(endpoint, name) {
                        return Ok(room);
                    }
                    if self.has_place(name) {
                        return Err(Turn { all: self, _turn: turn });
                    }
                }
                () = freed.as_mut() => continue,
            }
            freed.await;
        }
    }

    fn take(&self, endpoint: &Arc<Endpoint>, name: &str) -> Option<Room> {
        let mut all = lock(&self.all);
        all.retain(|connection| connection.is_usable());
        let of_name = |connection: &&Arc<Http2>| *connection.name == *name;
        let has_room = |connection: &&Arc<Http2>| connection.streams.load(Ordering::Acquire) < connection.limit();
        let connection = all.iter().filter(of_name).find(has_room)?;
        Some(Room::new(connection, endpoint, true))
    }

    /// Whether another connection may be made. One without requests, for another name, makes place for it.
    fn has_place(&self, name: &str) -> bool {
        let mut all = lock(&self.all);
        if all.len() < MAX_CONNECTIONS {
            return true;
        }
        let unused = |connection: &Arc<Http2>| connection.streams.load(Ordering::Acquire) == 0;
        match all.iter().position(|connection| *connection.name != *name && unused(connection)) {
            Some(place) => {
                all.remove(place);
                true
            }
            None => false,
        }
    }

    /// Drops the connections that have ended, and those that no request has used for `idle_timeout`.
    pub fn sweep(&self, idle_timeout: Duration) {
        let used = |connection: &Http2| {
            connection.streams.load(Ordering::Acquire) > 0 || lock(&connection.idle).elapsed() <= idle_timeout
        };
        lock(&self.all).retain(|connection| connection.is_usable() && used(connection));
    }
}

/// The turn to connect.
#[derive(Debug)]
pub struct Turn<'a> {
    all: &'a Multiplexed,
    _turn: AsyncGuard<'a, ()>,
}

impl Turn<'_> {
    /// Adds a connection, and takes room on it.
    pub fn add(self, connection: Arc<Http2>, endpoint: &Arc<Endpoint>) -> Room {
        let room = Room::new(&connection, endpoint, false);
        lock(&self.all.all).push(connection);
        self.all.freed.notify_waiters(); // there may be room for more than one
        room
    }
}

/// Room for a request on a connection, as long as this lives.
#[derive(Debug)]
pub struct Room {
    connection: Arc<Http2>,
    endpoint: Arc<Endpoint>,
    /// Whether the connection was used before.
    pub reused: bool,
}

impl Room {
    fn new(connection: &Arc<Http2>, endpoint: &Arc<Endpoint>, reused: bool) -> Self {
        connection.streams.fetch_add(1, Ordering::AcqRel);
        if connection.sent.fetch_add(1, Ordering::Relaxed) + 1 >= endpoint.transport.keepalive.requests {
            connection.retire();
        }
        Self { connection: connection.clone(), endpoint: endpoint.clone(), reused }
    }

    /// Whose connection it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Sends a request.
    pub fn send(&self, request: Request<Sending>) -> impl Future<Output = Http2Answer> + use<> {
        self.connection.sender.clone().try_send_request(request)
    }

    /// Takes no further request on the connection.
    pub fn retire(&self) {
        self.connection.retire();
    }
}

/// The answer to a request, or the error with the request where it was not sent.
pub type Http2Answer = Result<Response<Incoming>, TrySendError<Request<Sending>>>;

impl Drop for Room {
    fn drop(&mut self) {
        if self.connection.streams.fetch_sub(1, Ordering::AcqRel) == 1 {
            *lock(&self.connection.idle) = Instant::now();
        }
        if let Some(all) = &self.endpoint.http2 {
            all.freed.notify_waiters();
        }
    }
}
