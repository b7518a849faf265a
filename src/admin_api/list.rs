//! Which of the resources of a kind are shown.

use http::StatusCode;
use regex::RegexBuilder;
use serde::Serialize;
use serde_json::Value;

use super::answer::Failure;
use super::query::Query;
use crate::resource::Kind;

/// The largest compiled filter, in bytes.
const REGEX_SIZE: usize = 1 << 18;

/// Sizes of pages that APISIX allows.
const PAGE_SIZES: std::ops::RangeInclusive<u64> = 10..=500;

/// A resource as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Item {
    pub(super) key: String,
    pub(super) value: Value,
    #[serde(rename = "createdIndex")]
    pub(super) created: u64,
    #[serde(rename = "modifiedIndex")]
    pub(super) modified: u64,
}

/// Several of them, in APISIX's order of members, which scripts compare as a text.
#[derive(Debug, Serialize)]
pub(super) struct List {
    /// How many there are on all pages.
    total: usize,
    list: Vec<Item>,
}

/// The answer to a list of `items`: those that the filters `name`, `label`, `uri` and `filter` let through, or a page of them.
///
/// # Errors
/// When the page's size is not allowed.
pub(super) fn answer(kind: Kind, mut items: Vec<Item>, query: &Query) -> Result<List, Failure> {
    let (name, uri) = (Pattern::new(query.get("name")), Pattern::new(query.get("uri")));
    let filters = query.within("filter");
    items.retain(|Item { value, .. }| {
        name.allows(value.get("name").into_iter())
            && uri.allows(
                value.get("uri").into_iter().chain(value.get("uris").and_then(Value::as_array).into_iter().flatten()),
            )
            && query
                .get("label")
                .is_none_or(|label| value.pointer("/labels").and_then(|labels| labels.get(label)).is_some())
            && filters
                .iter()
                .filter(|(field, _)| is_filter(kind, field))
                .all(|(field, wanted)| has(value, field, wanted))
    });
    let total = items.len();
    if let Some((page, size)) = page(query)? {
        items.sort_by_key(|item| item.created);
        let before = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
        items = items.into_iter().skip(before).take(usize::try_from(size).unwrap_or(usize::MAX)).collect();
    }
    Ok(List { total, list: items })
}

/// Fields that `filter` may name.
fn is_filter(kind: Kind, field: &str) -> bool {
    matches!(kind, Kind::Route | Kind::StreamRoute) && matches!(field, "service_id" | "upstream_id")
}

fn has(value: &Value, field: &str, wanted: &str) -> bool {
    match value.get(field) {
        Some(Value::Number(number)) => number.to_string() == wanted,
        Some(Value::String(text)) => text == wanted,
        _ => false,
    }
}

/// The page and its size; both must be there.
fn page(query: &Query) -> Result<Option<(u64, u64)>, Failure> {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<i64>().ok());
    let (Some(page), Some(size)) = (number("page"), number("page_size")) else { return Ok(None) };
    let size = u64::try_from(size).ok().filter(|size| PAGE_SIZES.contains(size)).ok_or_else(|| Failure {
        body: Value::String("page_size must be between 10 and 500".to_owned()),
        status: StatusCode::BAD_REQUEST,
    })?;
    Ok(Some((u64::try_from(page).unwrap_or(1).max(1), size)))
}

/// A regular expression that is looked for in texts.
enum Pattern {
    Any,
    Broken,
    Regex(regex::Regex),
}

impl Pattern {
    fn new(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::Any };
        RegexBuilder::new(text).size_limit(REGEX_SIZE).build().map_or(Self::Broken, Self::Regex)
    }

    /// Whether it is found in one of the texts. One that is broken is found nowhere.
    fn allows<'a>(&self, mut texts: impl Iterator<Item = &'a Value>) -> bool {
        match self {
            Self::Any => true,
            Self::Broken => false,
            Self::Regex(regex) => texts.any(|text| text.as_str().is_some_and(|text| regex.is_match(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn items() -> Vec<Item> {
        (1..=25)
            .map(|number: u64| Item {
                created: 100 - number,
                key: format!("/apisix/routes/{number}"),
                modified: number,
                value: json!({
                    "name": format!("route-{number}"),
                    "uris": ["/x", format!("/{number}")],
                    "labels": if number == 3 { json!({ "env": "a" }) } else { json!({}) },
                    "upstream_id": if number == 4 { json!(7) } else { json!("8") },
                }),
            })
            .collect()
    }

    fn keys(query: &str) -> (usize, Vec<u64>) {
        let answer = answer(Kind::Route, items(), &Query::parse(query)).unwrap();
        (answer.total, answer.list.iter().map(|item| item.modified).collect())
    }

    #[test]
    fn filters_let_through_what_matches() {
        assert_eq!(keys("").0, 25);
        assert_eq!(keys("name=route-2%240"), (0, vec![]));
        assert_eq!(keys("name=-2$"), (1, vec![2]));
        assert_eq!(keys("name=("), (0, vec![]), "a broken expression");
        assert_eq!(keys("label=env"), (1, vec![3]));
        assert_eq!(keys("uri=%5E/25"), (1, vec![25]));
        assert_eq!(keys("filter=upstream_id%3D7"), (1, vec![4]));
        assert_eq!(keys("filter=unknown%3D7").0, 25, "as APISIX, which logs it");
    }

    #[test]
    fn pages_are_cut_by_age() {
        assert_eq!(keys("page=3&page_size=10"), (25, vec![5, 4, 3, 2, 1]));
        assert_eq!(keys("page=0&page_size=10").1[0], 25);
        assert_eq!(keys("page=9223372036854775807&page_size=500"), (25, vec![]));
        assert_eq!(keys("page=1").1.len(), 25, "both arguments make a page");
        for size in ["9", "501", "-1"] {
            let query = Query::parse(&format!("page=1&page_size={size}"));
            let failure = answer(Kind::Route, items(), &query).unwrap_err();
            assert_eq!(
                (failure.status, failure.body.as_str()),
                (StatusCode::BAD_REQUEST, Some("page_size must be between 10 and 500"))
            );
        }
    }
}
