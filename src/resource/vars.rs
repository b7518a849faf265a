//! The language of `vars` (lua-resty-expr): conditions `[variable, operator, value]`, negated by a `!` before the operator, in lists that
//! begin with `AND`, `OR`, `!AND` or `!OR`, or with none of them, which means `AND`.

use regex::bytes::Regex;
use serde_json::Value;

use crate::model::Network;

const LOGIC: [&str; 4] = ["AND", "OR", "!AND", "!OR"];
const OPERATORS: [&str; 11] = ["==", "~=", ">", ">=", "<", "<=", "~~", "~*", "in", "has", "ipmatch"];

/// Lists may stand in lists; this deep at most.
const DEPTH: usize = 16;

/// Whether `vars` can be read.
///
/// # Errors
/// What is wrong first.
pub(super) fn check(vars: &[Value]) -> Result<(), String> {
    list(vars, DEPTH)
}

fn list(items: &[Value], depth: usize) -> Result<(), String> {
    let Some(depth) = depth.checked_sub(1) else { return Err("rule too deep".to_owned()) };
    let items = match items.split_first() {
        Some((Value::String(word), rest)) if LOGIC.contains(&word.as_str()) => {
            if rest.len() < 2 {
                return Err("rule too short".to_owned());
            }
            rest
        }
        _ => items,
    };
    items.iter().try_for_each(|item| match item.as_array().map(Vec::as_slice) {
        Some([Value::String(word), ..]) if !LOGIC.contains(&word.as_str()) => {
            condition(item.as_array().map_or(&[], Vec::as_slice))
        }
        Some(items) if !items.is_empty() => list(items, depth),
        _ => Err("rule should be wrapped inside brackets".to_owned()),
    })
}

fn condition(items: &[Value]) -> Result<(), String> {
    let (operator, value) = match items {
        [_, Value::String(not), Value::String(operator), value] if not == "!" => (operator, value),
        [_, Value::String(operator), value] => (operator, value),
        [_, Value::String(operator), ..] if !OPERATORS.contains(&operator.as_str()) && operator != "!" => {
            return Err(format!("invalid operator '{operator}'"));
        }
        _ => return Err("rule should have a variable, an operator and a value".to_owned()),
    };
    match operator.as_str() {
        "~~" | "~*" => {
            let regex =
                value.as_str().ok_or_else(|| format!("the value of '{operator}' should be a regular expression"))?;
            Regex::new(regex).map(|_| ()).map_err(|_| format!("the regular expression '{regex}' is not usable"))
        }
        "in" | "ipmatch" if !value.is_array() => Err(format!("the value of '{operator}' should be an array")),
        "ipmatch" => {
            let networks = value.as_array().map(Vec::as_slice).unwrap_or_default();
            networks.iter().try_for_each(|network| Network::parse(network.as_str().unwrap_or_default()).map(|_| ()))
        }
        known if OPERATORS.contains(&known) => Ok(()),
        _ => Err(format!("invalid operator '{operator}'")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn says(vars: &Value) -> Result<(), String> {
        check(vars.as_array().unwrap())
    }

    #[test]
    fn conditions_lists_and_negations_are_read() {
        for vars in [
            json!([]),
            json!([["arg_name", "==", "json"]]),
            json!([["arg_a", "==", "1"], ["http_b", "!", "in", ["2", 3]]]),
            json!(["OR", ["arg_a", "~~", "^a"], ["!AND", ["arg_b", ">", 1], ["arg_c", "has", "c"]]]),
            json!([["OR", ["a", "==", "1"], ["b", "==", "2"]], ["remote_addr", "ipmatch", ["10.0.0.0/8"]]]),
        ] {
            assert_eq!(says(&vars), Ok(()), "{vars}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut deep = json!([["a", "==", 1]]);
        for _ in 0..DEPTH {
            deep = json!([deep]);
        }
        for (vars, why) in [
            (json!([["arg_name", "=", "json"]]), "invalid operator '='"),
            (json!(["arg_name", "==", "json"]), "rule should be wrapped inside brackets"),
            (json!(["OR", ["a", "==", 1]]), "rule too short"),
            (json!([["a", "~~", "("]]), "the regular expression '(' is not usable"),
            (json!([["a", "in", "b"]]), "the value of 'in' should be an array"),
            (json!([["a"]]), "rule should have a variable, an operator and a value"),
            (json!([[]]), "rule should be wrapped inside brackets"),
            (deep, "rule too deep"),
        ] {
            assert_eq!(says(&vars), Err(why.to_owned()), "{vars}");
        }
        assert!(says(&json!([["a", "ipmatch", ["x"]]])).is_err());
    }
}
