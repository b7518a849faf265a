//! `match.exprs`.

use std::sync::Arc;

use super::super::no_regex;
use crate::api;
use crate::model::{BodyArgument, Comparison, Expression, Invalid, Number, Pattern, Subject, Test, Variable};

/// Conditions of a rule that have a regular expression: each may take [`Pattern::MAX_SIZE`].
const MAX_PATTERNS: usize = 64;

const SCOPES: &str = "Header, Query, Path, Cookie, Variable, Body";

const OPERATORS: [&str; 12] = [
    "Equal",
    "NotEqual",
    "GreaterThan",
    "GreaterThanEqual",
    "LessThan",
    "LessThanEqual",
    "In",
    "NotIn",
    "RegexMatch",
    "RegexMatchCaseInsensitive",
    "RegexNotMatch",
    "RegexNotMatchCaseInsensitive",
];

pub(super) fn expressions(list: Vec<api::Expression>, field: &str) -> Result<Box<[Expression]>, Invalid> {
    let read = |(index, one)| expression(one, &format!("{field}[{index}]"));
    let expressions: Box<[_]> = list.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    at_most_patterns(&expressions, field)?;
    Ok(expressions)
}

/// Refuses conditions that would take too much memory.
pub(in crate::source) fn at_most_patterns(expressions: &[Expression], field: &str) -> Result<(), Invalid> {
    let comparisons = expressions.iter().flat_map(Expression::comparisons);
    let patterns = comparisons.filter(|one| matches!(one.test, Test::Matches(_))).count();
    if patterns > MAX_PATTERNS {
        let message = format!("holds {patterns} regular expressions; {MAX_PATTERNS} are the most");
        return Err(Invalid::spec(field, message));
    }
    Ok(())
}

fn expression(expression: api::Expression, field: &str) -> Result<Expression, Invalid> {
    let api::Expression { op, set, subject, value } = expression;
    let subject = subject.ok_or_else(|| Invalid::spec(format!("{field}.subject"), "must be set"))?;
    let subject = self::subject(subject, &format!("{field}.subject"))?;
    let op = op.unwrap_or_default();
    if !OPERATORS.contains(&&*op) {
        let message = format!("unknown operator `{op}`: it is none of {}", OPERATORS.join(", "));
        return Err(Invalid::spec(format!("{field}.op"), message));
    }
    let (test, negated) = match &*op {
        "In" | "NotIn" => (one_of(set, value.as_deref(), &op, field)?, op == "NotIn"),
        _ => comparison(&op, set, value, field)?,
    };
    Ok(Expression::Comparison(Comparison { negated, subject, test }))
}

fn one_of(set: Option<Vec<String>>, value: Option<&str>, op: &str, field: &str) -> Result<Test, Invalid> {
    if value.is_some() {
        return Err(Invalid::spec(format!("{field}.value"), format!("must not be set: {op} compares with `set`")));
    }
    let set = set.filter(|set| !set.is_empty());
    let set = set.ok_or_else(|| Invalid::spec(format!("{field}.set"), "must hold at least one value"))?;
    Ok(Test::In(set.into_iter().map(Arc::from).collect()))
}

fn comparison(op: &str, set: Option<Vec<String>>, value: Option<String>, field: &str) -> Result<(Test, bool), Invalid> {
    if set.is_some_and(|set| !set.is_empty()) {
        return Err(Invalid::spec(format!("{field}.set"), format!("must not be set: {op} compares with `value`")));
    }
    let field = format!("{field}.value");
    let value = value.ok_or_else(|| Invalid::spec(&field, "must be set"))?;
    let number = || {
        Number::parse(&value).ok_or_else(|| Invalid::spec(&field, format!("`{value}` is no number, as {op} needs one")))
    };
    let pattern = |ignores_case| pattern(&value, ignores_case, &field);
    Ok(match op {
        "GreaterThan" => (Test::Greater(number()?), false),
        "GreaterThanEqual" => (Test::GreaterOrEqual(number()?), false),
        "LessThan" => (Test::Less(number()?), false),
        "LessThanEqual" => (Test::LessOrEqual(number()?), false),
        "RegexMatch" => (pattern(false)?, false),
        "RegexMatchCaseInsensitive" => (pattern(true)?, false),
        "RegexNotMatch" => (pattern(false)?, true),
        "RegexNotMatchCaseInsensitive" => (pattern(true)?, true),
        _ => (Test::Equal(value.into()), op == "NotEqual"),
    })
}

/// The test of a regular expression.
pub(in crate::source) fn pattern(text: &str, ignores_case: bool, field: &str) -> Result<Test, Invalid> {
    if text.is_empty() {
        return Err(Invalid::spec(field, "must not be empty: it would match everything"));
    }
    Pattern::new(text, ignores_case).map(Test::Matches).map_err(|error| no_regex(text, &error, field))
}

fn subject(subject: api::ExpressionSubject, field: &str) -> Result<Subject, Invalid> {
    let api::ExpressionSubject { name, scope } = subject;
    let scope = scope.unwrap_or_default();
    let name_field = format!("{field}.name");
    let name = name.unwrap_or_default();
    if name.is_empty() && ["Body", "Header", "Query", "Cookie", "Variable"].contains(&&*scope) {
        return Err(Invalid::spec(name_field, "must not be empty: only the scope Path needs none"));
    }
    match &*scope {
        "Body" => {
            let argument = BodyArgument::parse(&name).map(Subject::Body);
            argument.ok_or_else(|| {
                let message =
                    format!("`{name}` is no argument of a body; write `user`, `user.name` or `messages[0].text`");
                Invalid::spec(name_field, message)
            })
        }
        "Cookie" => Ok(Subject::Cookie(name.into())),
        "Header" => header(&name, &name_field),
        "Path" => Ok(Subject::Variable(Variable::Uri)),
        "Query" => Ok(Subject::Query(name.into())),
        "Variable" => variable(&name, &name_field),
        _ => Err(Invalid::spec(format!("{field}.scope"), format!("`{scope}` is none of {SCOPES}"))),
    }
}

fn header(name: &str, field: &str) -> Result<Subject, Invalid> {
    // RFC 9110 section 5.6.2
    let is_token = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if !is_token {
        return Err(Invalid::spec(field, format!("`{name}` is no name of a header")));
    }
    // HTTP/2 requests have none: a condition on it would not be met there.
    if name.eq_ignore_ascii_case("host") {
        return Err(Invalid::spec(field, "the host is compared with the scope Variable and the name `host`"));
    }
    Ok(Subject::Header(name.to_ascii_lowercase().into()))
}

/// A variable of nginx or APISIX. One that we do not know would be missing in every request, and satisfy every negated
/// condition.
pub(in crate::source) fn variable(name: &str, field: &str) -> Result<Subject, Invalid> {
    let known = Variable::NAMES.iter().find(|(known, _)| *known == name);
    if let Some((_, variable)) = known {
        return Ok(Subject::Variable(*variable));
    }
    match name.split_once('_') {
        Some(("arg", name)) if !name.is_empty() => Ok(Subject::Query(name.into())),
        Some(("cookie", name)) if !name.is_empty() => Ok(Subject::Cookie(name.into())),
        Some(("http", name)) if !name.is_empty() => header(&name.replace('_', "-"), field),
        Some(("content", "length" | "type")) => header(&name.replace('_', "-"), field),
        _ => {
            let names: Vec<_> = Variable::NAMES.iter().map(|(name, _)| *name).collect();
            let message = format!(
                "variable `{name}` is not served; {}, arg_NAME, content_length, content_type, cookie_NAME and http_NAME are",
                names.join(", ")
            );
            Err(Invalid::unsupported(field, message))
        }
    }
}
