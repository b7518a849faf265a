//! What is answered to whom.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::{Body, Bytes};

use super::answer::{Answer, html_page};
use super::gate;
use super::keys::Keys;
use super::settings::Settings;
use crate::keyring::Keyring;
use crate::store::Store;

/// The API, without its socket.
#[derive(Debug)]
pub(super) struct Api {
    keyring: Arc<Keyring>,
    keys: Keys,
    settings: Settings,
    store: Store,
}

impl Api {
    pub(super) fn new(settings: Settings, store: Store, keyring: Arc<Keyring>) -> io::Result<Self> {
        Ok(Self { keyring, keys: Keys::new(&settings)?, settings, store })
    }

    /// Answers a request of `peer`, whose certificate names `subject` where one is asked for.
    pub(super) async fn answer<B>(&self, request: Request<B>, peer: SocketAddr, subject: Option<String>) -> Answer
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        if !gate::admits(&self.settings, peer) {
            return html_page(StatusCode::FORBIDDEN, "403 Forbidden");
        }
        let (parts, body) = request.into_parts();
        let _caller = match gate::caller(&self.settings, &self.keys, &parts) {
            Ok(caller) => caller,
            Err(failure) => return failure.into(),
        };
        let _ = (body, subject, &self.keyring, &self.store);
        html_page(StatusCode::NOT_FOUND, "404 Not Found")
    }
}
