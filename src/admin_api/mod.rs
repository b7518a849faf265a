//! APISIX's Admin API: resources over HTTP, in a [`Store`]. Who calls is asked for its address, then for its key, and on an address with
//! `admin_ssl_ca_cert` before both for its certificate. Nothing that is answered or logged holds a private key.

mod answer;
mod api;
mod body;
mod configs;
mod gate;
mod keys;
mod list;
mod openapi;
mod patch;
mod query;
mod resources;
mod settings;
mod target;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use self::answer::{Answer, html_page};
use self::api::Api;
use self::tls::Tls;
use crate::keyring::Keyring;
use crate::store::Store;
use crate::trust::Refusal;

pub use self::keys::PUBLIC_KEY;
pub use self::resources::Check;
pub use self::settings::{ApiKey, Mode, Role, Settings, TlsFiles};

/// Connections at a time; more are closed.
const CONNECTIONS: usize = 256;

/// The same of clients whose addresses are not let in: they take no one's place, and are only told so.
const STRANGERS: usize = 16;

/// How long a connection may last: whoever does not read its answers gives its place back.
const LIFETIME: Duration = Duration::from_secs(600);

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long the head of a request may take, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);

/// The largest head of a request, in bytes.
const LARGEST_HEAD: usize = 32 << 10;

/// A bound Admin API.
#[derive(Debug)]
pub struct AdminApi {
    listener: TcpListener,
    service: Service,
}

#[derive(Debug)]
struct Service {
    api: Api,
    tls: Option<Tls>,
}

impl AdminApi {
    /// Listens.
    ///
    /// # Errors
    /// When the address is in use, or a file of `settings.tls` or the file of the made key cannot be used.
    pub async fn bind(settings: Settings, store: Store, keyring: Arc<Keyring>) -> anyhow::Result<Self> {
        let address = settings.listen;
        let tls =
            settings.tls.clone().map(Tls::open).transpose().context("the Admin API has no certificate to show")?;
        let api = Api::new(settings, store, keyring).context("the Admin API has no key")?;
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on {address} for the Admin API"))?;
        Ok(Self { listener, service: Service { api, tls } })
    }

    /// The same, refusing what `check` refuses: what is valid by itself may be more than can be served.
    #[must_use]
    pub fn checked_by(mut self, check: Check) -> Self {
        self.service.api.checked_by(check);
        self
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is cancelled.
    pub async fn run(self) {
        let [room, strangers] = [CONNECTIONS, STRANGERS].map(|places| Arc::new(Semaphore::new(places)));
        let service = Arc::new(self.service);
        loop {
            let Ok((stream, peer)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await; // out of file descriptors: let some be closed
                continue;
            };
            let places = if service.api.admits(peer) { &room } else { &strangers };
            if let Ok(permit) = places.clone().try_acquire_owned() {
                tokio::spawn(service.clone().serve(stream, peer, permit));
            }
        }
    }
}

impl Service {
    /// Serves a connection.
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, _permit: OwnedSemaphorePermit) {
        let Some(tls) = &self.tls else { return self.http(stream, peer, &[]).await };
        match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
                self.http(stream, peer, &chain).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, "the TLS handshake with the Admin API failed: {error}"),
            Err(_) => tracing::debug!(%peer, "the TLS handshake with the Admin API took too long"),
        }
    }

    async fn http<S>(&self, stream: S, peer: SocketAddr, chain: &[CertificateDer<'static>])
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let service = service_fn(|request| async move { Ok::<_, Infallible>(self.answer(request, peer, chain).await) });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(LARGEST_HEAD);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        // A client that hangs up is no event.
        if timeout(LIFETIME, &mut connection).await.is_err() {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(HEAD, connection).await;
        }
    }

    /// Judges the client's certificate, for each request anew: an authority that was taken out of the file vouches for nobody any more.
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr, chain: &[CertificateDer<'static>]) -> Answer {
        match self.tls.as_ref().map_or(Ok(None), |tls| tls.judge(chain)) {
            Ok(subject) => self.api.answer(request, peer, subject).await,
            Err(refusal) => {
                tracing::warn!(
                    "the Admin API refuses a client: {}, client: {}",
                    refusal.to_string().escape_debug(),
                    peer.ip()
                );
                let title = match refusal {
                    Refusal::NotPresent => "400 No required SSL certificate was sent",
                    Refusal::NotVerified { .. } => "400 The SSL certificate error",
                };
                html_page(StatusCode::BAD_REQUEST, title)
            }
        }
    }
}
