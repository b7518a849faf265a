//! Reading bodies.

use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use serde_json::Value;

use super::answer::Failure;

/// The longest body (APISIX's `MAX_REQ_BODY`, 1.5 MiB).
const LONGEST: usize = 3 << 19;

/// How long a body may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The whole body.
///
/// # Errors
/// When it is too long, too slow, or cut off.
pub(super) async fn read<B>(body: B) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let announced = body.size_hint().lower();
    match tokio::time::timeout(TIMEOUT, Limited::new(body, LONGEST).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long(announced)),
        Ok(Err(_)) => Err(Failure::bad("invalid request body: it was cut off")),
        Err(_) => Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "invalid request body: it takes too long")),
    }
}

fn too_long(announced: u64) -> Failure {
    let size = if announced == 0 { String::new() } else { format!(" {announced}") };
    let message =
        format!("invalid request body: request size{size} is greater than the maximum size {LONGEST} allowed");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

/// Reads JSON as lua-cjson does: control characters may stand in texts as they are, which the shell's `-d "…$(cat cert.pem)…"` sends.
/// `None` for an empty body.
///
/// # Errors
/// Where it is broken. Nothing of it is quoted: it may hold a key.
pub(super) fn json(body: &[u8]) -> Result<Option<Value>, Failure> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let read = serde_json::from_slice(&escaped(body));
    read.map(Some).map_err(|error| Failure::bad(format!("invalid request body: {error}")))
}

/// The text with the control characters inside of its strings escaped, as JSON asks (RFC 8259 section 7).
fn escaped(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut in_string, mut after_backslash) = (false, false);
    for byte in json {
        if in_string && !after_backslash && *byte < 0x20 {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.push(*byte);
        }
        match byte {
            b'"' if !after_backslash => in_string = !in_string,
            _ => {}
        }
        after_backslash = in_string && *byte == b'\\' && !after_backslash;
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        json(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn raw_line_feeds_in_texts_are_read() {
        assert_eq!(value("{\"a\":\n \"x\ny\tz\"\n}"), json!({ "a": "x\ny\tz" }));
        assert_eq!(value(r#"{"a": "\\", "b": "\"\n"}"#), json!({ "a": "\\", "b": "\"\n" }));
        assert_eq!(value("{\"a\\\"\n\": 1}"), json!({ "a\"\n": 1 }));
    }

    #[test]
    fn what_is_no_json_is_refused_without_being_quoted() {
        let deep = "[".repeat(1000);
        for text in ["{", "{\"a\": secret}", "{\"a\": 1e999}", "\"\\\n\"", deep.as_str(), "{} {}", "\"\u{0}"] {
            let failure = json(text.as_bytes()).unwrap_err();
            assert_eq!(failure.status, StatusCode::BAD_REQUEST);
            assert!(!failure.body.to_string().contains("secret"), "{failure:?}");
        }
        assert_eq!(json(b" \n"), Ok(None));
        assert!(json(b"\"\xff\"").is_err());
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        assert_eq!(value(r#"{"a": 1, "a": 2}"#), json!({ "a": 2 }));
    }
}
