//! What gRPC wants to be told: an answer of our own in place of the upstream's is a status of gRPC, in the fields of a response
//! without a body ("Trailers-Only" in gRPC's description of its protocol over HTTP/2).

use std::fmt::Write as _;

use http::header::{CONTENT_TYPE, SERVER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};

use super::error::ProxyError;

const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The content type of a request of gRPC, which is one of HTTP/2: `application/grpc`, with or without an encoding. gRPC-Web
/// is another protocol: its clients read statuses elsewhere.
pub(super) fn content_type(method: &Method, version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    if method != Method::POST || version != Version::HTTP_2 {
        return None;
    }
    let value = headers.get(CONTENT_TYPE)?;
    let rest = value.as_bytes().strip_prefix(b"application/grpc")?;
    matches!(rest.first(), None | Some(b'+' | b';')).then(|| value.clone())
}

/// The answer to a request that failed.
pub(super) fn refusal(error: &ProxyError, content_type: HeaderValue) -> Response<()> {
    let mut response = Response::new(());
    let status = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(GRPC_STATUS, code(error).into());
    // What the client may know: not what went wrong behind us.
    let message = format!("{} {}", status.as_str(), status.canonical_reason().unwrap_or("Error"));
    if let Ok(message) = HeaderValue::try_from(escaped(&message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    headers.insert(SERVER, HeaderValue::from_static("portcullis"));
    response
}

/// gRPC's own table ("HTTP to gRPC Status Code Mapping"); who is not let in lacks credentials.
fn code(error: &ProxyError) -> u16 {
    const UNKNOWN: u16 = 2;
    const PERMISSION_DENIED: u16 = 7;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    if matches!(error, ProxyError::Refused { .. } | ProxyError::Unusable(_)) {
        return UNAUTHENTICATED;
    }
    match error.status() {
        StatusCode::BAD_REQUEST => INTERNAL,
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND => UNIMPLEMENTED,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// `text` with everything but printable ASCII, and `%`, percent-encoded.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_version_and_its_content_type() {
        for (method, version, value, expected) in [
            (Method::POST, Version::HTTP_2, "application/grpc", true),
            (Method::POST, Version::HTTP_2, "application/grpc+proto", true),
            (Method::POST, Version::HTTP_2, "application/grpc;charset=utf-8", true),
            (Method::POST, Version::HTTP_2, "application/grpc-web+proto", false),
            (Method::POST, Version::HTTP_2, "application/grpcx", false),
            (Method::POST, Version::HTTP_2, "application/json", false),
            (Method::POST, Version::HTTP_11, "application/grpc", false),
            (Method::GET, Version::HTTP_2, "application/grpc", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(content_type(&method, version, &headers).is_some(), expected, "{method} {version:?} {value}");
        }
        assert_eq!(content_type(&Method::POST, Version::HTTP_2, &HeaderMap::new()), None);
    }

    #[test]
    fn a_status_of_http_is_one_of_grpc() {
        for (error, code, message) in [
            (ProxyError::NotFound, "12", "404 Not Found"),
            (ProxyError::NoEndpoint, "14", "503 Service Unavailable"),
            (ProxyError::ReadTimeout, "14", "504 Gateway Timeout"),
            (ProxyError::UnexpectedUpgrade, "14", "502 Bad Gateway"),
            (ProxyError::Malformed("x"), "13", "400 Bad Request"),
            (ProxyError::Loop, "2", "508 Loop Detected"),
        ] {
            let response = refusal(&error, HeaderValue::from_static("application/grpc+proto"));
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], code);
            assert_eq!(response.headers()["grpc-message"], message);
            assert_eq!(response.headers()["content-type"], "application/grpc+proto");
        }
        assert_eq!(escaped("100 % ü"), "100 %25 %C3%BC");
    }
}
