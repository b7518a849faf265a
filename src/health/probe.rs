//! One question to one endpoint.

use std::io;
use std::net::SocketAddr;

use http::header::{CONNECTION, HOST, USER_AGENT};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::model::{ActiveCheck, CheckKind, Sign};
use crate::snapshot::{Target, server_name};

/// Bytes of an answer's head; the body is not read.
const MAX_HEAD: usize = 16 << 10;

const OURS: HeaderValue = HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION")));

/// What an endpoint's answer is a sign of; `None` where it is none.
pub(super) async fn probe(target: &Target) -> Option<Sign> {
    let active = &target.checks.id.check.active;
    match timeout(active.timeout, ask(target, active)).await {
        Ok(Ok(None)) => Some(Sign::Success),
        Ok(Ok(Some(status))) => active.criteria.judge(status.as_u16()),
        Ok(Err(sign)) => Some(sign),
        Err(_) => Some(Sign::Timeout),
    }
}

/// The status of the answer; `None` where a connection is answer enough. Redirects are not followed: their status is the answer.
async fn ask(target: &Target, active: &ActiveCheck) -> Result<Option<StatusCode>, Sign> {
    let stream = connect(target.endpoint.address, active.port).await.map_err(|_| Sign::TcpFailure)?;
    let request = request(&target.host, active);
    match active.kind {
        CheckKind::Tcp => Ok(None),
        CheckKind::Http => get(stream, request).await.map(Some),
        CheckKind::Https { .. } => {
            let stream = tls(target, stream).await.map_err(|_| Sign::TcpFailure)?; // APISIX
            get(stream, request).await.map(Some)
        }
    }
}

async fn connect(address: SocketAddr, port: Option<u16>) -> io::Result<TcpStream> {
    TcpStream::connect(SocketAddr::new(address.ip(), port.unwrap_or(address.port()))).await
}

/// TLS for the name of the `Host` that is asked.
async fn tls(target: &Target, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let host = target.host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    let name = host.as_ref().and_then(|host| server_name(host.host(), target.endpoint.address));
    let (Some(name), Some(tls)) = (name, &target.checks.id.tls) else { return Err(io::ErrorKind::InvalidInput.into()) };
    TlsConnector::from(tls.config.clone()).connect(name, stream).await
}

fn request(host: &HeaderValue, active: &ActiveCheck) -> Request<Empty<&'static [u8]>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = active.path.parse().unwrap_or_default(); // was read before
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(HOST, host.clone());
    headers.insert(USER_AGENT, OURS);
    let mut last = None;
    for (name, value) in &active.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(&**name), HeaderValue::from_str(value)) else { continue };
        if last.as_ref() == Some(&name) {
            headers.append(name, value);
        } else {
            headers.insert(&name, value);
            last = Some(name);
        }
    }
    request
}

async fn get<S>(stream: S, request: Request<Empty<&'static [u8]>>) -> Result<StatusCode, Sign>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |error: hyper::Error| if error.is_parse() { Sign::HttpFailure } else { Sign::TcpFailure };
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        biased;
        answer = &mut answer => Ok(answer.map_err(failed)?.status()),
        ended = connection => match ended {
            // The connection can be over once the answer is there.
            Ok(()) => Ok(answer.await.map_err(failed)?.status()),
            Err(error) => Err(failed(error)),
        }
    }
}
