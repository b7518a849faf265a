//! The errors of a schema in APISIX's words, of which it says one: the first that its validator would come to (api7/jsonschema).

use std::collections::HashMap;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

/// What APISIX would say about a resource with these errors; `None` where there is none.
pub(super) fn first<'a>(schema: &Value, errors: impl Iterator<Item = ValidationError<'a>>) -> Option<String> {
    let error = errors.map(|error| (path(&error), error)).min_by_key(|(path, _)| order(path))?;
    Some(Words { schema, error: &error.1 }.of(&error.0))
}

/// The keywords on the way to the one that does not hold.
fn path(error: &ValidationError<'_>) -> Vec<String> {
    segments(error.schema_path().as_str())
}

fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()
}

/// The order in which APISIX comes to them.
fn order(path: &[String]) -> Vec<(usize, String)> {
    const KEYWORDS: [&str; 27] = [
        "type",
        "properties",
        "required",
        "dependentSchemas",
        "patternProperties",
        "additionalProperties",
        "minProperties",
        "maxProperties",
        "minItems",
        "maxItems",
        "items",
        "uniqueItems",
        "minLength",
        "maxLength",
        "pattern",
        "minimum",
        "exclusiveMinimum",
        "maximum",
        "exclusiveMaximum",
        "enum",
        "allOf",
        "anyOf",
        "oneOf",
        "then",
        "else",
        "not",
        "format",
    ];
    let mut order = Vec::new();
    let mut named = false;
    for segment in path {
        let rank = if named { 0 } else { KEYWORDS.iter().position(|word| word == segment).unwrap_or(KEYWORDS.len()) };
        order.push((rank, segment.clone()));
        named = !named && has_name(segment);
    }
    order
}

/// Whether the keyword has several schemas, each with a name or a number.
fn has_name(keyword: &str) -> bool {
    matches!(keyword, "properties" | "dependentSchemas" | "patternProperties" | "allOf" | "anyOf" | "oneOf")
}

struct Words<'a> {
    schema: &'a Value,
    error: &'a ValidationError<'a>,
}

impl Words<'_> {
    /// The whole text.
    fn of(&self, path: &[String]) -> String {
        let instance = segments(self.error.instance_path().as_str());
        let mut instance = instance.iter();
        let mut text = String::new();
        let mut segments = path.iter().map(String::as_str);
        while let Some(keyword) = segments.next() {
            match keyword {
                "then" | "else" => return format!("{text}{keyword} clause did not match"),
                "properties" | "patternProperties" | "dependentSchemas" | "allOf" => {
                    let Some(name) = segments.next() else { break };
                    let word = match keyword {
                        "properties" => {
                            instance.next();
                            format!("property {} validation failed: ", quoted(name))
                        }
                        "patternProperties" => {
                            let found = instance.next().map_or("", String::as_str);
                            format!("failed to validate {found} (matching {}): ", quoted(name))
                        }
                        "allOf" => format!("allOf {} failed: ", name.parse().map_or(0, |place: usize| place + 1)),
                        _ => format!("failed to validate dependent schema for {}: ", quoted(name)),
                    };
                    text.push_str(&word);
                }
                "items" => {
                    let place =
                        instance.next().and_then(|place| place.parse().ok()).map_or(0, |place: usize| place + 1);
                    text.push_str(&format_item(place));
                }
                _ => break,
            }
        }
        text + &self.last()
    }

    /// What the last keyword says.
    fn last(&self) -> String {
        let found = self.error.instance();
        let limit = self.schema.pointer(self.error.schema_path().as_str()).unwrap_or(&Value::Null);
        match self.error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let name = unexpected.first().map_or("", String::as_str);
                format!("additional properties forbidden, found {name}")
            }
            ValidationErrorKind::AnyOf { .. } => any_of(limit),
            ValidationErrorKind::Enum { .. } => "matches none of the enum values".to_owned(),
            ValidationErrorKind::ExclusiveMinimum { .. } => format!("expected {found} to be greater than {limit}"),
            ValidationErrorKind::Format { format } => format!("expect valid {format} format but got: {}", text(found)),
            ValidationErrorKind::Maximum { .. } => format!("expected {found} to be at most {limit}"),
            ValidationErrorKind::MaxItems { .. } => format!("expect array to have at most {limit} items"),
            ValidationErrorKind::MaxLength { .. } => {
                format!("string too long, expected at most {limit}, got {}", text(found).chars().count())
            }
            ValidationErrorKind::MaxProperties { .. } => format!("expect object to have at most {limit} properties"),
            ValidationErrorKind::Minimum { .. } => format!("expected {found} to be at least {limit}"),
            ValidationErrorKind::MinItems { .. } => format!("expect array to have at least {limit} items"),
            ValidationErrorKind::MinLength { .. } => {
                format!("string too short, expected at least {limit}, got {}", text(found).chars().count())
            }
            ValidationErrorKind::Not { .. } => "value wasn't supposed to match schema".to_owned(),
            ValidationErrorKind::OneOfMultipleValid { context } => {
                let valid: Vec<_> =
                    context.iter().enumerate().filter(|(_, errors)| errors.is_empty()).map(|(at, _)| at + 1).collect();
                let [one, other] = [valid.first(), valid.get(1)].map(|at| at.copied().unwrap_or(0));
                format!("value should match only one schema, but matches both schemas {one} and {other}")
            }
            ValidationErrorKind::OneOfNotValid { .. } => {
                "value should match only one schema, but matches none".to_owned()
            }
            ValidationErrorKind::Pattern { pattern } => {
                format!("failed to match pattern {} with {}", quoted(pattern), quoted(text(found)))
            }
            ValidationErrorKind::Required { property } => format!("property {} is required", quoted(text(property))),
            ValidationErrorKind::Type { .. } => {
                format!("wrong type: expected {}, got {}", text(limit), type_name(found))
            }
            ValidationErrorKind::UniqueItems => unique_items(found),
            other => format!("{other:?}"),
        }
    }
}

fn format_item(place: usize) -> String {
    format!("failed to validate item {place}: ")
}

fn any_of(schemas: &Value) -> String {
    let required = |schema: &Value| schema.get("required").map(ToString::to_string);
    let required: Vec<_> = schemas.as_array().into_iter().flatten().filter_map(required).collect();
    let required = if required.is_empty() { String::new() } else { format!(": {}", required.join(" or ")) };
    format!("object matches none of the required{required}")
}

fn unique_items(found: &Value) -> String {
    let items = found.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut seen = HashMap::new();
    let equal = items.iter().enumerate().find_map(|(at, item)| {
        let first = seen.insert(item.to_string(), at)?;
        Some((first + 1, at + 1))
    });
    let (one, other) = equal.unwrap_or_default();
    format!("expected unique items but items {one} and {other} are equal")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// As Lua's `%q`.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Lua's name of a value's type.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Array(_) | Value::Object(_) => "table",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
        Value::Number(_) => "number",
        Value::String(_) => "string",
    }
}

#[cfg(test)]
mod tests;
