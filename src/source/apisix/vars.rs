//! `vars`: conditions as lua-resty-expr has them.

use serde_json::Value;

use crate::model::{Comparison, Expression, Group, Invalid, Network, Number, Test};
use crate::source::parse::route::expressions::{at_most_patterns, pattern, variable};

const OPERATORS: &str = "==, ~=, >, >=, <, <=, ~~, ~*, in, has, ipmatch";

/// Reads `vars`, which stands at `field`: conditions that must all be satisfied, or one group of conditions.
pub(super) fn read(vars: &Value, field: &str) -> Result<Box<[Expression]>, Invalid> {
    if vars.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(Box::default()); // lua-cjson's empty list
    }
    let list = vars.as_array().ok_or_else(|| Invalid::spec(field, "must be a list of conditions"))?;
    let expressions: Box<[_]> = match list.first() {
        None => Box::default(),
        Some(Value::String(operator)) if group(operator).is_none() => {
            let message = format!("`{operator}` is no condition: each is a list of its own, such as {EXAMPLE}");
            return Err(Invalid::spec(field, message));
        }
        Some(Value::String(_)) => [expression(vars, field)?].into(),
        Some(_) => each(list, 0, field)?,
    };
    at_most_patterns(&expressions, field)?;
    Ok(expressions)
}

const EXAMPLE: &str = r#"["arg_name", "==", "json"]"#;

/// `any` and `negated` of a group's operator.
fn group(operator: &str) -> Option<(bool, bool)> {
    match operator.to_ascii_uppercase().as_str() {
        "AND" => Some((false, false)),
        "OR" => Some((true, false)),
        "!AND" => Some((false, true)),
        "!OR" => Some((true, true)),
        _ => None,
    }
}

fn each(list: &[Value], skip: usize, field: &str) -> Result<Box<[Expression]>, Invalid> {
    list.iter().enumerate().skip(skip).map(|(index, one)| expression(one, &format!("{field}[{index}]"))).collect()
}

fn expression(value: &Value, field: &str) -> Result<Expression, Invalid> {
    let wrong = || Invalid::spec(field, format!("must be a condition such as {EXAMPLE}"));
    let list = value.as_array().ok_or_else(wrong)?;
    match list.first().ok_or_else(wrong)? {
        Value::Array(_) => Ok(Expression::Group(Group { any: false, negated: false, of: each(list, 0, field)? })),
        Value::String(first) => match group(first) {
            Some(_) if list.len() < 3 => Err(Invalid::spec(field, format!("{first} joins two conditions at least"))),
            Some((any, negated)) => Ok(Expression::Group(Group { any, negated, of: each(list, 1, field)? })),
            None => comparison(first, &list[1..], field).map(Expression::Comparison),
        },
        _ => Err(wrong()),
    }
}

/// `[name, operator, value]`, `[name, "!", operator, value]` or `[name, value]`.
fn comparison(name: &str, rest: &[Value], field: &str) -> Result<Comparison, Invalid> {
    let (reversed, operator, value) = match rest {
        [Value::String(not), Value::String(operator), value] if not == "!" => (true, operator.as_str(), value),
        [Value::String(operator), value] => (false, operator.as_str(), value),
        [value] => (false, "==", value),
        _ => return Err(Invalid::spec(field, format!("must be a condition such as {EXAMPLE}"))),
    };
    let subject = variable(name, &format!("{field}[0]"))?;
    let field = format!("{field}[{}]", rest.len());
    let number = || {
        let number = match value {
            Value::Number(number) => Number::parse(&number.to_string()),
            Value::String(text) => Number::parse(text),
            _ => None,
        };
        number.ok_or_else(|| Invalid::spec(&field, format!("is no number, as {operator} needs one")))
    };
    let text = || value.as_str().ok_or_else(|| Invalid::spec(&field, format!("is no text, as {operator} needs one")));
    let (test, negated) = match operator.to_ascii_lowercase().as_str() {
        "==" | "~=" => {
            let test = match value {
                Value::Number(_) => Test::EqualNumber(number()?),
                _ => Test::Equal(text()?.into()),
            };
            (test, operator == "~=")
        }
        ">" => (Test::Greater(number()?), false),
        ">=" => (Test::GreaterOrEqual(number()?), false),
        "<" => (Test::Less(number()?), false),
        "<=" => (Test::LessOrEqual(number()?), false),
        "~~" => (pattern(text()?, false, &field)?, false),
        "~*" => (pattern(text()?, true, &field)?, false),
        "in" => (Test::In(texts(value, &field)?.into_iter().map(Into::into).collect()), false),
        "ipmatch" => (Test::InNetworks(networks(value, &field)?), false),
        "has" => (Test::In(Box::default()), false), // it looks into lists, and no variable is one
        other => {
            return Err(Invalid::spec(field, format!("unknown operator `{other}`: it is none of {OPERATORS}")));
        }
    };
    Ok(Comparison { negated: negated != reversed, subject, test })
}

/// A list of texts that is not empty.
fn texts<'v>(value: &'v Value, field: &str) -> Result<Vec<&'v str>, Invalid> {
    let texts: Option<Vec<_>> = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
    texts.filter(|texts| !texts.is_empty()).ok_or_else(|| Invalid::spec(field, "must be a list of texts, one at least"))
}

/// Networks: a list, or one.
fn networks(value: &Value, field: &str) -> Result<Box<[Network]>, Invalid> {
    let texts = match value {
        Value::String(text) => vec![text.as_str()],
        list => texts(list, field)?,
    };
    let network = |text| Network::parse(text).map(Network::to_canonical).map_err(|why| Invalid::spec(field, why));
    texts.into_iter().map(network).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(vars: &Value) -> Vec<String> {
        read(vars, "vars").unwrap().iter().map(Expression::to_string).collect()
    }

    #[test]
    fn conditions_are_read_as_lua_resty_expr_does() {
        for (vars, expected) in [
            (json!([]), vec![]),
            (json!({}), vec![]),
            (json!([["arg_name", "==", "json"]]), vec![r#"Query name Equal "json""#]),
            (json!([["arg_name", "json"]]), vec![r#"Query name Equal "json""#]),
            (json!([["arg_age", "==", 18]]), vec!["Query age Equal 18"]),
            (json!([["arg_age", "~=", 18.5]]), vec!["Query age NotEqual 18.5"]),
            (json!([["arg_age", "!", "<", 18]]), vec!["Query age NotLessThan 18"]),
            (json!([["arg_age", "!", "~=", "1"]]), vec![r#"Query age Equal "1""#]),
            (
                json!([["http_x_a", ">=", "2"], ["cookie_b", "~*", "^B"]]),
                vec!["Header x-a GreaterThanEqual 2", r#"Cookie b RegexMatchCaseInsensitive "^B""#],
            ),
            (
                json!([["remote_addr", "ipmatch", ["10.0.0.0/8", "::1"]]]),
                vec!["Variable remote_addr In 10.0.0.0/8, ::1"],
            ),
            (json!([["arg_a", "!", "has", "1"]]), vec!["Query a NotIn []"]),
            (json!([["request_method", "IN", ["GET", "PUT"]]]), vec![r#"Variable method In ["GET", "PUT"]"#]),
            (
                json!(["OR", ["arg_a", "==", "1"], ["!AND", ["arg_b", "==", "1"], ["arg_c", "==", "1"]]]),
                vec![r#"(Query a Equal "1" OR NOT (Query b Equal "1" AND Query c Equal "1"))"#],
            ),
            (
                json!([["or", ["arg_a", "==", "1"], [["arg_b", "==", "1"], ["arg_c", "==", "1"]]]]),
                vec![r#"(Query a Equal "1" OR (Query b Equal "1" AND Query c Equal "1"))"#],
            ),
        ] {
            assert_eq!(shown(&vars), expected);
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_its_place() {
        for (vars, field, message) in [
            (json!("a"), "vars", "list of conditions"),
            (json!(["arg_a", "==", "1"]), "vars", "list of its own"),
            (json!([[]]), "vars[0]", "must be a condition"),
            (json!([1]), "vars[0]", "must be a condition"),
            (json!([["arg_a"]]), "vars[0]", "must be a condition"),
            (json!([["arg_a", "=", "1"]]), "vars[0][2]", "unknown operator `=`"),
            (json!([["arg_a", "==", null]]), "vars[0][2]", "is no text"),
            (json!([["arg_a", ">", "x"]]), "vars[0][2]", "is no number"),
            (json!([["arg_a", "in", ["1", 2]]]), "vars[0][2]", "list of texts"),
            (json!([["arg_a", "!", "~~", "(?=a)"]]), "vars[0][3]", "no usable regular expression"),
            (json!([["remote_addr", "ipmatch", ["10.0.0.1/8"]]]), "vars[0][2]", "bits beyond"),
            (json!([["ssl_client_s_dn", "==", "1"]]), "vars[0][0]", "is not served"),
            (json!([["OR", ["arg_a", "==", "1"]]]), "vars[0]", "two conditions"),
            (json!(["OR", ["arg_a", "==", "1"], ["arg_b", "<", "x"]]), "vars[2][2]", "is no number"),
        ] {
            let invalid = read(&vars, "vars").unwrap_err();
            assert_eq!(invalid.field, field, "{vars}");
            assert!(invalid.message.contains(message), "{vars}: {invalid}");
        }
    }
}
