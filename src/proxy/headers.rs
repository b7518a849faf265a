//! Header fields that concern one connection only, and those that tell the upstream about the client.

use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version, request};
use http_body::Body as _;

use super::claims;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forwarded::{Word, X_FORWARDED_FOR, X_REAL_IP};
use super::present::Present;
use crate::body::Body;
use crate::model::HostName;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// A CGI application takes it for `HTTP_PROXY` (CVE-2016-5385).
const PROXY: HeaderName = HeaderName::from_static("proxy");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields that a request gains at most, beside those of an identity.
const ADDED: usize = 8;

/// Ourselves in `Via`.
const PSEUDONYM: &str = "portcullis";

/// Refuses what servers read differently, and so can be used to smuggle a request past one of them: any transfer coding but
/// a single `chunked` (RFC 9112 section 6.1; hyper takes `chunked, chunked` and two fields). Refuses too what we cannot
/// promise on the upstream's behalf: an expectation other than `100-continue` (RFC 9110 section 10.1.1).
pub(super) fn check(headers: &HeaderMap, present: Present) -> Result<(), ProxyError> {
    if !present.has(Present::TRANSFER_ENCODING) && !present.has(Present::EXPECT) {
        return Ok(());
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {}
        _ => return Err(ProxyError::Malformed("a transfer coding other than chunked")),
    }
    // hyper answers no list, so a list is as good as unknown.
    let mut expectations = headers.get_all(EXPECT).iter();
    if expectations.all(|expectation| expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        Ok(())
    } else {
        Err(ProxyError::ExpectationFailed)
    }
}

/// How often the request went through a proxy of our name before (RFC 9110 section 7.6.3). Bytes, because a client's opaque
/// byte beside our entries must not hide them.
pub(super) fn own_hops(headers: &HeaderMap, present: Present) -> usize {
    if !present.has(Present::VIA) {
        return 0;
    }
    let entries = headers.get_all(VIA).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let name = |entry: &[u8]| entry.trim_ascii().rsplit(|byte| *byte == b' ').next() == Some(PSEUDONYM.as_bytes());
    entries.filter(|entry| name(entry)).count()
}

/// Makes the fields of a downstream's request those of the request to the upstream: one `Host` (`sent`, as the client sent
/// it), no hop-by-hop fields, one framing, and what we know of the client's address in place of what it claims. What it
/// claims to be, under the names of `identity` and the usual ones, is removed.
///
/// `X-Forwarded-For` is appended to and the others are overwritten, as in APISIX: a peer that is trusted is believed, and where
/// some are, nothing stays of what others say.
pub(super) fn to_upstream(
    parts: &mut request::Parts,
    exchange: &Exchange,
    host: &HostName,
    sent: HeaderValue,
    body: &Body,
    identity: &[Arc<str>],
) {
    let downstream = &*exchange.downstream;
    let headers = &mut parts.headers;
    let present = exchange.present;
    let trailers = present.has(Present::TE)
        && headers.get(TE).is_some_and(|te| tokens(te).any(|token| token.eq_ignore_ascii_case("trailers")));
    if present.has(Present::HOP_BY_HOP) {
        remove_hop_by_hop(headers);
    }
    claims::remove(headers, identity);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te")); // RFC 9110 section 10.1.4
    }
    if parts.version == Version::HTTP_2 && present.has(Present::COOKIE) {
        join_cookies(headers);
    }
    frame(headers, present, body);
    let forwarded_host = if sent.as_bytes() == host.as_str().as_bytes() {
        sent.clone()
    } else {
        HeaderValue::from_str(host.as_str()).unwrap_or_else(|_| sent.clone())
    };
    let forwarded_for = if present.has(Present::X_FORWARDED_FOR) && downstream.word != Word::Distrusted {
        append(headers.get_all(X_FORWARDED_FOR).iter(), &downstream.ip)
    } else {
        downstream.ip.clone()
    };
    let via = match parts.version {
        Version::HTTP_10 => "1.0 portcullis",
        Version::HTTP_2 => "2.0 portcullis",
        _ => "1.1 portcullis",
    };
    headers.reserve(ADDED); // once, not at the first, second, fourth and eighth field
    headers.append(VIA, HeaderValue::from_static(via));
    if present.has(Present::FORWARDED) {
        headers.remove(FORWARDED);
    }
    headers.insert(HOST, sent);
    headers.insert(X_FORWARDED_FOR, forwarded_for);
    headers.insert(X_REAL_IP, exchange.client_text().clone());
    let believed = downstream.word == Word::Trusted;
    for (name, seen) in [
        (X_FORWARDED_HOST, forwarded_host),
        (X_FORWARDED_PORT, downstream.port_text.clone()),
        (X_FORWARDED_PROTO, HeaderValue::from_static(downstream.scheme())),
    ] {
        if !believed || !headers.contains_key(&name) {
            headers.insert(name, seen);
        }
    }
    parts.version = Version::HTTP_11;
}

/// Makes the fields of an upstream's response those of the response to the downstream.
pub(super) fn to_downstream(headers: &mut HeaderMap) {
    let present = Present::of(headers);
    if present.has(Present::TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH); // it does not count beside a transfer coding (RFC 9112 section 6.3)
    }
    if present.has(Present::HOP_BY_HOP) {
        remove_hop_by_hop(headers);
    }
}

/// The members of a comma-separated list.
pub(super) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

/// Removes the fields that concern one connection: the known ones and those that `Connection` names (RFC 9110 section 7.6.1).
/// `Trailer` stays: it announces what we pass on.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named = |value| tokens(value).filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok());
        let named: Vec<_> = headers.get_all(CONNECTION).iter().flat_map(named).collect();
        for name in named {
            // Whoever names these wants the upstream to see another message than we do.
            if name != HOST && name != CONTENT_LENGTH {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    for name in [
        EXPECT, // answered by us: `100 Continue` goes out when the upstream takes the body
        KEEP_ALIVE,
        PROXY,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        PROXY_CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Removes from a request's trailers what it may not say in its fields either: servers that merge the two would believe it.
pub(super) fn strip_trailers(trailers: &mut HeaderMap, identity: &[Arc<str>]) {
    remove_hop_by_hop(trailers);
    claims::remove(trailers, identity);
    for name in claims::RESERVED {
        trailers.remove(name);
    }
}

/// HTTP/2 clients may split cookies, HTTP/1.1 servers may not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let mut joined = Vec::new();
        for cookie in headers.get_all(COOKIE) {
            if !joined.is_empty() {
                joined.extend_from_slice(b"; ");
            }
            joined.extend_from_slice(cookie.as_bytes());
        }
        if let Ok(cookie) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
            headers.insert(COOKIE, cookie);
        }
    }
}

/// States the body's length once and canonically, whatever the client wrote (`005`, or the same length twice).
fn frame(headers: &mut HeaderMap, present: Present, body: &Body) {
    match body.size_hint().exact() {
        Some(0) if !present.has(Present::CONTENT_LENGTH) => {}
        Some(length) => {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        None => {
            headers.remove(CONTENT_LENGTH);
            // hyper would send no body at all with a GET unless it is told.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

fn append<'a>(values: impl Iterator<Item = &'a HeaderValue>, last: &HeaderValue) -> HeaderValue {
    let mut joined = Vec::with_capacity(64);
    for value in values {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(last.as_bytes());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)).unwrap_or_else(|_| last.clone())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::proxy) fn fields(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    pub(in crate::proxy) fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn hop_by_hop_fields_are_removed() {
        for (before, after) in [
            (&["accept: */*", "x-a: 1"][..], &["accept: */*", "x-a: 1"][..]),
            (&["connection: close", "x-a: 1"], &["x-a: 1"]),
            (&["connection: X-A, x-b", "connection: x-c", "x-a: 1", "x-b: 1", "x-c: 1", "x-d: 1"], &["x-d: 1"]),
            (
                &["connection: host, content-length, ,(", "host: a", "content-length: 1"],
                &["content-length: 1", "host: a"],
            ),
            (&["connection: keep-alive", "keep-alive: timeout=5", "proxy-connection: keep-alive"], &[]),
            (&["te: gzip", "upgrade: h2c", "transfer-encoding: chunked", "expect: 100-continue"], &[]),
            (&["proxy: http://a", "proxy-authorization: x", "proxy-authenticate: y"], &[]),
            (&["trailer: x-sum", "transfer-encoding: chunked"], &["trailer: x-sum"]),
        ] {
            let mut headers = fields(before);
            remove_hop_by_hop(&mut headers);
            assert_eq!(lines(&headers), after, "{before:?}");
        }
    }

    #[test]
    fn trailers_say_nothing_that_fields_may_not() {
        let mut trailers = fields(&[
            "connection: x-a",
            "content-length: 1",
            "host: a",
            "transfer-encoding: chunked",
            "x-a: 1",
            "x-forwarded-for: 1",
            "x-real-ip: 1",
            "x_real_ip: 1",
            "client_cert: 1",
            "x-user: 1",
            "x-sum: 1",
        ]);
        strip_trailers(&mut trailers, &["x-user".into()]);
        assert_eq!(lines(&trailers), ["x-sum: 1"]);
    }

    #[test]
    fn own_hops_are_counted_in_any_company() {
        let mut headers = fields(&["via: 1.0 fred, 1.1 portcullis,2.0 portcullis ", "via: 1.1 portcullis-not"]);
        headers.append(VIA, HeaderValue::from_bytes(b"1.1 \xff, 1.1 portcullis").unwrap());
        assert_eq!(own_hops(&headers, Present::of(&headers)), 3);
        assert_eq!(own_hops(&HeaderMap::new(), Present::default()), 0);
    }

    #[test]
    fn a_response_has_one_framing() {
        let mut headers = fields(&["content-length: 5", "transfer-encoding: chunked"]);
        to_downstream(&mut headers);
        assert_eq!(lines(&headers), [""; 0]);
    }

    #[test]
    fn a_length_is_stated_canonically() {
        let known = || Body::Full(bytes::Bytes::from_static(b"ab"));
        for (before, body, after) in [
            (&["content-length: 002"][..], known(), &["content-length: 2"][..]),
            (&["content-length: 2", "content-length: 2"], known(), &["content-length: 2"]),
            (&["content-length: 0"], Body::Empty, &["content-length: 0"]),
            (&[], Body::Empty, &[]),
        ] {
            let mut headers = fields(before);
            let present = Present::of(&headers);
            frame(&mut headers, present, &body);
            assert_eq!(lines(&headers), after, "{before:?}");
        }
    }

    #[test]
    fn only_one_chunked_is_a_transfer_coding() {
        for (coding, good) in [
            (&["transfer-encoding: chunked"][..], true),
            (&["transfer-encoding: Chunked"], true),
            (&[], true),
            (&["transfer-encoding: chunked, chunked"], false),
            (&["transfer-encoding: chunked", "transfer-encoding: chunked"], false),
            (&["transfer-encoding: gzip, chunked"], false),
            (&["transfer-encoding: identity"], false),
        ] {
            let headers = fields(coding);
            assert_eq!(check(&headers, Present::of(&headers)).is_ok(), good, "{coding:?}");
        }
    }

    #[test]
    fn only_100_continue_can_be_expected() {
        for (expectation, good) in [
            (&["expect: 100-continue"][..], true),
            (&["expect: 100-Continue"], true),
            (&["expect: 100-continue", "expect: 200-ok"], false),
            (&["expect: 100-continue, 100-continue"], false),
            (&["expect: "], false),
        ] {
            let headers = fields(expectation);
            assert_eq!(check(&headers, Present::of(&headers)).is_ok(), good, "{expectation:?}");
        }
    }
}
