//! The JSON that etcd's gateway speaks (etcd's api/etcdserverpb/rpc.proto by way of proto3's JSON form): bytes as base64, 64-bit numbers as
//! text, and fields that have their default left out.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::store::{Entry, Event, Guard};

/// The value of the placeholders that APISIX writes for its folders.
const PLACEHOLDER: &str = "init_dir";

/// What every answer says of the store.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Header {
    /// The cluster.
    pub(super) cluster_id: String,
    /// The revision when the answer was made.
    #[serde(deserialize_with = "number")]
    pub(super) revision: u64,
}

/// A key with its text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    #[serde(deserialize_with = "number")]
    create_revision: u64,
    key: String,
    #[serde(deserialize_with = "number")]
    pub(super) mod_revision: u64,
    value: String,
}

/// The answer of `/v3/kv/range`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Range {
    pub(super) header: Header,
    pub(super) kvs: Vec<KeyValue>,
    /// There are more keys than were asked for.
    pub(super) more: bool,
}

/// The answer of `/v3/kv/txn`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Txn {
    pub(super) header: Header,
    pub(super) succeeded: bool,
}

/// The answer of `/v3/lease/grant`.
#[derive(Debug, Deserialize)]
pub(super) struct Lease {
    #[serde(rename = "ID")]
    pub(super) id: String,
}

/// The answer of `/v3/auth/authenticate`.
#[derive(Deserialize)]
pub(super) struct Authenticated {
    pub(super) token: String,
}

/// An answer that is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    /// The code of gRPC.
    pub(super) code: i64,
    pub(super) message: String,
}

/// A line of the answer of `/v3/watch`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchLine {
    pub(super) error: Option<Refusal>,
    pub(super) result: Watched,
}

/// What a watch tells.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Watched {
    pub(super) cancel_reason: String,
    pub(super) canceled: bool,
    /// Of a watch that asks for what is gone: the oldest revision there is.
    #[serde(deserialize_with = "number")]
    pub(super) compact_revision: u64,
    /// It is the first that this watch tells.
    pub(super) created: bool,
    pub(super) events: Vec<WatchEvent>,
    pub(super) header: Header,
}

/// What became of a key.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchEvent {
    pub(super) kv: KeyValue,
    #[serde(rename = "type")]
    kind: String,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// Where our keys are in etcd: below a prefix (`/apisix`).
#[derive(Clone, Debug)]
pub(super) struct Prefix(Arc<str>);

impl Prefix {
    /// The prefix; a `/` at its end says nothing.
    pub(super) fn new(prefix: &str) -> Self {
        Self(prefix.trim_end_matches('/').into())
    }

    /// The prefix.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn key(&self, key: &str) -> String {
        BASE64_STANDARD.encode(format!("{}/{key}", self.0))
    }

    /// `key` of ours without the prefix; `None` of one that is not ours.
    fn strip<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&*self.0)?.strip_prefix('/')
    }

    /// What asks for one key.
    pub(super) fn get(&self, key: &str) -> Value {
        json!({ "key": self.key(key) })
    }

    /// What asks for the keys that begin with `start`, those behind `after` where it is given, at `revision` or now.
    pub(super) fn page(&self, start: &str, after: Option<&KeyValue>, revision: Option<u64>, limit: u32) -> Value {
        let first = match after {
            Some(after) => {
                let mut key = BASE64_STANDARD.decode(&after.key).unwrap_or_default(); // etcd's own base64
                key.push(0);
                BASE64_STANDARD.encode(key)
            }
            None => self.key(start),
        };
        let mut page = json!({ "key": first, "range_end": self.end(start), "limit": limit.to_string() });
        if let Some(revision) = revision {
            page["revision"] = revision.to_string().into();
        }
        page
    }

    /// What asks whether etcd answers for our keys.
    pub(super) fn probe(&self) -> Value {
        json!({ "key": self.key(""), "range_end": self.end(""), "count_only": true })
    }

    /// What asks for every change from `revision` on.
    pub(super) fn watch(&self, revision: u64) -> Value {
        json!({ "create_request": {
            "key": self.key(""), "range_end": self.end(""), "start_revision": revision.to_string(), "progress_notify": true,
        } })
    }

    /// The key after all that begin with `start`: what follows the prefix is UTF-8 text, whose bytes are below 0xff.
    fn end(&self, start: &str) -> String {
        let mut end = format!("{}/{start}", self.0).into_bytes();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        BASE64_STANDARD.encode(end)
    }

    /// What asks for a transaction.
    pub(super) fn transaction(&self, guards: &[Guard], operations: &[Step<'_>]) -> Value {
        let compare = |guard: &Guard| match guard {
            Guard::Absent(key) => {
                json!({ "key": self.key(key), "target": "VERSION", "result": "EQUAL", "version": "0" })
            }
            Guard::Present(key) => {
                json!({ "key": self.key(key), "target": "VERSION", "result": "GREATER", "version": "0" })
            }
            Guard::Unchanged(key, modified) => {
                json!({ "key": self.key(key), "target": "MOD", "result": "EQUAL", "mod_revision": modified.to_string() })
            }
        };
        let request = |step: &Step<'_>| match step {
            Step::Delete(key) => json!({ "request_delete_range": { "key": self.key(key) } }),
            Step::Put { key, lease, value } => {
                let mut put = json!({ "key": self.key(key), "value": BASE64_STANDARD.encode(value) });
                if let Some(lease) = lease {
                    put["lease"] = (*lease).into();
                }
                json!({ "request_put": put })
            }
        };
        json!({
            "compare": guards.iter().map(compare).collect::<Vec<_>>(),
            "success": operations.iter().map(request).collect::<Vec<_>>(),
        })
    }

    /// The key, without the prefix, of what etcd gave.
    fn key_of(&self, found: &KeyValue) -> Option<Arc<str>> {
        let key = String::from_utf8(BASE64_STANDARD.decode(&found.key).ok()?).ok()?;
        self.strip(&key).filter(|key| !key.is_empty()).map(Arc::from)
    }

    /// The entry that etcd gave. `None` for a folder's placeholder (APISIX) and for what has no key of a resource's, which is logged. A value that
    /// is no text stays an entry, with U+FFFD in the place of what is none: whoever reads it must not take it for removed.
    pub(super) fn entry(&self, found: &KeyValue) -> Option<(Arc<str>, Entry)> {
        let Some(key) = self.key_of(found) else {
            tracing::warn!(key = found.key, "a key in etcd (in base64 here) is no resource's; it is passed over");
            return None;
        };
        let value = BASE64_STANDARD.decode(&found.value).unwrap_or_default();
        let value = String::from_utf8_lossy(&value);
        if key.ends_with('/') && value == PLACEHOLDER {
            tracing::debug!(%key, "a folder of APISIX's in etcd is passed over");
            return None;
        }
        let (created, modified) = (found.create_revision, found.mod_revision);
        Some((key, Entry { value: value.into(), created, modified }))
    }

    /// What became of a key.
    pub(super) fn event(&self, event: &WatchEvent) -> Option<Event> {
        if event.kind == "DELETE" {
            return Some(Event { key: self.key_of(&event.kv)?, entry: None });
        }
        self.entry(&event.kv).map(|(key, entry)| Event { key, entry: Some(entry) })
    }
}

/// One step of a transaction, with the lease in the place of the time to live.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Removes a key.
    Delete(&'a str),
    /// Gives a key a text.
    Put {
        /// The key.
        key: &'a str,
        /// The lease's id, as etcd gave it.
        lease: Option<&'a str>,
        /// The text.
        value: &'a str,
    },
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// How many of them hold no end of a line.
    seen: usize,
}

impl Lines {
    /// Takes what came next.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes wait for the end of their line.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// The next whole line, without its end.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.bytes[self.seen..].iter().position(|byte| *byte == b'\n') else {
            self.seen = self.bytes.len();
            return None;
        };
        let rest = self.bytes.split_off(self.seen + end + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        self.seen = 0;
        line.pop();
        Some(line)
    }
}

/// `body` as bytes.
pub(super) fn bytes(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default() // values are always JSON
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(base64: &Value) -> String {
        String::from_utf8(BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap()).unwrap()
    }

    /// As etcd 3.6 answers.
    #[test]
    fn a_line_of_a_watch_is_read() {
        let line = r#"{"result":{"header":{"cluster_id":"151","member_id":"13","revision":"4","raft_term":"2"},"events":[
            {"kv":{"key":"L2FwaXNpeC9h","create_revision":"2","mod_revision":"3","version":"1","value":"MQ=="}},
            {"type":"DELETE","kv":{"key":"L2FwaXNpeC9i","mod_revision":"4"}}]}}"#;
        let line: WatchLine = serde_json::from_str(line).unwrap();
        assert_eq!(line.result.header, Header { cluster_id: "151".to_owned(), revision: 4 });
        let prefix = Prefix::new("/apisix/");
        let events: Vec<_> = line.result.events.iter().filter_map(|event| prefix.event(event)).collect();
        let entry = Entry { value: "1".into(), created: 2, modified: 3 };
        let expected = [Event { key: "a".into(), entry: Some(entry) }, Event { key: "b".into(), entry: None }];
        assert_eq!(events, expected);
    }

    #[test]
    fn placeholders_and_other_prefixes_are_passed_over_and_nothing_else() {
        let prefix = Prefix::new("/apisix");
        let found = |key: &str, value: &[u8]| KeyValue {
            key: BASE64_STANDARD.encode(key),
            value: BASE64_STANDARD.encode(value),
            ..KeyValue::default()
        };
        assert!(prefix.entry(&found("/apisix/routes/1", b"{}")).is_some());
        for (key, value) in [("/apisix/routes/", &b"init_dir"[..]), ("/apisix/", b"{}"), ("/apisix2/routes/1", b"{}")] {
            assert_eq!(prefix.entry(&found(key, value)), None, "{key}");
        }
        for value in [&b"{\"desc\":\"\xff\"}"[..], b"init_dir", b""] {
            let replaced = WatchEvent { kv: found("/apisix/ssls/1", value), kind: String::new() };
            let event = prefix.event(&replaced).unwrap();
            assert!(event.entry.is_some(), "what cannot be read is not gone: a host's policy would go with it");
        }
    }

    #[test]
    fn ranges_hold_what_is_below_the_prefix_and_nothing_else() {
        let prefix = Prefix::new("/apisix");
        let page = prefix.page("", None, None, 7);
        assert_eq!((text(&page["key"]), text(&page["range_end"])), ("/apisix/".to_owned(), "/apisix0".to_owned()));
        let after = KeyValue { key: BASE64_STANDARD.encode(b"/apisix/routes/\xff"), ..KeyValue::default() };
        let page = prefix.page("routes/", Some(&after), Some(5), 7);
        assert_eq!(BASE64_STANDARD.decode(page["key"].as_str().unwrap()).unwrap(), b"/apisix/routes/\xff\0");
        assert_eq!(text(&page["range_end"]), "/apisix/routes0");
        assert_eq!((&page["limit"], &page["revision"]), (&json!("7"), &json!("5")));
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in ["a", "b\nc", "\n\n", "d"] {
            lines.push(piece.as_bytes());
            found.extend(std::iter::from_fn(|| lines.next()));
        }
        assert_eq!(found, [&b"ab"[..], b"c", b""]);
        assert_eq!(lines.waiting(), 1);
    }
}
