//! HTTP/2 connections to an endpoint, each shared by many requests.

use std::collections::HashMap;
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
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};

use super::Endpoint;
use crate::body::Sending;

/// Requests on one connection, whatever the peer allows: more of them take another connection, and so another processor.
const MAX_STREAMS: usize = 128;

/// Connections to one endpoint for one name.
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
    /// Speaks HTTP/2 on `stream`, and waits for the peer's settings. There are no pings: servers of
    /// gRPC close connections for them.
    ///
    /// # Errors
    /// When the peer closes the connection, or what it sends is no HTTP/2. One that sends nothing is waited for.
    pub async fn new(stream: Box<dyn Stream>) -> io::Result<Arc<Self>> {
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

    /// For how long no request has been under way; `None` while one is.
    fn idle(&self) -> Option<Duration> {
        (self.streams.load(Ordering::Acquire) == 0).then(|| lock(&self.idle).elapsed())
    }

    /// Takes no further request.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2").field("streams", &self.streams).finish_non_exhaustive()
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

/// The connections to one endpoint, by the name that their handshakes were for. Names wait for nothing but themselves.
#[derive(Debug, Default)]
pub struct Multiplexed(Mutex<HashMap<Box<str>, Arc<OfName>>>);

/// The connections for one name.
#[derive(Debug, Default)]
struct OfName {
    all: Mutex<Vec<Arc<Http2>>>,
    connecting: Arc<AsyncMutex<()>>,
    /// Told when there may be room again.
    freed: Notify,
}

impl Multiplexed {
    /// Waits for room on a connection for `name`, or for the turn to connect.
    pub async fn room(&self, endpoint: &Arc<Endpoint>, name: &str) -> Result<Room, Turn> {
        let of_name = self.of(name);
        loop {
            let mut freed = pin!(of_name.freed.notified());
            freed.as_mut().enable();
            if let Some(room) = of_name.take(endpoint) {
                return Ok(room);
            }
            tokio::select! {
                // One at a time: the others find room on the connection that the first one makes.
                turn = of_name.connecting.clone().lock_owned() => {
                    if let Some(room) = of_name.take(endpoint) {
                        return Ok(room);
                    }
                    if lock(&of_name.all).len() < MAX_CONNECTIONS {
                        return Err(Turn { of_name: of_name.clone(), _turn: turn });
                    }
                }
                () = freed.as_mut() => continue,
            }
            freed.await;
        }
    }

    fn of(&self, name: &str) -> Arc<OfName> {
        let mut names = lock(&self.0);
        if let Some(of_name) = names.get(name) {
            return of_name.clone();
        }
        let of_name = Arc::<OfName>::default();
        names.insert(name.into(), of_name.clone());
        of_name
    }

    /// Drops the connections that have ended, and those that no request has used for `idle_timeout`.
    pub fn sweep(&self, idle_timeout: Duration) {
        self.retain(|connection| connection.is_usable() && connection.idle().is_none_or(|idle| idle <= idle_timeout));
    }

    /// Drops the connections without requests that were not used for longest, until there are `size` of them.
    fn shrink(&self, size: usize) {
        let all: Vec<_> = lock(&self.0).values().flat_map(|of_name| lock(&of_name.all).clone()).collect();
        let mut idle: Vec<_> = all.iter().filter_map(|connection| Some((connection.idle()?, connection))).collect();
        idle.sort_by_key(|(idle, _)| *idle);
        for (_, connection) in idle.iter().skip(size) {
            connection.retire();
        }
        if idle.len() > size {
            self.retain(Http2::is_usable);
        }
    }

    fn retain(&self, kept: impl Fn(&Http2) -> bool) {
        lock(&self.0).retain(|_, of_name| {
            let mut all = lock(&of_name.all);
            all.retain(|connection| kept(connection));
            let is_used = !all.is_empty();
            drop(all);
            is_used || Arc::strong_count(of_name) > 1 // who waits for room
        });
    }
}

impl OfName {
    fn take(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Option<Room> {
        let mut all = lock(&self.all);
        all.retain(|connection| connection.is_usable());
        let has_room = |connection: &&Arc<Http2>| connection.streams.load(Ordering::Acquire) < connection.limit();
        let connection = all.iter().find(has_room)?;
        Some(Room::new(connection, (endpoint, self), true))
    }
}

/// The turn to connect.
#[derive(Debug)]
pub struct Turn {
    of_name: Arc<OfName>,
    _turn: OwnedMutexGuard<()>,
}

impl Turn {
    /// Adds a connection, and takes room on it. As many connections without requests are kept as `endpoint` keeps idle ones,
    /// whatever they are for: names may be the clients'.
    pub fn add(self, connection: Arc<Http2>, endpoint: &Arc<Endpoint>) -> Room {
        let room = Room::new(&connection, (endpoint, &self.of_name), false);
        lock(&self.of_name.all).push(connection);
        self.of_name.freed.notify_waiters(); // there may be room for more than one
        if let Some(all) = &endpoint.http2 {
            all.shrink(endpoint.transport.keepalive.size);
        }
        room
    }
}

/// Room for a request on a connection, as long as this lives.
#[derive(Debug)]
pub struct Room {
    connection: Arc<Http2>,
    endpoint: Arc<Endpoint>,
    of_name: Arc<OfName>,
    /// Whether the connection was used before.
    pub reused: bool,
}

impl Room {
    fn new(connection: &Arc<Http2>, (endpoint, of_name): (&Arc<Endpoint>, &Arc<OfName>), reused: bool) -> Self {
        connection.streams.fetch_add(1, Ordering::AcqRel);
        if connection.sent.fetch_add(1, Ordering::Relaxed) + 1 >= endpoint.transport.keepalive.requests {
            connection.retire();
        }
        Self { connection: connection.clone(), endpoint: endpoint.clone(), of_name: of_name.clone(), reused }
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
        self.of_name.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
