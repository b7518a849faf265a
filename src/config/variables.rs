//! YAML with `${{NAME}}` and `${{NAME:=default}}` in its texts.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

use super::Error;

static VARIABLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\$\{\{\s*(?<name>\w+)\s*(?::=(?<default>.*?))?\}\}").ok());

/// Reads YAML, with environment variables put into its texts. As YAML 1.2 has them, `on` and `n` are texts.
///
/// # Errors
/// When it is no YAML, or a variable is not set and has no default. Nothing of the file is repeated: it may hold private keys.
pub(super) fn read(text: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<Value, Error> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let mut value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location().map(|location| format!("line {}: ", location.line())).unwrap_or_default();
        Error::new("", format!("{at}{}", error.without_snippet()))
    })?;
    fill_in(&mut value, "", variable)?;
    Ok(value)
}

/// Puts environment variables into every text of `value`. A text that was nothing but variables and now is a number or a truth value
/// becomes one (APISIX).
///
/// # Errors
/// When a variable is not set and has no default.
fn fill_in(value: &mut Value, key: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .enumerate()
            .try_for_each(|(index, item)| fill_in(item, &format!("{key}[{index}]"), variable)),
        Value::Object(map) => map.iter_mut().try_for_each(|(name, value)| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            fill_in(value, &key, variable)
        }),
        Value::String(text) => {
            if let Some(filled) = filled(text, key, variable)? {
                *value = typed(filled);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn filled(text: &str, key: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<Option<String>, Error> {
    let Some(pattern) = VARIABLE.as_ref().filter(|pattern| pattern.is_match(text)) else { return Ok(None) };
    let mut missing = None;
    let filled = pattern.replace_all(text, |found: &Captures<'_>| {
        let name = &found["name"];
        let default = || found.name("default").map(|default| default.as_str().trim().to_owned());
        variable(name).or_else(default).unwrap_or_else(|| {
            missing = Some(name.to_owned());
            String::new()
        })
    });
    match missing {
        None => Ok(Some(filled.into_owned())),
        Some(name) => Err(Error::new(
            key,
            format!("the environment variable {name} is not set; set it, or write `${{{{{name}:=default}}}}`"),
        )),
    }
}

fn typed(text: String) -> Value {
    match text.as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        number => number.parse::<i64>().map_or(Value::String(text), Value::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fill(mut value: Value) -> Result<Value, Error> {
        let variable = |name: &str| (name == "PORT").then(|| "9080".to_owned());
        fill_in(&mut value, "", &variable).map(|()| value)
    }

    #[test]
    fn variables_and_their_defaults_are_filled_in() {
        for (text, expected) in [
            ("${{PORT}}", json!(9080)),
            ("${{ PORT }}", json!(9080)),
            ("${{PORT:=1}}", json!(9080)),
            ("${{NONE:=1}}", json!(1)),
            ("${{NONE:= true }}", json!(true)),
            ("${{NONE:=}}", json!("")),
            ("${{NONE:=a b}}", json!("a b")),
            ("http://${{NONE:=h}}:${{PORT}}/", json!("http://h:9080/")),
            ("$PORT ${PORT} ${{}}", json!("$PORT ${PORT} ${{}}")),
            ("9080", json!("9080")),
        ] {
            assert_eq!(fill(json!({"a": [text]})), Ok(json!({"a": [expected]})), "{text}");
        }
        let error = fill(json!({"a": {"b": ["x", "${{NONE}}"]}})).unwrap_err();
        assert_eq!(error.key, "a.b[1]");
        assert!(error.message.contains("NONE is not set"), "{error}");
    }
}
