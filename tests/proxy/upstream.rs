//! Upstreams that record what they see.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

pub(crate) type AnyBody = BoxBody<Bytes, hyper::Error>;

pub(crate) fn text(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// A request as an upstream saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
    pub(crate) target: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// An upstream that answers everything with `hello`.
pub(crate) async fn hello() -> Recorder {
    serve(|_| async { Response::new(text("hello")) }).await
}

/// An upstream that answers as `answer` says.
pub(crate) async fn serve<F, A>(answer: F) -> Recorder
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<AnyBody>> + Send + 'static,
{
    serve_at(SocketAddr::from(([127, 0, 0, 1], 0)), answer).await.unwrap()
}

/// As [`serve`], at an address.
pub(crate) async fn serve_at<F, A>(address: SocketAddr, answer: F) -> std::io::Result<Recorder>
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder { address, connections: connections.clone(), seen: seen.clone() };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.fetch_add(1, Ordering::Relaxed);
            let (answer, seen) = (answer.clone(), seen.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let headers = request.headers().clone();
                    seen.lock().unwrap().push(Seen { headers, target: request.uri().to_string() });
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    });
    Ok(recorder)
}

/// An address where nobody listens. It stays bound, so that no other test gets its port.
pub(crate) fn nobody() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}
