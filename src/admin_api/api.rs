//! What is answered to whom.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::{Body, Bytes};
use serde_json::{Value, json};

use super::answer::{Answer, Failure, html_page, json_page, page};
use super::body;
use super::configs::{self, Configs};
use super::gate;
use super::keys::Keys;
use super::openapi;
use super::query::Query;
use super::resources::{Check, Outcome, Resources};
use super::settings::{Mode, Settings};
use super::target::{Place, Target, title};
use crate::keyring::Keyring;
use crate::resource::{self, Kind};
use crate::store::Store;

/// APISIX's managers of secrets, of which none is built.
pub(super) const SECRET_MANAGERS: [&str; 3] = ["vault", "aws", "gcp"];

/// The API, without its socket.
#[derive(Debug)]
pub(super) struct Api {
    configs: Configs,
    keys: Keys,
    resources: Resources,
    settings: Settings,
}

/// Who calls, for the log.
struct Caller {
    key: String,
    peer: SocketAddr,
    /// The name in the client's certificate.
    subject: Option<String>,
}

impl Api {
    pub(super) fn new(settings: Settings, store: Store, keyring: Arc<Keyring>) -> io::Result<Self> {
        let resources = Resources::new(settings.prefix.clone(), store, keyring);
        Ok(Self { configs: Configs::default(), keys: Keys::new(&settings)?, resources, settings })
    }

    /// Whether clients of this address are let in.
    pub(super) fn admits(&self, peer: SocketAddr) -> bool {
        gate::admits(&self.settings, peer)
    }

    /// Refuses from now on what `check` refuses.
    pub(super) fn checked_by(&mut self, check: Check) {
        self.resources.check = Some(check);
    }

    /// Answers a request of `peer`, whose certificate names `subject` where one is asked for.
    pub(super) async fn answer<B>(&self, request: Request<B>, peer: SocketAddr, subject: Option<String>) -> Answer
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        if !self.admits(peer) {
            return html_page(StatusCode::FORBIDDEN, "403 Forbidden");
        }
        if self.settings.cors && request.method() == Method::OPTIONS {
            return with_cors(page(StatusCode::OK, "text/plain", ""));
        }
        let answer = self.admitted(request, peer, subject).await;
        if self.settings.cors { with_cors(answer) } else { answer }
    }

    async fn admitted<B>(&self, request: Request<B>, peer: SocketAddr, subject: Option<String>) -> Answer
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let (parts, body) = request.into_parts();
        let target = Target::parse(parts.uri.path());
        if !self.has_route(&parts.method, &target) {
            return html_page(StatusCode::NOT_FOUND, "404 Not Found");
        }
        if target == Target::Root {
            return page(StatusCode::OK, "application/json", "");
        }
        let key = match gate::caller(&self.settings, &self.keys, &parts) {
            Ok(key) => key,
            Err(failure) => {
                tracing::warn!("the Admin API refuses a call: {}, client: {}", failure.body["description"], peer.ip());
                return failure.into();
            }
        };
        let caller = Caller { key, peer, subject };
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let answer = match body::read(body).await {
            Ok(body) => self.call(&parts.method, &target, &parts.headers, &body, &query).await,
            Err(failure) => Err(failure),
        };
        if writes(&parts.method, &target) {
            caller.note(&parts.method, parts.uri.path(), answer.as_ref());
        }
        let mut answer = answer.unwrap_or_else(Answer::from);
        answer.headers_mut().insert("x-api-version", HeaderValue::from_static("v3"));
        answer
    }

    /// Whether there is anything under this method; what there is not is answered as by nginx.
    fn has_route(&self, method: &Method, target: &Target) -> bool {
        let standalone = self.settings.mode == Mode::Standalone;
        let methods: &[Method] = match target {
            Target::Outside => &[],
            Target::Root => &[Method::HEAD],
            Target::ConfigsValidate => &[Method::POST],
            Target::Configs if standalone => &[Method::GET, Method::HEAD, Method::PUT],
            Target::OpenApi => &[Method::GET],
            _ if standalone => &[],
            Target::PluginList => &[Method::GET],
            Target::SchemaValidate(_) => &[Method::POST],
            _ => &[Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH],
        };
        methods.contains(method)
    }

    async fn call(
        &self,
        method: &Method,
        target: &Target,
        headers: &HeaderMap,
        body: &Bytes,
        query: &Query,
    ) -> Result<Answer, Failure> {
        match target {
            Target::Configs if self.settings.mode == Mode::Standalone => {
                self.configs.call(method, headers, body, &self.resources).await
            }
            Target::ConfigsValidate => configs::validate(headers, body, &self.resources),
            Target::OpenApi => Ok(json_page(StatusCode::OK, &openapi::document())),
            Target::PluginReload if *method == Method::PUT => Ok(page(StatusCode::OK, "application/json", "done")),
            Target::PluginReload => Err(Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("please use PUT method to reload the plugins, {method} method is not allowed."),
            )),
            Target::Plugin(_) | Target::PluginList | Target::Schema(_) if *method != Method::GET => {
                Err(Failure::new(StatusCode::NOT_FOUND, "not found"))
            }
            Target::PluginList => Ok(json_page(StatusCode::OK, &json!([]))),
            Target::Plugin(_) => plugin(query),
            Target::Schema(name) => schema(name),
            Target::SchemaValidate(name) => {
                let kind = Kind::from_plural(name).ok_or_else(|| unknown(name))?;
                let value = body::json(body)?.unwrap_or(Value::Null);
                resource::check_shape(kind, &value).map_err(Failure::bad)?;
                Ok(page(StatusCode::OK, "application/json", ""))
            }
            Target::Resource(place) => self.resource(method, place, body, query).await,
            Target::Unknown(name) => Err(unknown(name)),
            Target::Configs | Target::Outside | Target::Root => Err(unknown("configs")),
        }
    }

    async fn resource(&self, method: &Method, place: &Place, body: &Bytes, query: &Query) -> Outcome {
        if place.kind == Kind::StreamRoute && !self.settings.streams {
            return Err(Failure::bad("stream mode is disabled, can not add stream routes"));
        }
        if place.kind == Kind::Secret && !place.owner.is_empty() && !SECRET_MANAGERS.contains(&place.owner.as_str()) {
            return Err(Failure::bad(format!("invalid secret manager: {}", place.owner)));
        }
        let sent = body::json(body)?;
        query.ttl()?;
        if !supports(method, place.kind) {
            let message = format!("not supported `{method}` method for {}", title(place.kind));
            return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, message));
        }
        match *method {
            Method::GET => self.resources.get(place, query).await,
            Method::PUT => self.resources.put(place, sent, query).await,
            Method::POST => self.resources.post(place, sent, query).await,
            Method::PATCH => self.resources.patch(place, sent, query).await,
            _ => self.resources.delete(place, query).await,
        }
    }
}

impl Caller {
    /// One line per write: who did what, and what became of it. Never the arguments, one of which may be the key.
    fn note(&self, method: &Method, path: &str, answer: Result<&Answer, &Failure>) {
        let Self { key, peer, subject } = self;
        let client = peer.ip();
        match answer {
            Ok(answer) => {
                tracing::info!(%client, key, subject, %method, path, status = answer.status().as_u16(), "Admin API");
            }
            Err(Failure { body, status }) => {
                tracing::warn!(%client, key, subject, %method, path, status = status.as_u16(), why = %body, "Admin API");
            }
        }
    }
}

/// Whether a call may change something.
fn writes(method: &Method, target: &Target) -> bool {
    let reads = *method == Method::GET || *method == Method::HEAD;
    !reads && matches!(target, Target::Configs | Target::Resource(_))
}

/// Whether a method is for resources of this kind.
fn supports(method: &Method, kind: Kind) -> bool {
    use Kind::{
        Consumer, ConsumerGroup, Credential, GlobalRule, PluginConfig, PluginMetadata, Proto, Secret, StreamRoute,
    };
    match *method {
        Method::POST => {
            !matches!(kind, Consumer | Credential | GlobalRule | PluginConfig | ConsumerGroup | PluginMetadata | Secret)
        }
        Method::PATCH => !matches!(kind, Consumer | Credential | PluginMetadata | Proto | StreamRoute),
        _ => true,
    }
}

fn unknown(name: &str) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("Unsupported resource type: {name}"))
}

/// No plugin is built.
fn plugin(query: &Query) -> Result<Answer, Failure> {
    let subsystem = query.get("subsystem").unwrap_or("http");
    if subsystem != "http" && subsystem != "stream" {
        return Err(Failure::bad(format!("unsupported subsystem: {subsystem}")));
    }
    if query.get("all") == Some("true") {
        return Ok(json_page(StatusCode::OK, &json!({})));
    }
    Err(Failure::new(StatusCode::NOT_FOUND, format!("plugin not found in subsystem {subsystem}")))
}

fn schema(name: &str) -> Result<Answer, Failure> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.singular() == name);
    let kind = kind.ok_or_else(|| Failure::bad(format!("not found schema: {name}")))?;
    Ok(json_page(StatusCode::OK, resource::schema(kind)))
}

fn with_cors(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, PUT, OPTIONS, DELETE, PATCH"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "*"),
        (header::ACCESS_CONTROL_MAX_AGE, "3600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
