//! Asking a running process.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::explain::{Explanation, Question};

/// How long a process may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the process whose admin address is `url`.
///
/// # Errors
/// When it cannot be reached, or does not answer the question.
pub(super) fn ask(url: &str, question: &Question) -> anyhow::Result<Explanation> {
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority.with_context(|| format!("`{url}` must be like http://127.0.0.1:9091"))?;
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let body = serde_json::to_vec(question)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, post(&address, body)).await });
    let (status, body) = answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in {TIMEOUT:?}"))).with_context(|| {
        format!("cannot ask {address}; run this beside the process: kubectl exec DEPLOYMENT -- portcullis explain --live …")
    })?;
    if !status.is_success() {
        anyhow::bail!("{address} answers {status}: {}", String::from_utf8_lossy(&body).trim_end());
    }
    serde_json::from_slice(&body).with_context(|| format!("{address} answers something else; is it another version?"))
}

async fn post(address: &str, body: Vec<u8>) -> anyhow::Result<(http::StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::post("/debug/explain")
        .header(header::HOST, address)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let (parts, body) = sender.send_request(request).await?.into_parts();
    Ok((parts.status, body.collect().await?.to_bytes()))
}
