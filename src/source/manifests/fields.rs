//! Misspelt kinds and fields of our own kinds. The API server refuses them by its schema; a file has no such guard, and a
//! policy that is misspelt must not be one that is left out.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use serde_json::Value;

use crate::api::{GROUP, spec_schema};
use crate::model::{Invalid, Kind};

const KINDS: [(&str, &[&str]); 3] = [
    ("ApisixRoute", &["v2", "v2beta3", "v2beta2", "v2beta1"]),
    ("ApisixTls", &["v2", "v2beta3", "v1"]),
    ("ApisixUpstream", &["v2", "v2beta3"]),
];

/// Kinds of the same group that are passed over on purpose.
const OTHERS: [&str; 4] = ["ApisixClusterConfig", "ApisixConsumer", "ApisixGlobalRule", "ApisixPluginConfig"];

const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// The shapes of the specs of our kinds, each made with the first object of its kind: a schema takes a megabyte meanwhile.
static SPECS: [LazyLock<Option<Shape>>; KINDS.len()] =
    [LazyLock::new(|| shape(0)), LazyLock::new(|| shape(1)), LazyLock::new(|| shape(2))];

fn shape(kind: usize) -> Option<Shape> {
    spec_schema(KINDS[kind].0).map(Shape::from)
}

/// What is needed of a schema, which takes a hundred times as much memory.
struct Shape {
    /// The fields of an object; `None` where it may have any.
    fields: Option<BTreeMap<String, Shape>>,
    /// The elements of an array.
    items: Option<Box<Shape>>,
    /// Whether other fields are allowed too.
    open: bool,
}

impl From<JSONSchemaProps> for Shape {
    fn from(schema: JSONSchemaProps) -> Self {
        let fields = schema.properties.map(|fields| fields.into_iter().map(|(name, of)| (name, of.into())).collect());
        let items = match schema.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) => Some(Box::new((*items).into())),
            _ => None,
        };
        Self { fields, items, open: schema.x_kubernetes_preserve_unknown_fields == Some(true) }
    }
}

/// What is wrong with the kind of a document that is not read, if one of ours was meant.
pub(super) fn mistaken_kind(api_version: &str, kind: &str) -> Option<Invalid> {
    let (group, version) = api_version.split_once('/').unwrap_or((api_version, ""));
    if kind == "List" {
        return Some(Invalid::spec("kind", "a List needs `items`, a list"));
    }
    let ours = group == GROUP || kind.to_ascii_lowercase().starts_with("apisix");
    if !ours || OTHERS.contains(&kind) {
        return None;
    }
    let Some((_, versions)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let names = KINDS.map(|(name, _)| name);
        let nearest = nearest(kind, &names).unwrap_or_default();
        return Some(Invalid::spec("kind", format!("`{kind}` is not a kind that is read; did you mean `{nearest}`?")));
    };
    let nearest = nearest(version, versions).unwrap_or_default();
    let message = format!("`{api_version}` is not a version of {kind}; did you mean `{GROUP}/{nearest}`?");
    Some(Invalid::spec("apiVersion", message))
}

/// The fields of a document that its kind does not have.
pub(super) fn unknown(kind: Kind, document: &Value) -> Vec<Invalid> {
    let mut wrong = Vec::new();
    let of_kind = KINDS.iter().zip(&SPECS).find(|((name, _), _)| *name == kind.as_str());
    if let Some(spec) = of_kind.and_then(|(_, spec)| spec.as_ref()) {
        check("", document, &TOP, &mut wrong);
        descend("spec", &document["spec"], spec, &mut wrong);
    }
    wrong
}

/// Checks the fields of a value and all below it.
fn descend(at: &str, value: &Value, shape: &Shape, wrong: &mut Vec<Invalid>) {
    match (value, &shape.fields, &shape.items) {
        (Value::Object(map), Some(fields), _) => {
            if !shape.open {
                let known: Vec<_> = fields.keys().map(String::as_str).collect();
                check(at, value, &known, wrong);
            }
            for (name, value) in map {
                if let Some(shape) = fields.get(name) {
                    descend(&format!("{at}.{name}"), value, shape, wrong);
                }
            }
        }
        (Value::Array(values), _, Some(shape)) => {
            for (index, value) in values.iter().enumerate() {
                descend(&format!("{at}[{index}]"), value, shape, wrong);
            }
        }
        _ => {}
    }
}

fn check(at: &str, value: &Value, known: &[&str], wrong: &mut Vec<Invalid>) {
    for name in value.as_object().into_iter().flat_map(|map| map.keys()).filter(|name| !known.contains(&name.as_str()))
    {
        let field = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let meant = nearest(name, known).filter(|near| distance(name, near) <= 1 + near.len() / 3);
        let message = match meant {
            Some(meant) => format!("is not a field; did you mean `{meant}`?"),
            None => format!("is not a field; there are: {}", known.join(", ")),
        };
        wrong.push(Invalid::spec(field, message));
    }
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known.iter().copied().min_by_key(|other| distance(name, other))
}

/// How many letters have to be added, dropped or replaced to make `b` of `a`, in whatever case. A name is compared only so
/// far: no field is longer.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (line, letter) in b.chars().enumerate() {
        let mut corner = row[0];
        row[0] = line + 1;
        for (column, other) in a.iter().enumerate() {
            let same = usize::from(!letter.eq_ignore_ascii_case(other));
            let cost = (corner + same).min(row[column] + 1).min(row[column + 1] + 1);
            corner = std::mem::replace(&mut row[column + 1], cost);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_those_that_are_read() {
        for (kind, versions) in KINDS {
            for version in versions {
                assert!(crate::source::parse::kind(&format!("{GROUP}/{version}"), kind).is_some(), "{kind} {version}");
            }
        }
    }

    #[test]
    fn fields_are_checked_at_every_depth() {
        let document = serde_json::json!({"kind": "ApisixTls", "spec": {
            "hosts": ["a.example"],
            "client": {"caSecret": {"name": "ca"}, "identities": [{"dns": [{"exact": "a"}, {"sufix": "b"}]}], "mod": "Require"},
        }});
        let wrong: Vec<_> = unknown(Kind::ApisixTls, &document).iter().map(ToString::to_string).collect();
        assert_eq!(
            wrong,
            [
                "spec.client.mod: is not a field; did you mean `mode`?",
                "spec.client.identities[0].dns[1].sufix: is not a field; did you mean `suffix`?",
            ]
        );
        let free =
            serde_json::json!({"spec": {"http": [{"plugins": [{"name": "x", "config": {"any": {"thing": 1}}}]}]}});
        assert_eq!(unknown(Kind::ApisixRoute, &free), []);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("clients", "client"), 1);
        assert_eq!(distance("ApisixTLS", "ApisixTls"), 0);
        assert_eq!(distance("", "abc"), 3);
    }
}
