//! Arguments in the body of a request, for conditions on them.

use std::borrow::Cow;
use std::cell::Cell;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use crate::model::{BodyArgument, Step};

/// What is known of a request's body.
#[derive(Debug)]
pub enum FormBody {
    /// It has no arguments, whatever it holds.
    None,
    /// Its arguments.
    Read(Form),
    /// It was not read yet. Holds whether an argument of it was asked for: the answer was wrong, then.
    Unread(Cell<bool>),
}

impl FormBody {
    /// The value of an argument; `None` where there is no such argument.
    pub(super) fn argument(&self, argument: &BodyArgument) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::None => None,
            Self::Read(form) => form.argument(argument),
            Self::Unread(asked) => {
                asked.set(true);
                None
            }
        }
    }

    /// Whether the body must be read to answer what was asked.
    pub fn is_wanted(&self) -> bool {
        matches!(self, Self::Unread(asked) if asked.get())
    }
}

/// The shape of a body that has arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormKind {
    /// `application/json`.
    Json,
    /// `multipart/form-data` with its boundary (RFC 7578).
    Multipart(Box<[u8]>),
    /// `application/x-www-form-urlencoded`.
    Urlencoded,
}

impl FormKind {
    /// The shape that `Content-Type` names; `None` where it has no arguments, or names several types.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let (value, None) = (values.next()?.to_str().ok()?, values.next()) else { return None };
        let mut parts = value.split(';').map(str::trim);
        match parts.next()?.to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            "application/x-www-form-urlencoded" => Some(Self::Urlencoded),
            "multipart/form-data" => {
                let boundary = parts.find_map(|part| parameter(part, "boundary"))?;
                (1..=70).contains(&boundary.len()).then(|| Self::Multipart(boundary.as_bytes().into()))
            }
            _ => None,
        }
    }
}

/// The value of a parameter `name=value` or `name="value"`.
fn parameter<'a>(part: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = part.split_once('=')?;
    let value = value.strip_prefix('"').map_or(Some(value), |value| value.strip_suffix('"'))?;
    (found.eq_ignore_ascii_case(name) && !value.contains(['"', '\\'])).then_some(value)
}

/// The arguments of a body.
#[derive(Debug)]
pub enum Form {
    /// A JSON value.
    Json(Value),
    /// Names and values in their order, decoded.
    Pairs(Vec<(Box<[u8]>, Bytes)>),
}

impl Form {
    /// Reads a whole body. One that is not what its type says has no arguments.
    pub fn parse(kind: &FormKind, body: &Bytes) -> Self {
        match kind {
            FormKind::Json => Self::Json(serde_json::from_slice(body).unwrap_or_default()),
            FormKind::Multipart(boundary) => Self::Pairs(multipart(boundary, body).unwrap_or_default()),
            FormKind::Urlencoded => {
                let pairs = form_urlencoded::parse(body);
                let owned = |text: Cow<'_, str>| text.into_owned().into_bytes();
                Self::Pairs(pairs.map(|(name, value)| (owned(name).into(), owned(value).into())).collect())
            }
        }
    }

    fn argument(&self, argument: &BodyArgument) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Pairs(pairs) => {
                let (_, value) = pairs.iter().find(|(name, _)| **name == *argument.name.as_bytes())?;
                Some(Cow::Borrowed(value))
            }
            Self::Json(value) => {
                let found = argument.path.iter().try_fold(value, |value, step| match step {
                    Step::Index(index) => value.get(*index),
                    Step::Key(key) => value.get(&**key),
                });
                match found? {
                    Value::String(text) => Some(Cow::Borrowed(text.as_bytes())),
                    value @ (Value::Bool(_) | Value::Number(_)) => Some(Cow::Owned(value.to_string().into_bytes())),
                    Value::Array(_) | Value::Null | Value::Object(_) => None,
                }
            }
        }
    }
}

/// The parts of a `multipart/form-data` body that have names. `None` where it does not end as it should.
fn multipart(boundary: &[u8], body: &Bytes) -> Option<Vec<(Box<[u8]>, Bytes)>> {
    let delimiter = [b"\r\n--", boundary].concat();
    let mut pairs = Vec::new();
    // The first delimiter may be without the line end before it.
    let first = &delimiter[2..];
    let mut at = if body.starts_with(first) { first.len() } else { find(body, &delimiter)? + delimiter.len() };
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Some(pairs);
        }
        let begin = at + rest.starts_with(b"\r\n").then_some(2)?;
        let end = begin + find(&body[begin..], &delimiter)?;
        let head = find(&body[begin..end], b"\r\n\r\n")?;
        if let Some(name) = name(&body[begin..begin + head]) {
            pairs.push((name.into(), body.slice(begin + head + 4..end)));
        }
        at = end + delimiter.len();
    }
}

/// The name in the head of a part.
fn name(head: &[u8]) -> Option<&[u8]> {
    let lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-disposition"))?;
    value.split(';').find_map(|part| parameter(part.trim(), "name")).map(str::as_bytes)
}

/// Where `part` begins in `bytes`.
fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn kind(value: &str) -> Option<FormKind> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
        FormKind::of(&headers)
    }

    fn argument(content_type: &str, body: &str, name: &str) -> Option<String> {
        let form = Form::parse(&kind(content_type).unwrap(), &Bytes::copy_from_slice(body.as_bytes()));
        let found = form.argument(&BodyArgument::parse(name).unwrap())?.into_owned();
        Some(String::from_utf8(found).unwrap())
    }

    #[test]
    fn the_type_says_how_a_body_is_read() {
        for (value, expected) in [
            ("application/json", Some(FormKind::Json)),
            ("Application/JSON; charset=utf-8", Some(FormKind::Json)),
            ("application/x-www-form-urlencoded", Some(FormKind::Urlencoded)),
            ("multipart/form-data; boundary=x-y", Some(FormKind::Multipart(b"x-y"[..].into()))),
            ("multipart/form-data; charset=utf-8; Boundary=\"x y\"", Some(FormKind::Multipart(b"x y"[..].into()))),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=x", None),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(kind(value), expected, "{value}");
        }
        assert_eq!(FormKind::of(&HeaderMap::new()), None);
        let mut twice = HeaderMap::new();
        twice.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        twice.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(FormKind::of(&twice), None);
    }

    #[test]
    fn a_form_has_its_first_argument_of_a_name() {
        let body = "a=1+2%33&a=4&b&user.name=x";
        for (name, expected) in [("a", Some("1 23")), ("b", Some("")), ("user.name", Some("x")), ("c", None)] {
            assert_eq!(argument("application/x-www-form-urlencoded", body, name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_path_leads_into_json() {
        let body = r#"{"a": "x", "n": 1.5, "t": true, "z": null, "o": {"l": [{"k": "deep"}, 7]}}"#;
        for (name, expected) in [
            ("a", Some("x")),
            ("n", Some("1.5")),
            ("t", Some("true")),
            ("z", None),
            ("o", None),
            ("o.l", None),
            ("o.l[0].k", Some("deep")),
            ("o.l[1]", Some("7")),
            ("o.l[2]", None),
            ("a.b", None),
            ("b", None),
        ] {
            assert_eq!(argument("application/json", body, name).as_deref(), expected, "{name}");
        }
        assert_eq!(argument("application/json", "[\"x\"]", "[0]").as_deref(), Some("x"));
        for broken in ["", "{\"a\":", "{\"a\": 1} {"] {
            assert_eq!(argument("application/json", broken, "a"), None, "{broken}");
        }
    }

    #[test]
    fn a_multipart_form_has_the_parts_that_have_names() {
        let part =
            |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n");
        let body = [part("name=\"a\"", "1"), part("name=\"a\"", "2"), part("filename=\"f\"; name=f", "x\r\n--c\r\ny")];
        let body = format!("{}--b--\r\n", body.concat());
        let of = |body: &str, name: &str| argument("multipart/form-data; boundary=b", body, name);
        assert_eq!(of(&body, "a").as_deref(), Some("1"));
        assert_eq!(of(&body, "f").as_deref(), Some("x\r\n--c\r\ny"));
        assert_eq!(of(&body, "filename"), None);
        assert_eq!(of(&format!("preamble\r\n{body}"), "a").as_deref(), Some("1"));
        for broken in
            ["", "--b", "--b\r\n", "--b--", &body[..body.len() - 8], "--b\r\nx\r\n--b--", &body.replace("\r\n", "\n")]
        {
            assert_eq!(of(broken, "a"), None, "{broken:?}");
        }
    }
}
