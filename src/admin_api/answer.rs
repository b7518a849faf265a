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
    /// `{"error_msg": message}`. Messages quote what was sent, but no private key that stands in a wrong place: they are logged too.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        let message = if quotes_key(&message) { MISPLACED.to_owned() } else { message };
        Self { body: json!({ "error_msg": message }), status }
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

/// What is said in the place of a message that would quote a private key.
const MISPLACED: &str = "invalid configuration: a private key stands where none belongs";

/// Whether a message holds PEM of a private key, and not only the words of its first line, as our own advice does.
fn quotes_key(message: &str) -> bool {
    message.split("PRIVATE KEY-----").skip(1).any(|rest| !rest.starts_with('`'))
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
    fn no_message_quotes_a_private_key() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for message in [format!("`{key}` is no host"), format!("failed to match pattern \"a\" with {key:?}")] {
            assert_eq!(Failure::bad(message).body, json!({ "error_msg": MISPLACED }));
        }
        let advice = "it holds no PEM private key (`-----BEGIN PRIVATE KEY-----`, not encrypted)";
        assert_eq!(Failure::bad(advice).body, json!({ "error_msg": advice }));
    }
}
