//! Requests to upstreams of HTTP/2: many on one connection.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, Uri, Version, request};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::connect::{counted, tcp, tls};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{Deadlines, Progress, is_lost};
use crate::alarm::Alarm;
use crate::body::{Body, Resend, Upload};
use crate::snapshot::{Endpoint, Http2, Room, Stream as Bytes};

/// How often a request is sent in all, where an upstream says that it was not processed.
const SENDS: usize = 4;

/// A request's part of a connection, until its response has ended.
#[derive(Debug)]
pub(super) struct Stream {
    /// Ends the upload when it is dropped.
    _body: Resend,
    _room: Room,
}

/// Sends `request` where there is `room` for it, and waits for the head of the response.
///
/// It is sent again where it was not processed: the connection took it no more, the upstream has refused the stream, or was
/// going away (RFC 9113 sections 6.8 and 8.7). On a connection that was used before, and breaks, it is sent again if it is
/// idempotent and has no body, as with HTTP/1.1.
pub(super) async fn forward(
    exchange: &mut Exchange,
    mut room: Room,
    request: Request<Body>,
    upload: Option<&Upload>,
    deadlines: Deadlines,
) -> Result<Response<Incoming>, ProxyError> {
    let downstream = exchange.downstream.clone();
    let metrics = &*downstream.shared().metrics;
    let endpoint = room.endpoint().clone();
    let (parts, body) = request.into_parts();
    let repeatable = matches!(body, Body::Empty) && parts.method.is_idempotent();
    let parts = to_http2(parts, &endpoint)?;
    let body = Resend::new(body);
    let mut last = ProxyError::NoEndpoint;
    for sent in 1.. {
        let Some(sending) = body.send() else { break };
        let error = match send(&room, Request::from_parts(parts.clone(), sending), (&body, upload), deadlines).await {
            Ok(response) => {
                body.settle();
                exchange.stream = Some(Box::new(Stream { _body: body, _room: room }));
                return Ok(response);
            }
            Err(Failed::Processed(error)) => {
                let lost = matches!(&error, ProxyError::Upstream(error) if is_lost(error) && !is_reset(error));
                if lost {
                    room.retire();
                }
                if !(lost && repeatable && room.reused) {
                    return Err(error);
                }
                error
            }
            Err(Failed::Unprocessed(error)) => error,
        };
        if sent == SENDS || !body.is_whole() {
            return Err(error);
        }
        last = error;
        metrics.upstream.retries.inc();
        room = self::room(exchange, &endpoint, deadlines).await?;
    }
    Err(last)
}

/// Why a request has no answer.
enum Failed {
    /// The upstream may have acted upon it.
    Processed(ProxyError),
    /// The upstream has not.
    Unprocessed(ProxyError),
}

/// Sends a request and waits for the head of the response.
async fn send(
    room: &Room,
    request: Request<crate::body::Sending>,
    (body, upload): (&Resend, Option<&Upload>),
    deadlines: Deadlines,
) -> Result<Response<Incoming>, Failed> {
    let mut answer = pin!(room.send(request));
    let mut progress = Progress::new(deadlines, upload);
    let mut alarm = Alarm::new(Instant::now() + progress.allowed());
    let answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
        Poll::Pending => {
            body.watch(cx.waker());
            progress.overdue(cx, &mut alarm).map(Err)
        }
    });
    let mut error = match answer.await {
        Ok(Ok(response)) => return Ok(response),
        Ok(Err(error)) => match progress.blames_downstream() {
            Some(error) => return Err(Failed::Processed(error)),
            None => error,
        },
        Err(error) => {
            // The connection may be dead without a word (a node that is gone): the next request finds out on a new one.
            if matches!(error, ProxyError::ReadTimeout | ProxyError::SendTimeout) {
                room.retire();
            }
            return Err(Failed::Processed(error));
        }
    };
    let mut unsent = error.take_message().is_some();
    let error = error.into_error();
    // hyper drops a request that waits for a stream when the connection takes no more: it was never on its way.
    unsent |= error.is_user() && body.is_untouched();
    let of_http2 = h2_error(&error);
    let away = unsent || of_http2.is_some_and(|error| error.is_go_away() && error.is_remote());
    let refused = of_http2.is_some_and(|error| {
        error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
    });
    if away {
        room.retire();
    }
    let error = ProxyError::Upstream(error);
    Err(if away || refused { Failed::Unprocessed(error) } else { Failed::Processed(error) })
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether one stream ended, and not the connection.
fn is_reset(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(h2::Error::is_reset)
}

/// Room for a request on a connection to `endpoint`: one that there is, or a new one.
pub(super) async fn room(
    exchange: &Exchange,
    endpoint: &Arc<Endpoint>,
    deadlines: Deadlines,
) -> Result<Room, ProxyError> {
    let metrics = &exchange.downstream.shared().metrics;
    let Some(connections) = &endpoint.http2 else { return Err(ProxyError::NoEndpoint) };
    let host = exchange.host.as_ref();
    let secure = endpoint.transport.tls.as_ref();
    let name = secure.map_or("", |secure| secure.name(host));
    let deadline = Instant::now() + deadlines.upstream.connect;
    let found = tokio::time::timeout_at(deadline, connections.room(endpoint, name)).await;
    let turn = match found {
        Err(_) => {
            return Err(ProxyError::NoRoom);
        }
        Ok(Ok(room)) => {
            metrics.upstream.reuses.inc();
            return Ok(room);
        }
        Ok(Err(turn)) => turn,
    };
    let connected = async {
        let stream = tcp(endpoint).await?;
        let stream: Box<dyn Bytes> = match secure {
            None => Box::new(stream),
            Some(secure) => Box::new(tls(endpoint, secure, host, stream).await?.0),
        };
        Http2::new(stream).await.map_err(ProxyError::Connect)
    };
    let connection = counted(connected, deadline.saturating_duration_since(Instant::now()), metrics).await?;
    Ok(turn.add(connection, endpoint))
}

/// The request as HTTP/2 has it (RFC 9113 section 8.3.1): the host in the target, and no fields of a connection.
fn to_http2(mut parts: request::Parts, endpoint: &Endpoint) -> Result<request::Parts, ProxyError> {
    let host = parts.headers.remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    parts.headers.remove(CONNECTION);
    parts.headers.remove(TRANSFER_ENCODING);
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.authority = Some(authority.ok_or(ProxyError::Malformed("the host is none for HTTP/2"))?);
    uri.scheme = Some(if endpoint.transport.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.uri = Uri::from_parts(uri).map_err(|_| ProxyError::Malformed("the target is none for HTTP/2"))?;
    parts.version = Version::HTTP_2;
    debug_assert_ne!(parts.method, Method::CONNECT);
    Ok(parts)
}
