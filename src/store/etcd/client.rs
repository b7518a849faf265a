//! Requests to etcd's JSON gateway.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use super::connect::Endpoint;
use super::message::{Authenticated, Refusal, bytes};
use super::tls::Files;

/// Bytes of an answer. etcd's own limit is 1.5 MiB for a value, and pages are of 100 keys.
pub(super) const MAX_ANSWER: usize = 256 << 20;

/// How long a connection to one endpoint may take, while there are others.
const CONNECT: Duration = Duration::from_secs(5);

/// Whether a request may be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Only when it was certainly not sent.
    Unsent,
    /// Always: it changes nothing.
    Safe,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was sent, or may have been.
    NoAnswer(String),
    /// etcd said no.
    Refused(Refusal),
    /// It was not sent.
    Unsent(String),
}

impl Failure {
    /// Whether etcd does not know who we are any more: the token is too old, or was made by an etcd before a restart.
    fn is_about_token(&self) -> bool {
        const UNAUTHENTICATED: i64 = 16;
        let about =
            |text: &str| ["invalid auth token", "revision of auth store is old"].iter().any(|part| text.contains(part));
        matches!(self, Self::Refused(refusal) if refusal.code == UNAUTHENTICATED || about(&refusal.message))
    }

    /// Whether another endpoint may do better.
    fn is_of_this_endpoint(&self) -> bool {
        const DEADLINE_EXCEEDED: i64 = 4;
        const UNAVAILABLE: i64 = 14;
        match self {
            Self::NoAnswer(_) | Self::Unsent(_) => true,
            Self::Refused(refusal) => [DEADLINE_EXCEEDED, UNAVAILABLE].contains(&refusal.code),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(why) | Self::Unsent(why) => f.write_str(why),
            Self::Refused(refusal) => f.write_str(&refusal.message),
        }
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// A client of the endpoints of one etcd.
pub(super) struct Client {
    endpoints: Vec<Endpoint>,
    files: Arc<Files>,
    /// The connection of the last request, and its endpoint.
    kept: Mutex<Option<(usize, Sender)>>,
    timeout: Duration,
    token: Mutex<Option<HeaderValue>>,
    /// A user and a password.
    user: Option<(String, String)>,
    /// The endpoint that answered last.
    working: AtomicUsize,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(
        endpoints: Vec<Endpoint>,
        files: Files,
        user: Option<(String, String)>,
        timeout: Duration,
    ) -> Self {
        Self {
            endpoints,
            files: Arc::new(files),
            kept: Mutex::default(),
            timeout,
            token: Mutex::default(),
            user,
            working: AtomicUsize::new(0),
        }
    }

    /// How long a request may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks the endpoints in turn, beginning with the one that answered last.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        path: &'static str,
        body: &impl Serialize,
        repeat: Repeat,
    ) -> Result<T, Failure> {
        let body = Bytes::from(bytes(body));
        let share = self.timeout / u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX);
        let in_turn = async {
            let first = self.working.load(Ordering::Relaxed);
            let mut last = Failure::Unsent("there is no endpoint".to_owned());
            for turn in 0..self.endpoints.len() {
                let index = (first + turn) % self.endpoints.len();
                let asked = self.ask_one(index, path, &body, repeat);
                let answer = match repeat {
                    Repeat::Safe => timeout(share, asked).await.unwrap_or_else(|_| Err(self.late(index, share))),
                    Repeat::Unsent => asked.await,
                };
                match answer {
                    Ok(answer) => {
                        self.working.store(index, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(failure) => {
                        let again = matches!(failure, Failure::Unsent(_)) || repeat == Repeat::Safe;
                        if !again || !failure.is_of_this_endpoint() {
                            return Err(failure);
                        }
                        last = failure;
                    }
                }
            }
            Err(last)
        };
        let late = |_| Err(self.late(self.working.load(Ordering::Relaxed), self.timeout));
        timeout(self.timeout, in_turn).await.unwrap_or_else(late)
    }

    fn late(&self, index: usize, limit: Duration) -> Failure {
        Failure::NoAnswer(format!("{}: no answer within {limit:?}", self.endpoints[index].authority))
    }

    /// Asks one endpoint, with a new token where the one that we have is not valid any more. Takes as long as it takes.
    pub(super) async fn ask_one<T: DeserializeOwned>(
        &self,
        index: usize,
        path: &'static str,
        body: &Bytes,
        repeat: Repeat,
    ) -> Result<T, Failure> {
        let token = self.token(index).await?;
        match self.exchange(index, path, body, token.as_ref(), repeat).await {
            Err(failure) if self.user.is_some() && failure.is_about_token() => {
                self.forget_token();
                let token = self.token(index).await?;
                self.exchange(index, path, body, token.as_ref(), repeat).await
            }
            answer => answer,
        }
    }

    /// Begins a request to `index` whose answer does not end.
    pub(super) async fn stream(
        &self,
        index: usize,
        path: &'static str,
        body: &impl Serialize,
    ) -> Result<Incoming, Failure> {
        let begin = async {
            let token = self.token(index).await?;
            let mut sender = self.open(index).await?;
            let request = self.request(index, path, &Bytes::from(bytes(body)), token.as_ref());
            let answer = sender.send_request(request).await.map_err(|error| self.no_answer(index, &error))?;
            if answer.status().is_success() {
                return Ok(answer.into_body());
            }
            Err(self.refusal(index, answer).await)
        };
        timeout(self.timeout, begin).await.unwrap_or_else(|_| Err(self.late(index, self.timeout)))
    }

    /// The endpoint that answered last.
    pub(super) fn working(&self) -> usize {
        self.working.load(Ordering::Relaxed)
    }

    /// The name of an endpoint.
    pub(super) fn endpoint(&self, index: usize) -> &str {
        self.endpoints[index].authority.as_str()
    }

    /// Begins with another endpoint the next time: `index` does not do.
    pub(super) fn avoid(&self, index: usize) {
        let next = (index + 1) % self.endpoints.len();
        let _ = self.working.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Asks for a new token before the next request.
    pub(super) fn forget_token(&self) {
        *lock(&self.token) = None;
    }

    async fn token(&self, index: usize) -> Result<Option<HeaderValue>, Failure> {
        let Some((name, password)) = &self.user else { return Ok(None) };
        let known = lock(&self.token).clone();
        if known.is_some() {
            return Ok(known);
        }
        let body = Bytes::from(bytes(&json!({ "name": name, "password": password })));
        let answer = self.exchange(index, "/v3/auth/authenticate", &body, None, Repeat::Safe).await;
        let unusable = |why: String| Failure::Unsent(format!("cannot log in to etcd as `{name}`: {why}"));
        let answer: Authenticated = answer.map_err(|failure| match failure {
            // What was to be sent after it was not sent.
            Failure::NoAnswer(why) | Failure::Unsent(why) => unusable(why),
            Failure::Refused(refusal) => {
                Failure::Refused(Refusal { message: unusable(refusal.message).to_string(), ..refusal })
            }
        })?;
        let mut token =
            HeaderValue::from_str(&answer.token).map_err(|_| unusable("the token is no field".to_owned()))?;
        token.set_sensitive(true);
        *lock(&self.token) = Some(token.clone());
        Ok(Some(token))
    }

    /// Sends a request over the connection that is kept, else over a new one.
    async fn exchange<T: DeserializeOwned>(
        &self,
        index: usize,
        path: &'static str,
        body: &Bytes,
        token: Option<&HeaderValue>,
        repeat: Repeat,
    ) -> Result<T, Failure> {
        if let Some(mut sender) = self.take_kept(index).await {
            let request = self.request(index, path, body, token);
            match sender.try_send_request(request).await {
                Ok(answer) => return self.finish(index, sender, answer).await,
                Err(mut error) => {
                    let unsent = error.take_message().is_some();
                    if !unsent && repeat == Repeat::Unsent {
                        return Err(self.no_answer(index, error.error()));
                    }
                }
            }
        }
        let mut sender = self.open(index).await?;
        let request = self.request(index, path, body, token);
        let answer = sender.send_request(request).await.map_err(|error| self.no_answer(index, &error))?;
        self.finish(index, sender, answer).await
    }

    async fn take_kept(&self, index: usize) -> Option<Sender> {
        let (endpoint, mut sender) = lock(&self.kept).take()?;
        let usable = endpoint == index && sender.ready().await.is_ok();
        usable.then_some(sender)
    }

    async fn open(&self, index: usize) -> Result<Sender, Failure> {
        let endpoint = &self.endpoints[index];
        let limit = self.timeout.min(CONNECT);
        let opened = timeout(limit, endpoint.open(&self.files)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("no connection within {limit:?}")));
        opened.map_err(|why| Failure::Unsent(format!("{}: {why}", endpoint.authority)))
    }

    fn request(
        &self,
        index: usize,
        path: &'static str,
        body: &Bytes,
        token: Option<&HeaderValue>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static(path);
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(self.endpoints[index].authority.as_str()) {
            headers.insert(HOST, host);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        request
    }

    async fn finish<T: DeserializeOwned>(
        &self,
        index: usize,
        sender: Sender,
        answer: Response<Incoming>,
    ) -> Result<T, Failure> {
        if !answer.status().is_success() {
            return Err(self.refusal(index, answer).await);
        }
        let body = self.collect(index, answer).await?;
        *lock(&self.kept) = Some((index, sender));
        let not_json = |error| format!("{}: the answer is none of etcd's: {error}", self.endpoint(index));
        serde_json::from_slice(&body).map_err(|error| Failure::NoAnswer(not_json(error)))
    }

    async fn refusal(&self, index: usize, answer: Response<Incoming>) -> Failure {
        let status = answer.status();
        match self.collect(index, answer).await {
            Ok(body) => Failure::Refused(serde_json::from_slice(&body).unwrap_or_else(|_| {
                let message = format!("{}: answers with status {status}", self.endpoint(index));
                Refusal { code: 0, message }
            })),
            Err(failure) => failure,
        }
    }

    async fn collect(&self, index: usize, answer: Response<Incoming>) -> Result<Bytes, Failure> {
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Failure::NoAnswer(format!("{}: {error}", self.endpoint(index))))?;
        Ok(body.to_bytes())
    }

    fn no_answer(&self, index: usize, error: &hyper::Error) -> Failure {
        Failure::NoAnswer(format!("{}: {error}", self.endpoint(index)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
