//! An upstream that remembers which requests it saw until they are accounted for.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::upstream::text;

/// How long the answer to a request with the query `slow` takes: long enough to be under way when something changes.
const SLOW: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<HashSet<String>>>,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        tokio::spawn(backend.clone().serve(listener));
        backend
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let seen = self.seen.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                seen.lock().unwrap().insert(request.uri().path().to_owned());
                async move {
                    if request.uri().query() == Some("slow") {
                        tokio::time::sleep(SLOW).await;
                    }
                    Ok::<_, Infallible>(Response::new(text("hello")))
                }
            });
            let builder = hyper::server::conn::http1::Builder::new();
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    }

    /// Whether the request for `path` arrived. It is forgotten.
    pub(crate) fn take(&self, path: &str) -> bool {
        self.seen.lock().unwrap().remove(path)
    }

    /// How many requests arrived that nobody has asked about.
    pub(crate) fn left(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}
