//! HTTP on a connection, from its first byte to its end.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use hyper::server::conn::http1::UpgradeableConnection;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::begun::Begun;
use super::downstream::Downstream;
use super::frames::Frames;
use super::listener::Place;
use super::on_wake::OnWake;
use super::socket::{Limits, Socket};
use super::streams::{self, Streams};
use super::{Settings, access_log, request};
use crate::drain::Draining;

/// Bytes of a request head, and of body that is read ahead of the upstream. nginx takes heads of 32 KiB
/// (`large_client_header_buffers 4 8k`).
const HTTP1_BUFFER: usize = 64 << 10;

/// Streams per HTTP/2 connection (Envoy's advice for the edge; nginx has 128).
const STREAMS: u32 = 100;

/// Bytes in flight per stream and per connection: what one client can make us hold (Envoy's advice for the edge).
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Bytes of response buffered per stream.
const SEND_BUFFER: usize = 64 << 10;

/// Bytes of a request's decoded header list.
const HEADER_LIST: u32 = 16 << 10;

/// Streams that a client can make us reset before the connection is closed. Each may have started a request upstream
/// (CVE-2025-8671), so not hyper's 1024: twice the streams of a connection.
const LOCAL_RESETS: usize = 200;

/// Streams reset by the client before they were served (CVE-2023-44487); h2's default.
const PENDING_RESETS: usize = 20;

/// An HTTP/2 client that does not answer a ping is gone.
const PING: Duration = Duration::from_secs(20);

/// Serves a connection of a plaintext listener: HTTP/2 where it begins with that, else HTTP/1.
pub(super) async fn serve_plaintext(stream: TcpStream, peer: SocketAddr, port: u16, place: Place, draining: Draining) {
    let downstream = Arc::new(Downstream::new(peer, port, None, place, draining));
    let mut stream = Begun::new(stream);
    // Boxed, as no idle connection needs their room.
    match Box::pin(is_http2(&mut stream, &downstream)).await {
        Some(true) => Box::pin(http2(stream, downstream)).await,
        Some(false) => http1(stream, downstream).await,
        None => tracing::debug!(peer = %downstream.peer, "the connection ended: the client sent nothing"),
    }
}

/// Whether a plaintext connection is one of HTTP/2. `None` where nothing comes in time. One that begins with half a preface
/// is HTTP/1's to wait for.
async fn is_http2(stream: &mut Begun<TcpStream>, downstream: &Downstream) -> Option<bool> {
    let settings = &downstream.shared().settings;
    let mut draining = downstream.draining.clone();
    let drained = async {
        draining.started().await;
        tokio::time::sleep(settings.drain_idle).await;
    };
    let looked = tokio::select! {
        biased;
        looked = stream.is_http2() => Some(looked.unwrap_or_default()),
        () = tokio::time::sleep(settings.first_byte_timeout) => None,
        () = drained => None,
    };
    looked.or_else(|| stream.has_begun().then_some(false))
}

/// Serves HTTP/1.
pub(super) async fn http1<S>(stream: S, downstream: Arc<Downstream>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let settings = &downstream.shared().settings;
    let socket = Socket::new(stream, limits(settings, Some(settings.idle_timeout)), downstream.pace.clone());
    let service = service_fn(|request| request::serve(downstream.clone(), request));
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(HTTP1_BUFFER);
    let connection = pin!(builder.serve_connection(TokioIo::new(socket), service).with_upgrades());
    let mut draining = downstream.draining.clone();
    let closing = pin!(async {
        let drained = async {
            draining.started().await;
            // A request may be on its way: closing now would lose it. From here on every response closes the connection.
            Box::pin(tokio::time::sleep(settings.drain_idle)).await; // boxed, as no idle connection needs its room
        };
        tokio::select! {
            () = drained => {}
            () = downstream.close.notified() => {}
        }
    });
    ended(&downstream, serve(connection, UpgradeableConnection::graceful_shutdown, &downstream, closing).await);
}

/// Serves HTTP/2.
pub(super) async fn http2<S>(stream: S, downstream: Arc<Downstream>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let settings = &downstream.shared().settings;
    let socket = Socket::new(stream, limits(settings, None), downstream.pace.clone());
    let socket = Frames::new(socket, downstream.shared().metrics.connections_ended.flood.clone());
    let service = service_fn(|request| {
        // Boxed: hyper and tokio move a stream's future nine times on its way into a task, 110 KiB per request otherwise.
        let mut answer = Box::pin(request::serve(downstream.clone(), request));
        poll_fn(move |cx| streams::waits_for_us(answer.as_mut().poll(cx)))
    });
    let mut builder = http2::Builder::new(Streams { send_timeout: settings.send_timeout });
    builder
        .timer(TokioTimer::new())
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_send_buf_size(SEND_BUFFER);
    let connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let mut draining = downstream.draining.clone();
    let closing = pin!(closing(&downstream, &mut draining));
    ended(&downstream, serve(connection, http2::Connection::graceful_shutdown, &downstream, closing).await);
}

/// Serves until the connection has ended. Once `closing` is ready it is told to `shut_down`: it takes no further request and
/// finishes what is under way; for a client that is not let in any more within [`Settings::trust_grace`].
async fn serve<C>(
    mut connection: Pin<&mut C>,
    shut_down: impl FnOnce(Pin<&mut C>),
    downstream: &Downstream,
    closing: Pin<&mut impl Future<Output = ()>>,
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    tokio::select! {
        biased;
        served = connection.as_mut() => return served,
        () = OnWake::new(closing) => {}
    }
    shut_down(connection.as_mut());
    let late = async {
        downstream.distrusted().await;
        Box::pin(tokio::time::sleep(downstream.shared().settings.trust_grace)).await;
    };
    tokio::select! {
        biased;
        served = connection.as_mut() => served,
        () = late => Ok(()),
    }
}

/// Waits until the connection should take no further streams: the drain, a refused client, or nothing to do for long.
async fn closing(downstream: &Downstream, draining: &mut Draining) {
    let idle = async {
        let timeout = downstream.shared().settings.idle_timeout;
        let mut wait = timeout;
        while !wait.is_zero() {
            tokio::time::sleep(wait).await;
            let idle = downstream.pace.idle_since().map(|since| since.elapsed());
            wait = timeout.saturating_sub(idle.unwrap_or_default());
        }
    };
    tokio::select! {
        () = draining.started() => {}
        () = downstream.close.notified() => {}
        () = idle => {}
    }
}

fn limits(settings: &Settings, idle: Option<Duration>) -> Limits {
    Limits { first_byte: settings.first_byte_timeout, idle, send: settings.send_timeout }
}

fn ended(downstream: &Downstream, served: hyper::Result<()>) {
    if let Err(error) = served {
        let metrics = &downstream.shared().metrics;
        if let Some(status) = unread(&error) {
            metrics.requests.count(false, status);
            access_log::unread(&downstream.shared().log, downstream, status);
        }
        if is_http2_limit(&error) {
            metrics.connections_ended.http2_limit.inc();
        }
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::debug!(peer = %downstream.peer, "the connection ended: {error} {source}");
    }
}

/// What hyper has answered to a request that it could not read, which never became an exchange.
fn unread(error: &hyper::Error) -> Option<StatusCode> {
    if !error.is_parse() || error.is_parse_version_h2() {
        return None; // the latter is the preface of HTTP/2, which is not answered
    }
    Some(match error.is_parse_too_large() {
        // There is no other way to tell the two apart.
        true if error.to_string().contains("URI") => StatusCode::URI_TOO_LONG,
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    })
}

/// Whether h2 has ended a connection because of one of its limits.
fn is_http2_limit(error: &hyper::Error) -> bool {
    let of_h2 = std::error::Error::source(error).and_then(|error| error.downcast_ref::<h2::Error>());
    of_h2.is_some_and(|error| error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_is_small() {
        type Tls = Box<tokio_rustls::server::TlsStream<TcpStream>>;
        // Idle connections hold all of it: there may be ten thousand.
        let sizes = [size_of_future(http1::<Tls>), size_of_future(http2::<Tls>), size_of::<Downstream>()];
        assert!(sizes[0] <= 1400 && sizes[1] <= 2464 && sizes[2] <= 352, "{sizes:?} bytes");
    }
}
