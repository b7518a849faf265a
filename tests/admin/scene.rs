//! A running Admin API, and calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portcullis::admin_api::{AdminApi, ApiKey, PUBLIC_KEY, Role, Settings};
use portcullis::keyring::Keyring;
use portcullis::source::apisix;
use portcullis::store::{Etcd, EtcdOptions, EtcdTls, Memory, Store};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long enough on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A running Admin API and what it stores.
pub(crate) struct Scene {
    pub(crate) address: SocketAddr,
    pub(crate) memory: Memory,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: String,
    pub(crate) headers: HeaderMap,
    pub(crate) status: StatusCode,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The status and the error's text.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error_msg"].as_str().unwrap_or(&self.body).to_owned())
    }
}

/// Settings for tests: a free port, streams, APISIX's key and one for reading.
pub(crate) fn settings() -> Settings {
    let key = |key: &str, role| ApiKey { key: key.to_owned(), name: key.to_owned(), role };
    Settings {
        keys: vec![key(PUBLIC_KEY, Role::Admin), key("4054f7cf07e344346cd3f287985e76a2", Role::Viewer)],
        listen: ([127, 0, 0, 1], 0).into(),
        streams: true,
        ..Settings::default()
    }
}

pub(crate) fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::new(&["0123456789abcdef".to_owned()]).unwrap())
}

/// Starts the API as the program has it.
async fn serve(settings: Settings, store: Store) -> SocketAddr {
    let check = |resources: &[_]| apisix::check(resources, &keyring()).map_err(|why| why.to_string());
    let api = AdminApi::bind(settings, store, keyring()).await.unwrap();
    let address = api.local_addr().unwrap();
    tokio::spawn(api.checked_by(Box::new(check)).run());
    address
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::with(settings()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::over(settings, Memory::default()).await
    }

    /// With a store that others use too.
    pub(crate) async fn over(settings: Settings, memory: Memory) -> Self {
        let address = serve(settings, Store::Memory(memory.clone())).await;
        Self { address, memory }
    }

    /// With etcd where nothing listens.
    pub(crate) async fn without_store() -> Self {
        let options = EtcdOptions {
            folder: None,
            hosts: vec!["http://127.0.0.1:1".to_owned()],
            prefix: "/apisix".to_owned(),
            timeout: LONG,
            tls: EtcdTls::default(),
            user: None,
        };
        let store = Store::Etcd(Etcd::start(options).unwrap());
        Self { address: serve(settings(), store).await, memory: Memory::default() }
    }

    /// A call with APISIX's key.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(self.request(method, path).body(body.into()).unwrap()).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let path = format!("/apisix/admin{path}");
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("x-api-key", PUBLIC_KEY)
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        send_over(TcpStream::connect(self.address).await.unwrap(), request).await
    }

    /// What the store holds under a key.
    pub(crate) fn stored(&self, key: &str) -> Option<Value> {
        self.memory.get(key).map(|entry| serde_json::from_str(&entry.value).unwrap())
    }
}

/// One request over one connection.
pub(crate) async fn send_over<S>(stream: S, request: Request<Full<Bytes>>) -> Answer
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { body: String::from_utf8(body.to_vec()).unwrap(), headers: parts.headers, status: parts.status }
    };
    timeout(LONG, exchange).await.unwrap()
}
