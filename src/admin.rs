//! Health, metrics and debug pages, on an address of their own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::UnixTime;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::compile::Report;
use crate::explain::{Configuration, Question};
use crate::metrics::Metrics;
use crate::proxy::Settings;
use crate::readiness::Readiness;
use crate::snapshot::Current;

/// A scraper or a probe that is slower than this to send its request is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A question for `/debug/explain`: a client's chain at most.
const MAX_QUESTION: usize = 256 << 10;

/// The pages: `/livez`, `/readyz` (`?verbose` names every part), `/metrics`, and, for clients on this machine only,
/// `/debug/snapshot` and `/debug/explain`.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    pages: Arc<Pages>,
}

/// What the pages tell about.
#[derive(Debug)]
pub struct Pages {
    /// What is served.
    pub current: Arc<Current>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Which parts are ready.
    pub readiness: Readiness,
    /// What became of the objects.
    pub reports: watch::Receiver<Arc<Report>>,
    /// What requests are held to.
    pub settings: Settings,
}

impl Admin {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When the address is in use.
    pub async fn bind(address: SocketAddr, pages: Pages) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        Ok(Self { listener, pages: Arc::new(pages) })
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
                let service = service_fn(move |request: Request<Incoming>| {
                    let pages = pages.clone();
                    async move {
                        let explain = request.uri().path() == "/debug/explain" && is_local(&request, peer);
                        let response =
                            if explain { pages.explain(request).await } else { pages.answer(&request, peer) };
                        Ok::<_, Infallible>(response)
                    }
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
            "/debug/snapshot" if is_local(request, peer) => {
                let dump = serde_json::to_string_pretty(&self.current.load().dump()).unwrap_or_default();
                page(StatusCode::OK, "application/json", dump + "\n")
            }
            "/livez" => page(StatusCode::OK, "text/plain", "ok\n"),
            // The second is where APISIX has them.
            "/metrics" | "/apisix/prometheus/metrics" => {
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

impl Pages {
    /// Answers a [`Question`]. It must come as JSON by its content type: a page in a browser on this machine cannot send that
    /// without being asked first.
    async fn explain<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let is_json = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
        if request.method() != Method::POST || !is_json {
            let why = "POST a question as application/json: {\"url\": \"https://…\"}\n";
            return page(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text/plain", why);
        }
        let body = Limited::new(request.into_body(), MAX_QUESTION).collect();
        let Ok(Ok(body)) = tokio::time::timeout(HEADER_TIMEOUT, body).await else {
            return page(StatusCode::BAD_REQUEST, "text/plain", "the question is too long, or does not come\n");
        };
        let question: Question = match serde_json::from_slice(&body.to_bytes()) {
            Ok(question) => question,
            Err(error) => return page(StatusCode::BAD_REQUEST, "text/plain", format!("{error}\n")),
        };
        let (report, snapshot) = (self.reports.borrow().clone(), self.current.load_full());
        let configuration = Configuration { report: &report, settings: &self.settings, snapshot: &snapshot };
        match configuration.explain(&question, UnixTime::now()) {
            Ok(answer) => {
                let answer = serde_json::to_string_pretty(&answer).unwrap_or_default();
                page(StatusCode::OK, "application/json", answer + "\n")
            }
            Err(why) => page(StatusCode::BAD_REQUEST, "text/plain", why + "\n"),
        }
    }
}

/// Whether a request comes from this machine itself.
fn is_local<B>(request: &Request<B>, peer: SocketAddr) -> bool {
    peer.ip().is_loopback() && !is_forwarded(request.headers())
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

    fn pages(current: Arc<Current>, metrics: Arc<Metrics>) -> Pages {
        let (_, reports) = watch::channel(Arc::default());
        Pages { current, metrics, readiness: Readiness::default(), reports, settings: Settings::default() }
    }

    #[tokio::test]
    async fn a_question_is_answered_as_json_and_only_as_json() {
        let current = Arc::new(Current::default());
        let pages = pages(current.clone(), Arc::new(Metrics::new(current)));
        let ask = |kind: &str, body: String| {
            let request = Request::post("/debug/explain").header("content-type", kind);
            pages.explain(request.body(Full::new(Bytes::from(body))).unwrap())
        };
        let question = r#"{"url": "https://a.test/"}"#.to_owned();
        let answer = ask("application/json", question.clone()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["served"], false);
        for (kind, question) in [
            ("text/plain", question),
            ("application/json", r#"{"url": "nonsense"}"#.to_owned()),
            ("application/json", r#"{"url": "https://a.test/", "key": "?"}"#.to_owned()),
            ("application/json", " ".repeat(MAX_QUESTION + 1)),
        ] {
            assert!(ask(kind, question).await.status().is_client_error());
        }
    }

    #[test]
    fn the_snapshot_is_for_this_machine_and_not_for_what_a_proxy_on_it_passes_on() {
        let current = Arc::new(Current::default());
        let metrics = Arc::new(Metrics::new(current.clone()));
        let pages = pages(current, metrics);
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
