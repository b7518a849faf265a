//! The least that a proxy of our libraries can be: hyper, its client and rustls, put together without a configuration, a
//! log, metrics, limits or deadlines. What Portcullis does beyond that shows beside it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::server::{Launch, Scene, write};

/// How this program is told to be the proxy.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Serves as the naive proxy with the certificates of this folder, instead of measuring.
    #[arg(long, hide = true, requires_all = ["naive_address", "naive_backend"])]
    naive: Option<PathBuf>,
    #[arg(long, hide = true)]
    naive_address: Option<SocketAddr>,
    #[arg(long, hide = true)]
    naive_backend: Option<SocketAddr>,
}

impl Options {
    /// Serves until the process is ended, if that is what was asked for. Needs a runtime of one thread.
    pub(crate) fn serve(&self) -> Option<impl Future<Output = anyhow::Result<()>> + use<>> {
        Some(serve(self.naive.clone()?, self.naive_address?, self.naive_backend?))
    }
}

pub(crate) fn version() -> String {
    "naive: hyper, hyper-util's client and rustls, of this build".to_owned()
}

/// Writes the certificates to `folder`.
pub(crate) fn launch(folder: &Path, address: SocketAddr, scene: &Scene) -> anyhow::Result<Launch> {
    let certificates = &scene.certificates;
    write(folder, "server.pem", &certificates.server.certificate)?;
    write(folder, "server.key", &certificates.server.key)?;
    write(folder, "authority.pem", &certificates.authority)?;
    let mut command: Vec<OsString> = vec![std::env::current_exe()?.into(), "--bench".into()];
    command.extend(["--naive".into(), folder.as_os_str().to_owned()]);
    command.extend(["--naive-address".into(), address.to_string().into()]);
    command.extend(["--naive-backend".into(), scene.backend.to_string().into()]);
    Ok(Launch { command, ready: None })
}

async fn serve(folder: PathBuf, address: SocketAddr, backend: SocketAddr) -> anyhow::Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&fs::read(folder.join("authority.pem"))?)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients.allow_unauthenticated().build()?)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(&fs::read(folder.join("server.pem"))?)?],
            PrivateKeyDer::from_pem_slice(&fs::read(folder.join("server.key"))?)?,
        )?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.send_tls13_tickets = 1; // as the others
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(320).build(connector);
    let listener = TcpListener::bind(address).await?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("accept")?;
                tokio::spawn(connection(stream, acceptor.clone(), client.clone(), backend));
            }
            _ = terminate.recv() => return Ok(()),
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, client: Upstream, backend: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let session = stream.get_ref().1;
    let (known, http2) = (session.peer_certificates().is_some(), session.alpn_protocol() == Some(b"h2"));
    let service = service_fn(move |request| answer(request, known, client.clone(), backend));
    // A connection's error is seen by the client, whose answer is then wrong.
    if http2 {
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

type Upstream = Client<HttpConnector, Incoming>;

async fn answer(
    mut request: Request<Incoming>,
    known: bool,
    client: Upstream,
    backend: SocketAddr,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
    let refuse = |status: StatusCode| {
        let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
        *response.status_mut() = status;
        Ok(response)
    };
    if !known {
        return refuse(StatusCode::BAD_REQUEST);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = Uri::builder().scheme("http").authority(backend.to_string()).path_and_query(path).build() else {
        return refuse(StatusCode::BAD_REQUEST);
    };
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    match client.request(request).await {
        Ok(response) => Ok(response.map(BodyExt::boxed)),
        Err(_) => refuse(StatusCode::BAD_GATEWAY),
    }
}
