//! What is answered, in APISIX's forms.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Value, json};

use crate::store::Unavailable;

/// An answer with its whole body.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why a call is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// A text is answered as it is.
    pub(super) body: Value,
    pub(super) status: StatusCode,
}

impl Failure {
    /// `{"error_msg": message}`.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { body: json!({ "error_msg": shortened(message.into()) }), status }
    }

    /// Status 400.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Nothing is under the key.
    pub(super) fn not_found() -> Self {
        Self { body: json!({ "message": "Key not found" }), status: StatusCode::NOT_FOUND }
    }
}

/// The most of a message, in bytes.
const LONGEST_MESSAGE: usize = 2048;

/// A message without what may be a key: texts that are sent in the wrong place are quoted in it.
fn shortened(mut message: String) -> String {
    let end = message.find("-----BEGIN").unwrap_or(message.len()).min(message.floor_char_boundary(LONGEST_MESSAGE));
    if end < message.len() {
        message.truncate(end);
        message.push('…');
    }
    message
}

impl From<Unavailable> for Failure {
    fn from(why: Unavailable) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string())
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        match failure.body {
            Value::String(text) => page(failure.status, "text/plain", text),
            body => json_page(failure.status, &body),
        }
    }
}

/// A JSON value and the line feed that APISIX ends it with.
pub(super) fn json_page(status: StatusCode, body: &impl Serialize) -> Answer {
    // What is serialised here has no keys but texts.
    let text = serde_json::to_string(body).unwrap_or_default();
    page(status, "application/json", text + "\n")
}

/// A page in the form of nginx', which answers those that APISIX never sees.
pub(super) fn html_page(status: StatusCode, title: &str) -> Answer {
    let text = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    );
    page(status, "text/html", text)
}

/// A page of any kind.
pub(super) fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_repeats_no_key_and_has_an_end() {
        let failure = Failure::bad("`-----BEGIN PRIVATE KEY-----\nMIIE` is no host");
        assert_eq!(failure.body, json!({ "error_msg": "`…" }));
        let long = Failure::bad("é".repeat(4000));
        assert!(long.body["error_msg"].as_str().unwrap().len() <= LONGEST_MESSAGE + 3);
        assert_eq!(Failure::bad("short").body, json!({ "error_msg": "short" }));
    }
}
