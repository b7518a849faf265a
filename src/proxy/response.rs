//! The body of a response on its way downstream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::error::ProxyError;
use super::exchange::Exchange;
use super::streams;
use crate::alarm::Alarm;
use crate::body::Body;
use crate::snapshot::Connection;

/// A response's body. It passes frames through as they come, drives the upstream connection that they come from, gives that
/// connection back when the body has ended, and ends the exchange when it is dropped.
#[derive(Debug)]
pub(super) struct ResponseBody {
    body: Body,
    /// Until the body has ended.
    connection: Option<Box<Connection>>,
    /// In place of the connection's, where that drives itself.
    alarm: Option<Alarm>,
    /// `None` where the exchange goes on after the response: an upgrade.
    exchange: Option<Box<Exchange>>,
    /// Between two frames.
    read_timeout: Duration,
    /// Whether the next frame was asked for and is not there yet.
    waiting: bool,
}

impl ResponseBody {
    /// An answer of our own.
    pub(super) fn full(bytes: Bytes, exchange: Box<Exchange>) -> Self {
        Self::ready(Self {
            body: Body::Full(bytes),
            connection: None,
            alarm: None,
            exchange: Some(exchange),
            read_timeout: Duration::ZERO,
            waiting: false,
        })
    }

    /// No body, and no end of the exchange.
    pub(super) fn none() -> Self {
        Self {
            body: Body::Empty,
            connection: None,
            alarm: None,
            exchange: None,
            read_timeout: Duration::ZERO,
            waiting: false,
        }
    }

    /// What the upstream sends on `connection`; `None` where the connection drives itself.
    pub(super) fn incoming(
        body: Incoming,
        connection: Option<Box<Connection>>,
        exchange: Box<Exchange>,
        read_timeout: Duration,
    ) -> Self {
        Self::ready(Self {
            body: Body::Incoming(body),
            connection,
            alarm: None,
            exchange: Some(exchange),
            read_timeout,
            waiting: false,
        })
    }

    fn ready(mut this: Self) -> Self {
        if this.body.is_end_stream() {
            this.end(); // nobody will ask for frames
        }
        this
    }

    /// The body has been read to its end: the connection is free for others.
    fn end(&mut self) {
        let Some(exchange) = &mut self.exchange else { return };
        exchange.complete = true;
        if let (Some(mut connection), Some(endpoint)) = (self.connection.take(), &exchange.endpoint)
            && connection.has_come_to_rest()
        {
            endpoint.keep(connection);
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let polled = match &mut self.connection {
            Some(connection) => connection.poll_body(cx, &mut self.body),
            None => Pin::new(&mut self.body).poll_frame(cx),
        };
        if polled.is_ready() {
            self.waiting = false;
            return polled.map_err(ProxyError::Upstream);
        }
        let alarm = match &mut self.connection {
            Some(connection) => &mut connection.alarm,
            None => self.alarm.get_or_insert_with(|| Alarm::new(Instant::now())),
        };
        // From the first time that we had to wait: before, it was the downstream that did not ask.
        if !self.waiting {
            self.waiting = true;
            alarm.set(Instant::now() + self.read_timeout);
        }
        alarm.poll(cx).map(|()| Some(Err(ProxyError::ReadTimeout)))
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = ProxyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let this = self.get_mut();
        let polled = std::task::ready!(streams::waits_for_us(this.poll_incoming(cx)));
        match &polled {
            Some(Ok(frame)) => {
                if let (Some(exchange), Some(data)) = (&mut this.exchange, frame.data_ref()) {
                    exchange.bytes += data.len() as u64;
                }
                if this.body.is_end_stream() {
                    this.end(); // HTTP/1 does not ask again once the announced length is there
                }
            }
            Some(Err(error)) => {
                this.connection = None;
                if let Some(exchange) = &this.exchange {
                    error.log(exchange);
                }
            }
            None => this.end(),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
