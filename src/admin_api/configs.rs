//! The whole configuration as one document: `configs`, for gateways that have no other source of resources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use hyper::body::Bytes;
use rustls_pki_types::UnixTime;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::answer::{Answer, Failure, json_page, page};
use super::body;
use super::resources::Resources;
use crate::resource::{Key, Kind, references, secrets};

/// What the sender calls this state of its configuration.
const DIGEST: HeaderName = HeaderName::from_static("x-digest");

/// When the configuration was changed, in seconds since the epoch.
const LAST_MODIFIED: HeaderName = HeaderName::from_static("x-last-modified");

/// The document that was accepted last.
#[derive(Debug, Default)]
pub(super) struct Configs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The digest and the time; `None` before the first document.
    accepted: Option<(HeaderValue, u64)>,
    /// What was accepted, without private keys.
    document: Map<String, Value>,
}

/// A part of a document that is wrong.
#[derive(Debug)]
struct Wrong {
    error: String,
    id: String,
    index: Option<usize>,
    kind: Kind,
}

impl Configs {
    /// GET, HEAD or PUT.
    pub(super) async fn call(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: &Bytes,
        resources: &Resources,
    ) -> Result<Answer, Failure> {
        let mut state = self.state.lock().await;
        if *method == Method::PUT {
            return state.replace(headers, body, resources).await;
        }
        Ok(state.show(wants_yaml(headers, header::ACCEPT)))
    }
}

impl State {
    fn show(&self, yaml: bool) -> Answer {
        let versions = Kind::ALL.into_iter().filter(|kind| is_listed(*kind)).map(|kind| (version_name(kind), 0.into()));
        let mut document: Map<String, Value> = versions.collect();
        document.extend(self.document.clone());
        let mut answer = if yaml {
            page(StatusCode::OK, "application/yaml", serde_saphyr::to_string(&document).unwrap_or_default())
        } else {
            json_page(StatusCode::OK, &Value::Object(document))
        };
        self.date(&mut answer);
        answer
    }

    fn date(&self, answer: &mut Answer) {
        if let Some((digest, time)) = &self.accepted {
            answer.headers_mut().insert(DIGEST, digest.clone());
            answer.headers_mut().insert(LAST_MODIFIED, (*time).into());
        }
    }

    /// Puts `body` in the place of everything. A part whose version stays is left as it is; none may go back.
    async fn replace(&mut self, headers: &HeaderMap, body: &Bytes, resources: &Resources) -> Result<Answer, Failure> {
        let digest = headers.get(&DIGEST).ok_or_else(|| Failure::bad("missing digest header"))?;
        let sent = document(headers, body)?;
        if self.accepted.as_ref().is_some_and(|(known, _)| known == digest) {
            return Ok(page(StatusCode::NO_CONTENT, "application/json", ""));
        }
        let (items, wrong) = read(&sent, resources);
        if let Some(wrong) = wrong.into_iter().next() {
            return Err(Failure::bad(wrong.error));
        }
        let mut document = Map::new();
        let mut changed = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| is_listed(*kind)) {
            let name = version_name(kind);
            let old = self.document.get(&name).and_then(Value::as_i64).unwrap_or(0);
            let new = sent.get(&name).and_then(Value::as_i64).unwrap_or(old.saturating_add(1));
            if new < old {
                return Err(Failure::bad(format!("{name} must be greater than or equal to ({old})")));
            }
            let parts = if new == old {
                self.document.get(kind.plural()).cloned()
            } else {
                changed.push(kind);
                sent.get(kind.plural()).filter(|parts| parts.as_array().is_some_and(|parts| !parts.is_empty())).cloned()
            };
            if let Some(mut parts) = parts {
                for part in parts.as_array_mut().into_iter().flatten() {
                    secrets::redact(kind, part);
                }
                document.insert(kind.plural().to_owned(), parts);
            }
            document.insert(name, new.into());
        }
        resources.replace(&changed, items).await?;
        self.document = document;
        self.accepted = Some((digest.clone(), UnixTime::now().as_secs()));
        let mut answer = page(StatusCode::ACCEPTED, "application/json", "");
        self.date(&mut answer);
        Ok(answer)
    }
}

/// Says of each part of a document whether it is valid, and changes nothing.
pub(super) fn validate(headers: &HeaderMap, body: &Bytes, resources: &Resources) -> Result<Answer, Failure> {
    let document = document(headers, body)?;
    let (_, wrong) = read(&document, resources);
    if wrong.is_empty() {
        return Ok(json_page(StatusCode::OK, &json!({})));
    }
    let errors: Vec<_> = wrong.into_iter().map(Wrong::into_json).collect();
    let body = json!({ "error_msg": "Configuration validation failed", "errors": errors });
    Err(Failure { body, status: StatusCode::BAD_REQUEST })
}

impl Wrong {
    fn into_json(self) -> Value {
        let Self { error, id, index, kind } = self;
        let mut json = json!({ "resource_type": kind.plural(), "error": error });
        if let Some(index) = index {
            json["resource_id"] = id.into();
            json["index"] = index.into();
        }
        json
    }
}

/// Kinds that have a list of their own in a document; credentials are among the consumers.
fn is_listed(kind: Kind) -> bool {
    kind != Kind::Credential
}

fn version_name(kind: Kind) -> String {
    format!("{}_conf_version", kind.plural())
}

fn wants_yaml(headers: &HeaderMap, name: HeaderName) -> bool {
    headers.get(name).is_some_and(|value| value.as_bytes().starts_with(b"application/yaml"))
}

fn document(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, Failure> {
    let read = if wants_yaml(headers, header::CONTENT_TYPE) {
        let text = std::str::from_utf8(body).map_err(|_| Failure::bad("invalid request body: no UTF-8"))?;
        // Depth as a small stack of a thread holds.
        let options = serde_saphyr::options! { budget: serde_saphyr::budget! { max_depth: 32 }, strict_booleans: true };
        serde_saphyr::from_str_with_options(text, options)
            .map_err(|_| Failure::bad("invalid request body: invalid yaml request body"))?
    } else {
        body::json(body)?
    };
    match read {
        None => Err(Failure::bad("invalid request body: empty request body")),
        Some(Value::Object(document)) => Ok(document),
        Some(_) => Err(Failure::bad("invalid request body: it should be an object")),
    }
}

/// A part of a document.
struct Part {
    index: usize,
    key: Key,
    /// In whose list it is.
    kind: Kind,
    value: Value,
}

/// The resources of a document, and what is wrong with it.
fn read(document: &Map<String, Value>, resources: &Resources) -> (Vec<(Key, Value)>, Vec<Wrong>) {
    let (parts, mut wrong) = parts(document);
    let texts: BTreeMap<_, Arc<str>> =
        parts.iter().map(|part| (part.key.clone(), part.value.to_string().into())).collect();
    let mut known = BTreeSet::new();
    for part in &parts {
        let Part { index, key, kind, value } = part;
        let mut say = |error| wrong.push(Wrong { error, id: key.id.to_string(), index: Some(*index), kind: *kind });
        if let Err(failure) = resources.check(key.kind, value).and_then(|()| served(part, &texts, resources)) {
            say(failure.body["error_msg"].as_str().unwrap_or_default().to_owned());
        }
        if !known.insert(key) {
            let what = match (kind, key.kind) {
                (_, Kind::Credential) => "credential id",
                (Kind::Consumer, _) => "username",
                _ => "id",
            };
            say(format!("found duplicate {what} {} in {}", key.id, kind.plural()));
        }
    }
    (parts.into_iter().map(|part| (part.key, part.value)).collect(), wrong)
}

/// Whether a part can be served, where all that it refers to is in the document too.
fn served(part: &Part, texts: &BTreeMap<Key, Arc<str>>, resources: &Resources) -> Result<(), Failure> {
    let needed = references(part.key.kind, &part.value);
    let found: Vec<_> = needed.iter().filter_map(|(_, key)| texts.get_key_value(key)).collect();
    if found.len() < needed.len() {
        return Ok(());
    }
    resources.can_be_served(texts.get_key_value(&part.key).into_iter().chain(found))
}

/// The parts of a document, and what is wrong with it as a whole.
fn parts(document: &Map<String, Value>) -> (Vec<Part>, Vec<Wrong>) {
    let (mut parts, mut wrong) = (Vec::new(), Vec::new());
    for kind in Kind::ALL.into_iter().filter(|kind| is_listed(*kind)) {
        let mut say = |error| wrong.push(Wrong { error, id: String::new(), index: None, kind });
        let version = document.get(&version_name(kind));
        if version.is_some_and(|version| version.as_i64().is_none()) {
            say(format!("{} must be a number without a fraction", version_name(kind)));
        }
        match document.get(kind.plural()) {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => {
                let part = |(index, part)| {
                    let (key, value) = item(kind, index, part);
                    Part { index, key, kind, value }
                };
                parts.extend(list.iter().enumerate().map(part));
            }
            Some(_) => say(format!("{} must be an array", kind.plural())),
        }
    }
    (parts, wrong)
}

/// A part of a document as a resource. One without an id gets its place in the list.
fn item(kind: Kind, index: usize, part: &Value) -> (Key, Value) {
    let mut value = part.clone();
    let text = |id: &Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let id = value.get("id").map(text);
    if let Some(members) = value.as_object_mut() {
        members.remove("modifiedIndex");
    }
    match (kind, id) {
        (Kind::Consumer, Some(id)) if id.contains("/credentials/") => {
            (Key::new(Kind::Credential, id.replacen("/credentials/", "/", 1)), value)
        }
        (Kind::Consumer, _) => {
            let username = value.get("username").map(text).unwrap_or_default();
            (Key::new(kind, username), value)
        }
        (_, Some(id)) => (Key::new(kind, id), value),
        (_, None) => {
            let id = (index + 1).to_string();
            if let Some(members) = value.as_object_mut() {
                members.insert("id".to_owned(), id.as_str().into());
            }
            (Key::new(kind, id), value)
        }
    }
}
