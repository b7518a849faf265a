//! The verbs on resources.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rustls_pki_types::UnixTime;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use super::answer::{Answer, Failure, json_page};
use super::list::{self, Item};
use super::patch;
use super::query::Query;
use super::target::{Place, title};
use crate::keyring::Keyring;
use crate::resource::{self, Key, Kind, references, secrets};
use crate::store::{Committed, Entry, Guard, Operation, Store, Transaction};

/// How often a write is tried again that another gateway was faster than.
const ATTEMPTS: usize = 10;

/// How long a write waits for those before it, which a store that does not answer may hold.
const PATIENCE: Duration = Duration::from_secs(10);

/// The key whose revisions are ids (APISIX's).
const IDS: &str = "gen_id";

/// What is answered to a call.
pub(super) type Outcome = Result<Answer, Failure>;

/// Says whether the first of some resources can be served, which refers to the others. Their texts are as the store has them.
pub type Check = Box<dyn Fn(&[(Key, Arc<str>)]) -> Result<(), String> + Send + Sync>;

/// The resources in a store.
pub(super) struct Resources {
    /// Asked about what is written, where there is one.
    pub(super) check: Option<Check>,
    keyring: Arc<Keyring>,
    prefix: Arc<str>,
    store: Store,
    /// Held from looking at what a write refers to until it is done: nothing that another call here removes meanwhile is referred to then.
    /// Other gateways on the store are met by the guards of the transaction.
    writing: Mutex<()>,
}

impl Resources {
    pub(super) fn new(prefix: Arc<str>, store: Store, keyring: Arc<Keyring>) -> Self {
        Self { check: None, keyring, prefix, store, writing: Mutex::new(()) }
    }

    /// Waits for the writes before.
    async fn lock(&self) -> Result<MutexGuard<'_, ()>, Failure> {
        let busy = |_| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "other writes wait for the store");
        timeout(PATIENCE, self.writing.lock()).await.map_err(busy)
    }

    /// One resource, or a list.
    pub(super) async fn get(&self, place: &Place, query: &Query) -> Outcome {
        let Some(id) = &place.id else { return self.list(place, query).await };
        let key = place.key(id);
        let entry = self.store.get(&key.to_string()).await?.ok_or_else(Failure::not_found)?;
        let item = self.item(&key, &entry).ok_or_else(Failure::not_found)?;
        Ok(json_page(StatusCode::OK, &item))
    }

    async fn list(&self, place: &Place, query: &Query) -> Outcome {
        let listing = self.store.list(&place.prefix()).await?;
        let own = listing.entries.iter().filter_map(|(key, entry)| Some((Key::parse(key)?, entry)));
        let own = own.filter(|(key, _)| key.kind == place.kind);
        let items: Vec<_> = own.filter_map(|(key, entry)| self.item(&key, entry)).collect();
        if items.is_empty() && place.kind == Kind::Credential {
            return Err(Failure::not_found()); // there is no folder without credentials
        }
        Ok(json_page(StatusCode::OK, &list::answer(place.kind, items, query)?))
    }

    /// Makes a resource, or replaces it.
    pub(super) async fn put(&self, place: &Place, sent: Option<Value>, query: &Query) -> Outcome {
        let ttl = query.ttl()?;
        let mut value = object(sent)?;
        let id = match place.kind {
            Kind::Consumer | Kind::PluginMetadata => None,
            _ => Some(identify(place, &mut value)?),
        };
        forbid_times(&value)?;
        self.check(place.kind, &value)?;
        let id = match (id, place.kind, value.get("username").and_then(Value::as_str)) {
            (Some(id), ..) => id,
            (None, _, Some(username)) if place.id.as_deref().is_none_or(|id| id == username) => username.to_owned(),
            _ => return Err(Failure::bad("wrong username")),
        };
        let key = place.key(&id);
        let _writing = self.lock().await?;
        for _ in 0..ATTEMPTS {
            let mut needs = self.needs(place, &value).await?;
            let old = self.store.get(&key.to_string()).await?;
            needs.guards.push(guard(&key, old.as_ref()));
            let created = old.as_ref().and_then(parse).and_then(|old| old.get("create_time").cloned());
            value["create_time"] = created.unwrap_or_else(now);
            value["update_time"] = now();
            if self.write(&key, value.clone(), ttl, needs).await? {
                let status = if old.is_some() { StatusCode::OK } else { StatusCode::CREATED };
                return Ok(self.written(status, &key, value));
            }
        }
        Err(overtaken())
    }

    /// Makes a resource whose id is the store's next revision.
    pub(super) async fn post(&self, place: &Place, sent: Option<Value>, query: &Query) -> Outcome {
        let ttl = query.ttl()?;
        let mut value = object(sent)?;
        if place.id.is_some() || value.get("id").is_some() {
            return Err(Failure::bad(format!("wrong {} id, do not need it", title(place.kind))));
        }
        forbid_times(&value)?;
        self.check(place.kind, &value)?;
        let _writing = self.lock().await?;
        for _ in 0..ATTEMPTS {
            let mut needs = self.needs(place, &value).await?;
            let mark = Operation::Put { key: IDS.into(), ttl: None, value: "1".into() };
            let marked = self.store.commit(&Transaction { guards: Vec::new(), operations: vec![mark] }).await?;
            let Committed::Done(revision) = marked else { continue };
            let id = format!("{revision:020}");
            let key = place.key(&id);
            needs.guards.push(guard(&key, None));
            value["id"] = id.into();
            value["create_time"] = now();
            value["update_time"] = now();
            if self.write(&key, value.clone(), ttl, needs).await? {
                return Ok(self.written(StatusCode::CREATED, &key, value));
            }
        }
        Err(overtaken())
    }

    /// Changes a part of a resource.
    pub(super) async fn patch(&self, place: &Place, sent: Option<Value>, query: &Query) -> Outcome {
        let ttl = query.ttl()?;
        let id = needed_id(place)?;
        let sent = sent.ok_or_else(|| Failure::bad("missing new configuration"))?;
        if place.sub_path.is_empty() && !sent.is_object() {
            return Err(Failure::bad("invalid configuration"));
        }
        let key = place.key(id);
        let _writing = self.lock().await?;
        for _ in 0..ATTEMPTS {
            let old = self.store.get(&key.to_string()).await?.ok_or_else(Failure::not_found)?;
            let mut value = parse(&old).ok_or_else(|| Failure::bad("the stored resource is broken: PUT it anew"))?;
            if place.sub_path.is_empty() {
                patch::merge(&mut value, sent.clone());
            } else {
                patch::put_at(&mut value, &place.sub_path, sent.clone()).map_err(Failure::bad)?;
            }
            let mut value = object(Some(value))?;
            identify(place, &mut value)?;
            let created = parse(&old).and_then(|old| old.get("create_time").cloned());
            match created.filter(|_| place.kind == Kind::Ssl) {
                // The age decides who owns a host.
                Some(created) => value["create_time"] = created,
                None if value.get("create_time").is_none() => value["create_time"] = now(),
                None => {}
            }
            if !place.sub_path.is_empty() || sent.get("update_time").is_none() {
                value["update_time"] = now();
            }
            self.check(place.kind, &value)?;
            let mut needs = self.needs(place, &value).await?;
            needs.guards.push(guard(&key, Some(&old)));
            if self.write(&key, value.clone(), ttl, needs).await? {
                return Ok(self.written(StatusCode::OK, &key, value));
            }
        }
        Err(overtaken())
    }

    /// Removes a resource that no other refers to; with `force=true` in any case.
    pub(super) async fn delete(&self, place: &Place, query: &Query) -> Outcome {
        let key = place.key(needed_id(place)?);
        let _writing = self.lock().await?;
        let old = self.store.get(&key.to_string()).await?.ok_or_else(Failure::not_found)?;
        if query.get("force") != Some("true") {
            self.unused(&key).await?;
        }
        let mut operations = vec![Operation::Delete(key.to_string().into())];
        if key.kind == Kind::Consumer {
            let credentials = self.store.list(&format!("{key}/credentials/")).await?;
            operations.extend(credentials.entries.into_keys().map(Operation::Delete));
        }
        let guards = vec![guard(&key, Some(&old))];
        match self.store.commit(&Transaction { guards, operations }).await? {
            Committed::Done(_) => {
                let body = json!({ "deleted": "1", "key": format!("{}/{key}", self.prefix) });
                Ok(json_page(StatusCode::OK, &body))
            }
            Committed::Refused => Err(overtaken()),
        }
    }

    /// Puts `items` in the place of all resources of these kinds (credentials are the consumers').
    pub(super) async fn replace(&self, kinds: &[Kind], items: Vec<(Key, Value)>) -> Result<(), Failure> {
        let owner = |kind: Kind| if kind == Kind::Credential { Kind::Consumer } else { kind };
        let _writing = self.lock().await?;
        let mut operations = BTreeMap::new();
        for (text, _) in self.store.list("").await?.entries {
            if Key::parse(&text).is_some_and(|key| kinds.contains(&owner(key.kind))) {
                operations.insert(text.clone(), Operation::Delete(text));
            }
        }
        for (key, mut value) in items.into_iter().filter(|(key, _)| kinds.contains(&owner(key.kind))) {
            secrets::seal(key.kind, &mut value, &self.keyring);
            let name: Arc<str> = key.to_string().into();
            let put = Operation::Put { key: name.clone(), ttl: None, value: value.to_string().into() };
            operations.insert(name, put);
        }
        let operations = operations.into_values().collect();
        // Without guards it is always done.
        self.store.commit(&Transaction { guards: Vec::new(), operations }).await?;
        Ok(())
    }

    /// Whether a resource is valid by itself.
    pub(super) fn check(&self, kind: Kind, value: &Value) -> Result<(), Failure> {
        resource::check_sealed(kind, value, &self.keyring).map_err(Failure::bad)
    }

    /// What a resource refers to, which must be there: now, and when it is written.
    async fn needs(&self, place: &Place, value: &Value) -> Result<Needs, Failure> {
        let mut needs = Needs::default();
        if place.kind == Kind::Credential {
            let consumer = Key::new(Kind::Consumer, place.owner.as_str()).to_string();
            if self.store.get(&consumer).await?.is_none() {
                return Err(Failure::new(StatusCode::NOT_FOUND, "consumer not found"));
            }
            needs.guards.push(Guard::Present(consumer.into()));
        }
        for (_, key) in references(place.kind, value) {
            let found = self.store.get(&key.to_string()).await?;
            let found = found.ok_or_else(|| Failure::bad(format!("{}, response code: 404", fetching(&key))))?;
            if key.kind == Kind::Ssl && parse(&found).is_none_or(|ssl| ssl["type"] != "client") {
                return Err(Failure::bad(format!("{}, wrong ssl type", fetching(&key))));
            }
            needs.guards.push(Guard::Present(key.to_string().into()));
            needs.found.push((key, found.value));
        }
        Ok(needs)
    }

    /// That no resource refers to `key`.
    async fn unused(&self, key: &Key) -> Result<(), Failure> {
        for kind in Kind::ALL.into_iter().filter(|kind| resource::may_refer(*kind, key.kind)) {
            let listing = self.store.list(&format!("{}/", kind.plural())).await?;
            for (text, entry) in &listing.entries {
                let (Some(user), Some(value)) = (Key::parse(text), parse(entry)) else { continue };
                if user.kind == kind && references(kind, &value).iter().any(|(_, needed)| needed == key) {
                    let directly = if key.kind == Kind::Service { " directly" } else { "" };
                    return Err(Failure::bad(format!(
                        "can not delete this {}{directly}, {kind} [{}] is still using it now",
                        title(key.kind),
                        user.id
                    )));
                }
            }
        }
        Ok(())
    }

    /// That no other ssl has one of the hosts of `value` and lets other clients in: only one of them would count.
    async fn weakens_no_host(&self, key: &Key, value: &Value) -> Result<(), Failure> {
        let hosts = ssl_hosts(value);
        for (text, entry) in &self.store.list(&format!("{}/", Kind::Ssl.plural())).await?.entries {
            let Some(other) = Key::parse(text).filter(|other| other != key).and(parse(entry)) else { continue };
            if other["client"] == value["client"] {
                continue;
            }
            if let Some(host) = ssl_hosts(&other).intersection(&hosts).next() {
                return Err(Failure::bad(format!(
                    "sni [{host}] belongs to {text} too, whose `client` is different: change that one, or remove it first"
                )));
            }
        }
        Ok(())
    }

    /// Writes a resource with its secrets sealed; false where a guard did not hold.
    async fn write(&self, key: &Key, mut value: Value, ttl: Option<Duration>, needs: Needs) -> Result<bool, Failure> {
        if key.kind == Kind::Ssl {
            self.weakens_no_host(key, &value).await?;
        }
        secrets::seal(key.kind, &mut value, &self.keyring);
        let text: Arc<str> = value.to_string().into();
        let found = needs.found.iter().map(|(key, text)| (key, text));
        self.can_be_served(std::iter::once((key, &text)).chain(found))?;
        let put = Operation::Put { key: key.to_string().into(), ttl, value: text };
        let transaction = Transaction { guards: needs.guards, operations: vec![put] };
        Ok(self.store.commit(&transaction).await? != Committed::Refused)
    }

    /// Whether the first of `resources` can be served, which refers to the others.
    pub(super) fn can_be_served<'a>(
        &self,
        resources: impl Iterator<Item = (&'a Key, &'a Arc<str>)>,
    ) -> Result<(), Failure> {
        let Some(check) = &self.check else { return Ok(()) };
        let resources: Vec<_> = resources.map(|(key, text)| (key.clone(), text.clone())).collect();
        check(&resources).map_err(|why| Failure::bad(format!("invalid configuration: {why}")))
    }

    /// The answer to a write.
    fn written(&self, status: StatusCode, key: &Key, mut value: Value) -> Answer {
        secrets::redact(key.kind, &mut value);
        json_page(status, &json!({ "key": format!("{}/{key}", self.prefix), "value": value }))
    }

    /// An entry as it is shown; `None` for what is no resource.
    fn item(&self, key: &Key, entry: &Entry) -> Option<Item> {
        let mut value = parse(entry)?;
        secrets::redact(key.kind, &mut value);
        Some(Item { created: entry.created, key: format!("{}/{key}", self.prefix), modified: entry.modified, value })
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// What a resource refers to.
#[derive(Debug, Default)]
struct Needs {
    found: Vec<(Key, Arc<str>)>,
    guards: Vec<Guard>,
}

fn fetching(key: &Key) -> String {
    let title = title(key.kind);
    format!("failed to fetch {title} info by {title} id [{}]", key.id)
}

fn parse(entry: &Entry) -> Option<Value> {
    serde_json::from_str(&entry.value).ok().filter(Value::is_object)
}

/// That the key is as it was looked at.
fn guard(key: &Key, entry: Option<&Entry>) -> Guard {
    let key = key.to_string().into();
    entry.map_or_else(|| Guard::Absent(Arc::clone(&key)), |entry| Guard::Unchanged(Arc::clone(&key), entry.modified))
}

fn object(sent: Option<Value>) -> Result<Value, Failure> {
    match sent {
        None => Err(Failure::bad("missing configurations")),
        Some(value) if value.is_object() => Ok(value),
        Some(_) => Err(Failure::bad("invalid configuration: wrong type: expected object")),
    }
}

/// The id, by the path or the resource itself, which has it from then on.
fn identify(place: &Place, value: &mut Value) -> Result<String, Failure> {
    let wrong = || Failure::bad(format!("wrong {} id", title(place.kind)));
    let own = match value.get("id") {
        None => None,
        // No path leads to them.
        Some(Value::String(id)) if id == "." || id == ".." => return Err(wrong()),
        Some(Value::String(id)) => Some(id.clone()),
        // A number from 1 on, as far as JSON's numbers are whole for everyone (RFC 8259 section 6).
        Some(id) => match id.as_u64() {
            Some(number @ 1..=0x1f_ffff_ffff_ffff) => Some(number.to_string()),
            _ => return Err(wrong()),
        },
    };
    match (&place.id, own) {
        (Some(id), Some(own)) if *id != own => Err(wrong()),
        (Some(id), _) => {
            value["id"] = id.as_str().into();
            Ok(id.clone())
        }
        (None, Some(own)) => Ok(own),
        (None, None) => Err(Failure::bad(format!("missing {} id", title(place.kind)))),
    }
}

/// The hosts of an ssl that is in force, in one form.
fn ssl_hosts(ssl: &Value) -> BTreeSet<String> {
    if ssl["type"] == "client" || ssl["status"] == 0 {
        return BTreeSet::new();
    }
    let several = ssl["snis"].as_array().into_iter().flatten();
    let texts = std::iter::once(&ssl["sni"]).chain(several).filter_map(Value::as_str);
    texts.map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect()
}

fn needed_id(place: &Place) -> Result<&str, Failure> {
    place.id.as_deref().ok_or_else(|| Failure::bad(format!("missing {} id", title(place.kind))))
}

/// The times are the server's to set.
fn forbid_times(value: &Value) -> Result<(), Failure> {
    for (pointer, shown) in [("", ""), ("/upstream", "upstream."), ("/plugins", "plugins.")] {
        for name in ["create_time", "update_time"] {
            if value.pointer(pointer).is_some_and(|value| value.get(name).is_some()) {
                return Err(Failure::bad(format!("the property is forbidden:  {shown}{name}")));
            }
        }
    }
    Ok(())
}

fn now() -> Value {
    UnixTime::now().as_secs().into()
}

/// Another gateway was faster, again and again.
fn overtaken() -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "value changed before overwritten")
}
