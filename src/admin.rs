//! Health, metrics and debug pages, on an address of their own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::snapshot::Current;

/// A scraper or a probe that is slower than this to send its request is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The pages: `/livez`, `/readyz` (`?verbose` names every part), `/metrics`, and, for clients on this machine only,
/// `/debug/snapshot`.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    pages: Arc<Pages>,
}

#[derive(Debug)]
struct Pages {
    current: Arc<Current>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
}

impl Admin {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When the address is in use.
    pub async fn bind(
        address: SocketAddr,
        current: Arc<Current>,
        metrics: Arc<Metrics>,
        readiness: Readiness,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        Ok(Self { listener, pages: Arc::new(Pages { current, metrics, readiness }) })
    }

    /// Serves until it is cancelled.
    pub async fn run(self) {
        loop {
            let Ok((stream, peer)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await; // out of file descriptors: let some be closed
                continue;
            };
            let pages = self.pages.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = pages.answer(&request, peer);
                    async move { Ok::<_, Infallible>(response) }
                });
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(8192);
                // A prober that hangs up is no event.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }
}

impl Pages {
    fn answer<B>(&self, request: &Request<B>, peer: SocketAddr) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET is served\n");
        }
        let verbose = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "verbose"));
        match request.uri().path() {
            "/debug/snapshot" if peer.ip().is_loopback() && !is_forwarded(request.headers()) => {
                let dump = serde_json::to_string_pretty(&self.current.load().dump()).unwrap_or_default();
                page(StatusCode::OK, "application/json", dump + "\n")
            }
            "/livez" => page(StatusCode::OK, "text/plain", "ok\n"),
            "/metrics" => {
                let metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                page(StatusCode::OK, metrics, self.metrics.encode())
            }
            "/readyz" => {
                let status = if self.readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                page(status, "text/plain", self.readiness.to_text(verbose))
            }
            _ => page(StatusCode::NOT_FOUND, "text/plain", "there are /livez, /readyz and /metrics\n"),
        }
    }
}

/// Whether a proxy passed the request on. A route may lead our own proxy to this address (an `ExternalName` of `localhost`):
/// its clients would then come from this machine. It never passes a request on without these fields.
fn is_forwarded(headers: &HeaderMap) -> bool {
    ["forwarded", "via", "x-forwarded-for", "x-real-ip"].iter().any(|name| headers.contains_key(*name))
}

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_is_for_this_machine_and_not_for_what_a_proxy_on_it_passes_on() {
        let current = Arc::new(Current::default());
        let metrics = Arc::new(Metrics::new(current.clone()));
        let pages = Pages { current, metrics, readiness: Readiness::default() };
        let status = |peer: [u8; 4], field: Option<&str>| {
            let request = Request::get("/debug/snapshot");
            let request = field.into_iter().fold(request, |request, name| request.header(name, "x")).body(()).unwrap();
            pages.answer(&request, (peer, 1).into()).status()
        };
        assert_eq!(status([127, 0, 0, 1], None), StatusCode::OK);
        assert_eq!(status([192, 0, 2, 1], None), StatusCode::NOT_FOUND);
        for field in ["Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"] {
            assert_eq!(status([127, 0, 0, 1], Some(field)), StatusCode::NOT_FOUND, "{field}");
        }
    }
}
