//! One manifest file: its documents as objects.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::document::{Document, documents};
use super::fields;
use crate::model::{Invalid, ObjectKey};
use crate::source::parse;
use crate::world::{Object, Observed};

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 where it is not known.
    pub line: u64,
    /// What is wrong: for an object its kind and name, the field and what to write.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", escaped(&self.file.to_string_lossy()))?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", escaped(&self.message))
    }
}

/// The text on one line: names come from the file, and must not be able to add lines of their own to a log.
fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line
}

/// An object with its place in its file.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) document: Arc<Document>,
    pub(super) key: ObjectKey,
    pub(super) object: Object,
}

/// Reads the objects of a file. Kinds that are not ours are left out. `None` is a file without a single document.
///
/// # Errors
/// Everything that is wrong with the file, in its order. A file with a single mistake gives no object: its objects were
/// meant to take effect together.
pub(super) fn read(file: &Path, text: &str) -> Result<Option<Vec<Placed>>, Vec<Diagnostic>> {
    let diagnostic = |line, message: String| Diagnostic { file: file.to_owned(), line, message };
    let documents = documents(text).map_err(|(line, message)| vec![diagnostic(line, message)])?;
    if documents.is_empty() {
        return Ok(None);
    }
    let mut placed = Vec::new();
    let mut wrong = Vec::new();
    for document in documents.into_iter().flat_map(Document::items) {
        let value = document.to_json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text(&value["apiVersion"]), text(&value["kind"]));
        if version.is_empty() || kind.is_empty() {
            wrong.push(diagnostic(document.line(""), "a document needs `apiVersion` and `kind`".to_owned()));
            continue;
        }
        let Some(known) = parse::kind(&version, &kind) else {
            if let Some(why) = fields::mistaken_kind(&version, &kind) {
                wrong.push(diagnostic(document.line(&why.field), why.to_string()));
                continue;
            }
            tracing::debug!("{}: {version} {kind} is not read", file.display());
            continue;
        };
        let mut tell =
            |what: String, why: &Invalid| wrong.push(diagnostic(document.line(&why.field), format!("{what}: {why}")));
        let unknown = fields::unknown(known, &value);
        match parse::from_json(known, value) {
            Ok((key, object)) => {
                let mut problems = problems(&object);
                problems.retain(|problem| unknown.iter().all(|unknown| unknown.field != problem.field));
                problems.splice(0..0, unknown);
                for why in &problems {
                    tell(format!("{known} {key}"), why);
                }
                if problems.is_empty() {
                    placed.push(Placed { document: Arc::new(document), key, object });
                }
            }
            Err(why) => {
                for why in unknown.iter().chain([&why]) {
                    tell(kind.clone(), why);
                }
            }
        }
    }
    if wrong.is_empty() { Ok(Some(placed)) } else { Err(wrong) }
}

/// Everything that is wrong with an object by itself.
fn problems(object: &Object) -> Vec<Invalid> {
    fn whole<T>(observed: &Observed<T>) -> Vec<Invalid> {
        observed.value.as_ref().err().cloned().into_iter().collect()
    }
    match object {
        Object::ApisixRoute(observed) => whole(observed),
        Object::ApisixTls(observed) => match &observed.value {
            Ok(tls) => {
                let client = tls.client_auth.as_ref().err();
                let boxed = [tls.certificates.as_ref().err(), tls.protocols.as_ref().err()];
                let parts = boxed.into_iter().flatten().map(|why| &**why).chain(client);
                tls.unreadable_hosts.iter().chain(parts).cloned().collect()
            }
            Err(why) => vec![why.clone()],
        },
        Object::ApisixUpstream(observed) => match &observed.value {
            Ok(upstream) => upstream.settings.as_ref().err().cloned().into_iter().collect(),
            Err(why) => vec![why.clone()],
        },
        Object::EndpointSlice(observed) => whole(observed),
        Object::IngressClass(observed) => whole(observed),
        Object::ConfigMap(observed) | Object::Secret(observed) => whole(observed),
        Object::Service(observed) => whole(observed),
    }
}

/// The line of `why`'s field in the document.
pub(super) fn line(document: &Document, why: &Invalid) -> u64 {
    document.line(&why.field)
}
