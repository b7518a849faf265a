//! What can go wrong with a request, and what each failure means: status, body, log line and metric, all in this file.

use std::sync::Arc;
use std::{fmt, io};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};

use super::exchange::Exchange;
use super::verdict::Verdict;
use crate::model::{Failure, FailureAnswer, FailureBody, Invalid, Sign};
use crate::snapshot::ClientAuth;
use crate::trust::{Cause, Refusal};

/// Why a request was not served.
#[derive(Debug)]
pub(super) enum ProxyError {
    /// The downstream stopped sending the request's body.
    BodyTimeout,
    /// The request's body has more bytes than it may.
    BodyTooLarge,
    /// No connection to the upstream.
    Connect(io::Error),
    /// No connection to the upstream in time.
    ConnectTimeout,
    /// No TLS with the upstream.
    Handshake(io::Error),
    /// The client expects something else than `100 Continue`.
    ExpectationFailed,
    /// The request came back to us too often.
    Loop,
    /// The request is not one that HTTP allows, or that a proxy may pass on.
    Malformed(&'static str),
    /// A method that is never proxied.
    MethodNotAllowed,
    /// Another connection is needed.
    Misdirected(Misdirected),
    /// The route has no endpoint.
    NoEndpoint,
    /// The connections to the endpoint have no room for another request, or another request is waiting for a connection.
    NoRoom,
    /// No route.
    NotFound,
    /// The memory runs out.
    Overloaded,
    /// The upstream did not answer in time.
    ReadTimeout,
    /// The client does not satisfy the host's client authentication. The verdict is a refusal.
    Refused { auth: Arc<ClientAuth>, verdict: Arc<Verdict> },
    /// The upstream did not take the request's body in time.
    SendTimeout,
    /// The host's client authentication is unusable.
    Unusable(Arc<Invalid>),
    /// The upstream broke off, or did not speak HTTP.
    Upstream(hyper::Error),
    /// The upstream switched protocols without having been asked.
    UnexpectedUpgrade,
}

/// Why a connection cannot be used for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misdirected {
    /// The host of the connection's SNI is not configured any more.
    Gone,
    /// The host asks for something else than the SNI's host.
    OtherPolicy,
    /// The host asks for a client certificate, and the connection is not TLS.
    Plaintext,
}

/// The page that nginx, and so APISIX, answers to a client without a good certificate.
const BAD_REQUEST: &str = "<html>\r\n<head><title>400 Bad Request</title></head>\r\n<body>\r\n\
    <center><h1>400 Bad Request</h1></center>\r\n<hr><center>portcullis</center>\r\n</body>\r\n</html>\r\n";

impl ProxyError {
    /// The answer's status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Connect(_) | Self::Handshake(_) | Self::Upstream(_) | Self::UnexpectedUpgrade => {
                StatusCode::BAD_GATEWAY
            }
            Self::ConnectTimeout | Self::ReadTimeout | Self::SendTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Malformed(_) | Self::Unusable(_) => StatusCode::BAD_REQUEST,
            Self::Refused { auth, .. } => match &auth.settings.failure {
                Failure::Alert => no_answer(),
                Failure::Answer(answer) => StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_REQUEST),
                Failure::Page => StatusCode::BAD_REQUEST,
            },
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Misdirected(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::NoEndpoint | Self::NoRoom | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    /// Whether the connection ends without an answer.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Refused { auth, .. } if auth.settings.failure == Failure::Alert)
    }

    /// The answer's body with its content type, and what else the status asks for.
    pub(super) fn body(&self) -> (Bytes, [Option<(HeaderName, HeaderValue)>; 2]) {
        if let Self::Refused { auth, .. } = self
            && let Failure::Answer(answer) = &auth.settings.failure
        {
            let (bytes, field) = self.configured(answer);
            return (bytes, [field, None]);
        }
        // APISIX's words, `{"error_msg":"404 Route Not Found"}` among them; a 400 is nginx's page there.
        let body = match self.status().as_u16() {
            400 => BAD_REQUEST,
            404 => "{\"error_msg\":\"404 Route Not Found\"}\n",
            405 => "{\"error_msg\":\"405 Method Not Allowed\"}\n",
            408 => "{\"error_msg\":\"408 Request Timeout\"}\n",
            413 => "{\"error_msg\":\"413 Request Entity Too Large\"}\n",
            417 => "{\"error_msg\":\"417 Expectation Failed\"}\n",
            421 => "{\"error_msg\":\"421 Misdirected Request\"}\n",
            503 => "{\"error_msg\":\"503 Service Unavailable\"}\n",
            504 => "{\"error_msg\":\"504 Gateway Timeout\"}\n",
            508 => "{\"error_msg\":\"508 Loop Detected\"}\n",
            _ => "{\"error_msg\":\"502 Bad Gateway\"}\n",
        };
        let kind = if self.status() == StatusCode::BAD_REQUEST { "text/html" } else { "text/plain; charset=utf-8" };
        let allow = matches!(self, Self::MethodNotAllowed)
            .then(|| (ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")));
        (Bytes::from_static(body.as_bytes()), [Some((CONTENT_TYPE, HeaderValue::from_static(kind))), allow])
    }

    /// An answer of the user's own to a refused client.
    fn configured(&self, answer: &FailureAnswer) -> (Bytes, Option<(HeaderName, HeaderValue)>) {
        let field = |name, value: &str| HeaderValue::from_str(value).ok().map(|value| (name, value));
        match &answer.body {
            FailureBody::Problem => {
                let title = self.status().canonical_reason().unwrap_or("Error");
                let problem = serde_json::json!({
                    "title": title, "status": self.status().as_u16(), "detail": self.to_string(),
                });
                (problem.to_string().into(), field(CONTENT_TYPE, "application/problem+json"))
            }
            FailureBody::Redirect(location) => (Bytes::new(), field(LOCATION, location)),
            FailureBody::Text { content_type, text } => {
                (Bytes::copy_from_slice(text.as_bytes()), field(CONTENT_TYPE, content_type))
            }
        }
    }

    /// Whether the connection must not carry further requests: the client needs another one, or the rest of this request
    /// is still to come.
    pub(super) fn closes(&self) -> bool {
        match self {
            Self::BodyTimeout
            | Self::BodyTooLarge
            | Self::ExpectationFailed
            | Self::Malformed(_)
            | Self::Overloaded
            | Self::Refused { .. }
            | Self::Unusable(_) => true,
            Self::Misdirected(why) => *why == Misdirected::Gone,
            _ => false,
        }
    }

    /// Whether another endpoint may be asked: nothing was sent to this one.
    pub(super) fn retryable(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout | Self::Handshake(_) | Self::NoRoom)
    }

    /// What the failure is a sign of, where it is the endpoint's.
    pub(super) fn sign(&self) -> Option<Sign> {
        match self {
            Self::Connect(_) | Self::Handshake(_) | Self::Upstream(_) => Some(Sign::TcpFailure),
            Self::ConnectTimeout | Self::ReadTimeout | Self::SendTimeout => Some(Sign::Timeout),
            _ => None,
        }
    }

    /// Logs a request that is served although this is wrong with it: its host's policy is in the mode `Observe`.
    pub(super) fn log_observed(&self, exchange: &Exchange) {
        tracing::info!("would be refused, but is observed only: {}", Described { error: self, exchange });
    }

    /// The verdict that this failure is about.
    fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { verdict, .. } => verdict.outcome.as_ref().err(),
            _ => None,
        }
    }

    /// The cause of a refusal.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.refusal().map(Refusal::cause)
    }

    /// Logs the failure in nginx's shape, which people have alerts on. A missing route is no failure of ours: the access
    /// line is enough.
    pub(super) fn log(&self, exchange: &Exchange) {
        let error = Described { error: self, exchange };
        match self {
            Self::NotFound | Self::MethodNotAllowed | Self::Overloaded => {}
            Self::BodyTimeout | Self::BodyTooLarge | Self::ExpectationFailed | Self::Malformed(_) => {
                tracing::info!("{error}");
            }
            // Any client can claim to come from us.
            Self::Loop | Self::Misdirected(Misdirected::Gone | Misdirected::Plaintext) => tracing::warn!("{error}"),
            _ => tracing::error!("{error}"),
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BodyTimeout => f.write_str("client timed out while sending the request body"),
            Self::BodyTooLarge => f.write_str("client intended to send too large body"),
            Self::Connect(error) => write!(f, "connect() failed ({error}) while connecting to upstream"),
            Self::ConnectTimeout => f.write_str("upstream timed out while connecting to upstream"),
            Self::Handshake(error) => {
                write!(f, "SSL_do_handshake() failed ({error}) while SSL handshaking to upstream")
            }
            Self::ExpectationFailed => f.write_str("client expects something else than 100-continue"),
            Self::Loop => f.write_str("the route leads back to this proxy"),
            Self::Malformed(why) => write!(f, "client sent an invalid request: {why}"),
            Self::MethodNotAllowed => f.write_str("the method is never proxied"),
            Self::Misdirected(Misdirected::Gone) => f.write_str("TLS is not configured any more for the SNI"),
            Self::Misdirected(Misdirected::OtherPolicy) => f.write_str("the host asks for another connection"),
            Self::Misdirected(Misdirected::Plaintext) => {
                f.write_str("the host requires a client certificate and is not served without TLS")
            }
            Self::NoEndpoint => f.write_str("no endpoint available"),
            Self::NoRoom => f.write_str("no room on the connections to upstream, nor for another one"),
            Self::NotFound => f.write_str("no route"),
            Self::Overloaded => f.write_str("the memory runs out"),
            Self::ReadTimeout => f.write_str("upstream timed out while reading from upstream"),
            Self::Refused { .. } => self.refusal().map_or(Ok(()), |refusal| refusal.fmt(f)),
            Self::SendTimeout => f.write_str("upstream timed out while sending request to upstream"),
            Self::Unusable(invalid) => write!(f, "client authentication of the host is unusable: {invalid}"),
            Self::UnexpectedUpgrade => f.write_str("upstream switched protocols without being asked"),
            Self::Upstream(error) => {
                write!(f, "upstream failed: {error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) | Self::Handshake(error) => Some(error),
            Self::Refused { .. } => self.refusal().map(|refusal| refusal as _),
            Self::Unusable(invalid) => Some(&**invalid),
            Self::Upstream(error) => Some(error),
            _ => None,
        }
    }
}

/// nginx's status for a connection that was closed without an answer: it is logged, never sent.
fn no_answer() -> StatusCode {
    StatusCode::from_u16(444).unwrap_or(StatusCode::BAD_REQUEST)
}

/// An error with the request that it happened to.
struct Described<'a> {
    error: &'a ProxyError,
    exchange: &'a Exchange,
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exchange = self.exchange;
        let sni = exchange.downstream.tls.as_ref().map(|tls| &tls.sni);
        match (self.error, sni) {
            // APISIX's words for it.
            (ProxyError::Misdirected(Misdirected::OtherPolicy), Some(sni)) => {
                write!(f, "client certificate verified with SNI {sni}, but the host is {}", exchange.host_name())?;
            }
            (error, _) => error.fmt(f)?,
        }
        write!(f, ", client: {}, server: _, request: \"", exchange.client())?;
        exchange.request_line(f)?;
        f.write_str("\"")?;
        if let Some(endpoint) = &exchange.endpoint {
            let scheme = if endpoint.transport.tls.is_some() { "https" } else { "http" };
            write!(f, ", upstream: \"{scheme}://{}\"", super::access_log::Token(endpoint.text.as_bytes()))?;
        }
        write!(f, ", host: \"{}\"", super::access_log::Escaped(exchange.host_sent()))
    }
}
