//! Sending a request to an upstream and waiting for the head of its response.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;

use super::connect::{connect, idle};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::multiplex;
use crate::alarm::Alarm;
use crate::body::{Body, Upload, UploadState};
use crate::model::Timeouts;
use crate::snapshot::{Connection, Host, Node, Upstream};

/// Bytes of a request's fields that need no second allocation for [`Again`].
const USUAL_FIELDS: usize = 1 << 10;

/// Deadlines of an exchange with an upstream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// Between two pieces of the request's body from the downstream.
    pub(super) body: Duration,
    pub(super) upstream: Timeouts,
}

/// Sends `request` to an endpoint of `upstream`, first that at the place `first`: on an idle connection where there is one, else on a new one, else to the
/// other endpoints in turn.
///
/// # Errors
/// The failure at the endpoint that was tried last.
#[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice, as passed and as used")]
pub(super) fn forward(
    exchange: &mut Exchange,
    (upstream, first): (&Upstream, usize),
    mut request: Request<Body>,
    upload: Option<&Upload>,
    deadlines: Deadlines,
) -> impl Future<Output = Result<(Response<Incoming>, Option<Box<Connection>>), ProxyError>> {
    async move {
        let mut last = ProxyError::NoEndpoint;
        for node in upstream.from(first) {
            let endpoint = &node.endpoint;
            let now = Instant::now();
            exchange.tries(upstream, node, now);
            name_host(upstream, node, request.headers_mut());
            if endpoint.http2.is_some() {
                match Box::pin(multiplex::room(exchange, endpoint, deadlines)).await {
                    Ok(room) => {
                        let sent = multiplex::forward(exchange, room, request, upload, deadlines);
                        return Box::pin(sent).await.map(|response| (response, None));
                    }
                    Err(error) if error.retryable() && exchange.may_retry(upstream, &error) => last = error,
                    Err(error) => return Err(error),
                }
                continue;
            }
            if let Some(mut connection) = idle(endpoint, exchange.host.as_ref(), now) {
                exchange.downstream.shared().metrics.upstream.reuses.inc();
                let again = Again::of(&request);
                match send(&mut connection, request, upload, deadlines, now).await {
                    Ok(response) => return Ok((response, Some(connection))),
                    // The upstream closed the connection while the request was on its way: it is sent once more, on a
                    // new connection, if the upstream cannot have acted upon it or may do so twice.
                    Err((ProxyError::Upstream(error), unsent)) if is_lost(&error) => {
                        request =
                            unsent.or_else(|| again.map(Again::into_request)).ok_or(ProxyError::Upstream(error))?;
                        exchange.downstream.shared().metrics.upstream.retries.inc();
                    }
                    Err((error, _)) => return Err(error),
                }
            }
            // Boxed, because connecting is rare and its state would be kept by every idle downstream connection.
            let metrics = &exchange.downstream.shared().metrics;
            match Box::pin(connect(endpoint, exchange.host.as_ref(), deadlines.upstream.connect, metrics)).await {
                Ok(mut connection) => {
                    let response = send(&mut connection, request, upload, deadlines, Instant::now()).await;
                    return response.map(|response| (response, Some(connection))).map_err(|(error, _)| error);
                }
                Err(error) if error.retryable() && exchange.may_retry(upstream, &error) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

/// Sets `Host` where it is the node's.
pub(super) fn name_host(upstream: &Upstream, node: &Node, headers: &mut HeaderMap) {
    if upstream.host == Host::Node
        && let Some(host) = node.host()
    {
        headers.insert(HOST, host);
    }
}

/// What is kept of a request that may be sent twice: text, because each copy of a name or value, and its end, would count
/// references.
struct Again {
    /// `name:value` and an end of line for each field; names have no colon, and values no end of line.
    fields: Vec<u8>,
    method: Method,
    uri: Uri,
}

impl Again {
    /// Of a request without a body whose method is idempotent (RFC 9110 section 9.2.2).
    fn of(request: &Request<Body>) -> Option<Self> {
        if !matches!(request.body(), Body::Empty) || !request.method().is_idempotent() {
            return None;
        }
        let mut fields = Vec::with_capacity(USUAL_FIELDS);
        for (name, value) in request.headers() {
            fields.extend_from_slice(name.as_str().as_bytes());
            fields.push(b':');
            fields.extend_from_slice(value.as_bytes());
            fields.push(b'\n');
        }
        Some(Self { fields, method: request.method().clone(), uri: request.uri().clone() })
    }

    fn into_request(self) -> Request<Body> {
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        for field in self.fields.split(|byte| *byte == b'\n') {
            let Some(colon) = field.iter().position(|byte| *byte == b':') else { continue }; // after the last one
            let (name, value) = (HeaderName::from_bytes(&field[..colon]), HeaderValue::from_bytes(&field[colon + 1..]));
            if let (Ok(name), Ok(value)) = (name, value) {
                request.headers_mut().append(name, value);
            }
        }
        request
    }
}

/// Whether an error is what a connection gives that the upstream had closed; not so an answer that is no HTTP.
pub(super) fn is_lost(error: &hyper::Error) -> bool {
    !error.is_parse() && !error.is_user() && !error.is_timeout()
}

/// Sends `request`, `now`, and waits for the head of the response. One deadline at a time: while the body is on its way, that of
/// the side it waits for; after it, the upstream's for the response. The error comes with the request where it was not sent.
fn send(
    connection: &mut Connection,
    request: Request<Body>,
    upload: Option<&Upload>,
    deadlines: Deadlines,
    now: Instant,
) -> impl Future<Output = Result<Response<Incoming>, (ProxyError, Option<Request<Body>>)>> {
    let answer = connection.send(request);
    async move {
        let mut progress = Progress::new(deadlines, upload);
        connection.alarm.set(now + progress.allowed());
        let mut answer = pin!(answer);
        let answer = poll_fn(|cx| {
            if let Poll::Ready(answer) = connection.poll_answer(cx, answer.as_mut()) {
                return Poll::Ready(Ok(answer));
            }
            progress.overdue(cx, &mut connection.alarm).map(Err)
        });
        match answer.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(progress.blames_downstream().map_or_else(|| failed(error), |error| (error, None))),
            Err(error) => Err((error, None)),
        }
    }
}

/// How far a request has come, and how long the next step may take.
pub(super) struct Progress<'a> {
    deadlines: Deadlines,
    seen: (u32, UploadState),
    upload: Option<&'a Upload>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(deadlines: Deadlines, upload: Option<&'a Upload>) -> Self {
        Self { deadlines, seen: Self::of(upload), upload }
    }

    fn of(upload: Option<&Upload>) -> (u32, UploadState) {
        upload.map_or((0, UploadState::Ended), Upload::progress)
    }

    /// How long what is waited for may take.
    pub(super) fn allowed(&self) -> Duration {
        let Deadlines { body, upstream } = self.deadlines;
        match self.seen.1 {
            UploadState::Downstream => body,
            UploadState::Ended | UploadState::Broken | UploadState::TooLarge => upstream.read,
            UploadState::Upstream => upstream.send,
        }
    }

    /// Ready once what is waited for takes too long.
    pub(super) fn overdue(&mut self, cx: &mut Context<'_>, alarm: &mut Alarm) -> Poll<ProxyError> {
        let now = Self::of(self.upload);
        if now.1 == UploadState::TooLarge {
            return Poll::Ready(ProxyError::BodyTooLarge);
        }
        if now != self.seen {
            self.seen = now;
            alarm.set(Instant::now() + self.allowed());
        }
        alarm.poll(cx).map(|()| match self.seen.1 {
            UploadState::Downstream => ProxyError::BodyTimeout,
            UploadState::Ended | UploadState::Broken | UploadState::TooLarge => ProxyError::ReadTimeout,
            UploadState::Upstream => ProxyError::SendTimeout,
        })
    }

    /// What the downstream did to its body, so that the upstream's connection, or its stream, had to be given up with it.
    pub(super) fn blames_downstream(&self) -> Option<ProxyError> {
        match Self::of(self.upload).1 {
            UploadState::Broken => Some(ProxyError::Malformed("its body breaks off or is no body")),
            UploadState::TooLarge => Some(ProxyError::BodyTooLarge),
            UploadState::Downstream | UploadState::Ended | UploadState::Upstream => None,
        }
    }
}

fn failed(mut error: TrySendError<Request<Body>>) -> (ProxyError, Option<Request<Body>>) {
    let unsent = error.take_message();
    (ProxyError::Upstream(error.into_error()), unsent)
}

impl Exchange {
    /// Notes that `node` of `upstream` is tried, `now`.
    pub(super) fn tries(&mut self, upstream: &Upstream, node: &Node, now: Instant) {
        let now = now.into_std();
        self.upstream_started.get_or_insert(now);
        self.endpoint = Some(node.endpoint.clone());
        self.under_way = upstream.occupy(node, now);
    }

    /// Whether there is time left to try another endpoint of `upstream`. The one tried last has failed with `error`.
    pub(super) fn may_retry(&mut self, upstream: &Upstream, error: &ProxyError) -> bool {
        self.ends(Err(error));
        let since = self.upstream_started.map(|started| started.elapsed());
        upstream.retry_timeout.is_none_or(|timeout| since.is_none_or(|since| since < timeout))
    }

    /// Notes what became of the request at the endpoint that was tried last, where that decides about others.
    pub(super) fn ends(&mut self, answer: Result<StatusCode, &ProxyError>) {
        let Some(under_way) = &mut self.under_way else { return };
        let now = std::time::Instant::now();
        match answer {
            Ok(status) => under_way.answered(status, now),
            Err(error) => {
                if let Some(sign) = error.sign() {
                    under_way.failed(sign, now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_static("/a?b=c");
        for (name, value) in [("host", "a.test:80"), ("x-a", "1"), ("x-a", ""), ("x-b", "\t\u{e9}: ;")] {
            request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request
    }

    #[test]
    fn what_is_sent_again_is_what_was_sent() {
        let sent = request(Method::PUT, Body::Empty);
        let again = Again::of(&sent).unwrap().into_request();
        assert_eq!(again.headers(), sent.headers());
        assert_eq!((again.method(), again.uri()), (sent.method(), sent.uri()));
    }

    #[test]
    fn what_may_not_be_sent_again_is_not_kept() {
        assert!(Again::of(&request(Method::POST, Body::Empty)).is_none());
        assert!(Again::of(&request(Method::GET, Body::Full("a".into()))).is_none());
    }
}
