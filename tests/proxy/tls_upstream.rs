//! Upstreams that speak TLS, and say what they saw of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::pki::{Authority, Certified, PKI};
use crate::upstream::AnyBody;

/// A request as the upstream saw it, and the connection that it came on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// The connection, counted from 0.
    pub(crate) connection: usize,
    /// The `Host` or `:authority`.
    pub(crate) host: String,
    /// The client's own certificate.
    pub(crate) client: Option<CertificateDer<'static>>,
    pub(crate) sni: Option<String>,
}

pub(crate) struct TlsUpstream {
    pub(crate) address: SocketAddr,
    accepted: Arc<Mutex<usize>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl TlsUpstream {
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// TCP connections so far.
    pub(crate) fn accepted(&self) -> usize {
        *self.accepted.lock().unwrap()
    }
}

/// The server's side, with a certificate for `names`; where `clients` are given they must show one.
pub(crate) fn server_tls(names: &[&str], alpn: &[&str], clients: Option<&Authority>) -> Arc<ServerConfig> {
    let certified = PKI.servers.issue(names, ExtendedKeyUsagePurpose::ServerAuth);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(certified.chain.clone(), certified.private_key()).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A Secret with a certificate and its key.
pub(crate) fn certificate(name: &str, certified: &Certified) -> serde_json::Value {
    crate::objects::secret(name, &[("cert", &certified.pem), ("key", &certified.key.serialize_pem())])
}

/// An upstream that answers as `answer` says, over HTTP/2 where ALPN has chosen it.
pub(crate) async fn serve<F, A>(tls: Arc<ServerConfig>, answer: F) -> TlsUpstream
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, seen) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())));
    let upstream = TlsUpstream { address, accepted: accepted.clone(), seen: seen.clone() };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = {
                let mut accepted = accepted.lock().unwrap();
                *accepted += 1;
                *accepted - 1
            };
            let (answer, seen, tls) = (answer.clone(), seen.clone(), TlsAcceptor::from(tls.clone()));
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let (_, session) = stream.get_ref();
                let client = session.peer_certificates().map(|chain| chain[0].clone());
                let sni = session.server_name().map(str::to_owned);
                let http2 = session.alpn_protocol() == Some(b"h2");
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
                    let host = authority.or_else(|| Some(request.headers().get("host")?.as_bytes())).unwrap();
                    let host = String::from_utf8(host.to_vec()).unwrap();
                    seen.lock().unwrap().push(Seen { connection, host, client: client.clone(), sni: sni.clone() });
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let io = TokioIo::new(stream);
                if http2 {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(io, service).await;
                } else {
                    let builder = hyper::server::conn::http1::Builder::new();
                    let _ = builder.serve_connection(io, service).with_upgrades().await;
                }
            });
        }
    });
    upstream
}
