//! YAML documents that remember where each value stands in its file.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::folder::MAX_FILE;

/// One document of a YAML file.
#[derive(Debug)]
pub(super) struct Document(Spanned<Node>);

#[derive(Debug)]
enum Node {
    List(Vec<Spanned<Node>>),
    Map(BTreeMap<String, Spanned<Node>>),
    Scalar(Value),
}

/// Reads all documents of a file; empty ones are left out.
///
/// # Errors
/// The line, where it is known, and a sentence that repeats nothing of the file: it may hold private keys.
pub(super) fn documents(text: &str) -> Result<Vec<Document>, (u64, String)> {
    // Aliases are limited as the parser does by itself; depth to what a small stack of a thread holds. The other limits
    // allow what a file of the largest size holds.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_documents: MAX_FILE / 32,
            max_events: MAX_FILE / 4,
            max_nodes: MAX_FILE / 8,
        },
    };
    let nodes: Vec<Spanned<Node>> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        (line, error.without_snippet().to_string())
    })?;
    let filled = nodes.into_iter().filter(|node| !matches!(&node.value, Node::Scalar(Value::Null)));
    Ok(filled.map(Document).collect())
}

impl Document {
    /// The document as JSON, which is what API objects are read from.
    pub(super) fn to_json(&self) -> Value {
        self.0.value.to_json()
    }

    /// The documents of a `kind: List` or of a list of one kind, such as `ApisixTlsList`; or the document itself.
    pub(super) fn items(self) -> Vec<Self> {
        let Node::Map(mut map) = self.0.value else { return vec![self] };
        let is_list = matches!(map.get("kind").map(|kind| &kind.value), Some(Node::Scalar(Value::String(kind))) if kind.ends_with("List"));
        if is_list
            && matches!(map.get("items").map(|items| &items.value), Some(Node::List(_)))
            && let Some(Spanned { value: Node::List(items), .. }) = map.remove("items")
        {
            return items.into_iter().map(Self).flat_map(Self::items).collect();
        }
        vec![Self(Spanned { value: Node::Map(map), ..self.0 })]
    }

    /// The line of the value at `field`, such as `spec.http[0].match.paths[1]`; of the nearest value around it where that
    /// does not exist.
    pub(super) fn line(&self, field: &str) -> u64 {
        let mut at = &self.0;
        for step in field.split(['.', '[']) {
            let index = step.strip_suffix(']').and_then(|index| index.parse::<usize>().ok());
            let next = match (&at.value, index) {
                (Node::List(items), Some(index)) => items.get(index),
                (Node::Map(map), _) => map.get(step.trim_end_matches(']')),
                _ => None,
            };
            let Some(next) = next else { break };
            at = next;
        }
        at.referenced.line()
    }
}

impl Node {
    fn to_json(&self) -> Value {
        match self {
            Self::List(items) => Value::Array(items.iter().map(|item| item.value.to_json()).collect()),
            Self::Map(map) => {
                Value::Object(map.iter().map(|(key, node)| (key.clone(), node.value.to_json())).collect())
            }
            Self::Scalar(value) => value.clone(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        let number = serde_json::Number::from_f64(value).ok_or_else(|| E::custom("a number must be finite"))?;
        Ok(Node::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value()?;
            if map.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!("the key `{key}` stands twice")));
            }
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_line() {
        let text = "kind: A\nspec:\n  http:\n    - name: x\n      match:\n        paths:\n          - /a\n          - bad\n---\n\n---\nkind: B\n";
        let documents = documents(text).unwrap();
        assert_eq!(documents.len(), 2, "an empty document is none");
        assert_eq!(documents[0].line("spec.http[0].match.paths[1]"), 8);
        assert_eq!(documents[0].line("spec.http[0].match.hosts"), documents[0].line("spec.http[0].match"));
        assert_eq!(documents[1].line("kind"), 12);
        assert_eq!(documents[0].to_json()["spec"]["http"][0]["match"]["paths"][1], "bad");
    }

    #[test]
    fn an_error_names_the_line_and_shows_nothing_of_the_file() {
        let (line, message) = documents("a: 1\nkey: |\n  SECRET\nb: [1, 2\n").unwrap_err();
        assert!(line >= 3, "{line}");
        assert!(!message.contains("SECRET"), "{message}");
    }

    #[test]
    fn a_list_is_its_items() {
        let text = "kind: List\nitems:\n  - kind: A\n  - kind: B\n";
        let items: Vec<_> = documents(text).unwrap().into_iter().flat_map(Document::items).collect();
        assert_eq!(items.iter().map(|item| item.to_json()["kind"].clone()).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(items[1].line(""), 4);
        let nested = "kind: List\nitems:\n  - kind: ApisixTlsList\n    items:\n      - kind: ApisixTls\n";
        let items: Vec<_> = documents(nested).unwrap().into_iter().flat_map(Document::items).collect();
        assert_eq!(items.iter().map(|item| item.to_json()["kind"].clone()).collect::<Vec<_>>(), ["ApisixTls"]);
    }

    #[test]
    fn a_file_may_hold_thousands_of_objects() {
        let text = "kind: A\nmetadata: {name: x}\nspec: {list: [1, 2, 3]}\n---\n".repeat(3000);
        assert_eq!(documents(&text).unwrap().len(), 3000);
        let many = format!("list: [{}]\n", "1,".repeat(300_000));
        assert_eq!(documents(&many).unwrap().len(), 1);
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(documents(&deep).is_err(), "depth stays limited");
        let deep = format!("{}{}", "{a: [".repeat(50), "]}".repeat(50));
        assert!(documents(&deep).is_err(), "depth stays limited");
    }
}
