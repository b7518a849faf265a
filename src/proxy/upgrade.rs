//! WebSockets: a request that turns into a tunnel.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, request};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::connect::connect;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::name_host;
use super::headers;
use super::request::{answered, failed};
use super::response::ResponseBody;
use super::tunnel::{self, Moved};
use crate::body::Body;
use crate::model::Timeouts;
use crate::snapshot::Upstream;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Whether a request asks for a WebSocket (RFC 6455 section 4.1).
pub(super) fn is_websocket(parts: &request::Parts) -> bool {
    let lists = |name, wanted: &str| {
        let mut tokens = parts.headers.get_all(name).iter().flat_map(headers::tokens);
        tokens.any(|token| token.eq_ignore_ascii_case(wanted))
    };
    parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && lists(CONNECTION, "upgrade")
        && lists(UPGRADE, "websocket")
}

/// Asks the next hop for a WebSocket.
pub(super) fn ask(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

/// Passes a request for a WebSocket on, and tunnels once the upstream has agreed. On a connection of its own: it is not
/// coming back.
pub(super) async fn websocket(
    mut exchange: Box<Exchange>,
    downstream: OnUpgrade,
    request: Request<Body>,
    (upstream, first): (Arc<Upstream>, usize),
    timeouts: Timeouts,
) -> Response<ResponseBody> {
    let answer = ask_upstream(&mut exchange, request, (&upstream, first), timeouts).await;
    exchange.ends(answer.as_ref().map(Response::status));
    let response = match answer {
        Ok(response) => response,
        Err(error) => return failed(exchange, &error),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let timeout = timeouts.read;
        return answered(exchange, response, |body, exchange| ResponseBody::incoming(body, None, exchange, timeout));
    }
    let (mut parts, body) = response.into_parts();
    let upstream = hyper::upgrade::on(Response::from_parts(parts.clone(), body));
    headers::to_downstream(&mut parts.headers);
    ask(&mut parts.headers);
    exchange.status = Some(parts.status);
    exchange.upstream_status = Some(parts.status);
    // The task holds the exchange, and with it the connection's place and its part in the drain.
    tokio::spawn(async move {
        let (Ok(downstream), Ok(upstream)) = tokio::join!(downstream, upstream) else { return };
        let idle = timeouts.read.max(timeouts.send);
        let (down, up) = (TokioIo::new(downstream), TokioIo::new(upstream));
        let mut moved = Moved::default();
        exchange.complete = tokio::select! {
            ended = tunnel::run(down, up, idle, &mut moved) => ended.is_ok(),
            () = exchange.downstream.distrusted() => false,
        };
        exchange.bytes = moved.sent;
    });
    Response::from_parts(parts, ResponseBody::none())
}

async fn ask_upstream(
    exchange: &mut Exchange,
    mut request: Request<Body>,
    (upstream, first): (&Upstream, usize),
    timeouts: Timeouts,
) -> Result<Response<hyper::body::Incoming>, ProxyError> {
    let downstream = exchange.downstream.clone();
    let mut last = ProxyError::NoEndpoint;
    for node in upstream.from(first) {
        let endpoint = &node.endpoint;
        exchange.tries(upstream, node, Instant::now());
        name_host(upstream, node, request.headers_mut());
        match connect(endpoint, exchange.host.as_ref(), timeouts.connect, &downstream.shared().metrics).await {
            Ok(connection) => {
                let mut sender = connection.detach();
                return match tokio::time::timeout(timeouts.read, sender.send_request(request)).await {
                    Ok(response) => response.map_err(ProxyError::Upstream),
                    Err(_) => Err(ProxyError::ReadTimeout),
                };
            }
            Err(error) if error.retryable() && exchange.may_retry(upstream, &error) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
