//! A proxy between a raw client and a raw upstream.

use std::time::Duration;

use portcullis::proxy::Settings;
use portcullis::snapshot::Policy;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{tls, tls_config};
use crate::recorder::{OK, Recorder, essence};
use crate::scene::{Scene, config, endpoint, route, settings};

pub(crate) const HOST: &str = "h.test";

/// A proxy that sends every host's requests to one upstream.
pub(crate) struct Range {
    pub(crate) scene: Scene,
    pub(crate) upstream: Recorder,
}

/// A connection of bytes.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytes for S {}

/// How a client connects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Plaintext,
    Tls,
}

impl Way {
    /// What is served on a plaintext listener is held to what is served over TLS.
    pub(crate) const BOTH: [Self; 2] = [Self::Plaintext, Self::Tls];
}

impl Range {
    pub(crate) async fn new(answer: &'static str) -> Self {
        Self::with(answer, |_| {}).await
    }

    /// A proxy with other settings than usual.
    pub(crate) async fn with(answer: &'static str, change: impl FnOnce(&mut Settings)) -> Self {
        let upstream = Recorder::new(answer).await;
        // What is waited for in vain, an accepted request's body among it, is not waited for long.
        let patience = Duration::from_millis(500);
        let mut settings = Settings { body_timeout: patience, idle_timeout: patience, ..settings() };
        change(&mut settings);
        let config = config().tls(HOST, Policy::Open).route("any", route(&[endpoint(upstream.address)]));
        Self { scene: config.start_with(settings), upstream }
    }

    /// A connection for HTTP/2, which has not begun yet.
    pub(crate) async fn http2(&self, way: Way) -> Box<dyn Bytes> {
        match way {
            Way::Plaintext => {
                let stream = TcpStream::connect(self.scene.http).await.unwrap();
                stream.set_nodelay(true).unwrap();
                Box::new(stream)
            }
            Way::Tls => Box::new(tls(self.scene.https, HOST, tls_config("h2", None)).await.unwrap()),
        }
    }

    /// Sends `bytes` on a new connection and reads until the proxy closes it.
    pub(crate) async fn send(&self, way: Way, bytes: &[u8]) -> String {
        match way {
            Way::Plaintext => exchange(TcpStream::connect(self.scene.http).await.unwrap(), bytes).await,
            Way::Tls => exchange(tls(self.scene.https, HOST, tls_config("http/1.1", None)).await.unwrap(), bytes).await,
        }
    }
}

pub(crate) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> String {
    let mut answer = Vec::new();
    let talk = async {
        // The proxy may have heard enough, and a reset is as good as an end.
        let _ = stream.write_all(bytes).await;
        let _ = stream.read_to_end(&mut answer).await;
    };
    tokio::time::timeout(Duration::from_secs(5), talk).await.expect("the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// What follows every refused request: it must not be taken for a request of its own.
pub(crate) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n";

/// Asserts that each request is answered with its status and that the upstream hears nothing of it, nor of what follows it.
pub(crate) async fn refused(cases: &[(u16, &str)]) {
    let range = Range::new(OK).await;
    for way in [Way::Plaintext, Way::Tls] {
        for (status, request) in cases {
            let answer = range.send(way, format!("{request}{SMUGGLED}").as_bytes()).await;
            let answered = answer.split(' ').nth(1);
            assert_eq!(answered, Some(&*status.to_string()), "{way:?} {request:?} -> {answer:?}");
            assert_eq!(answer.matches("HTTP/1.").count(), 1, "{way:?} {request:?} -> {answer:?}");
            assert_eq!(range.upstream.connections(), 0, "{way:?} {request:?}");
        }
    }
}

/// Asserts that each request is served, and what the upstream receives of it.
pub(crate) async fn passed(cases: &[(&str, &str)]) {
    let mut range = Range::new(OK).await;
    for way in [Way::Plaintext, Way::Tls] {
        for (request, expected) in cases {
            let answer = range.send(way, request.as_bytes()).await;
            assert!(answer.contains(" 200 OK\r\n"), "{way:?} {request:?} -> {answer:?}");
            let received = range.upstream.next().await;
            assert_eq!(essence(&received), *expected, "{way:?} {request:?}");
        }
    }
}
