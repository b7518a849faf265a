//! HTTP/2 as RFC 9113 has it, sent on to an upstream that speaks HTTP/1.1.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::frames::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, field, frame, preface};
use crate::range::{HOST, Range, Way};
use crate::recorder::{OK, essence, is_complete};

const DATA: u8 = 0;

/// What the proxy said last about the stream: an answer (with its first byte, which is the indexed `:status` where
/// there is one), a reset or the end of the connection.
#[derive(Debug, PartialEq)]
enum End {
    Answer(u8),
    Reset,
    Gone,
}

/// HPACK's index of `:status: 200`, and of the field `:status` with another value (RFC 7541 appendix A).
const STATUS_200: u8 = 0x88;
const STATUS_400: u8 = 0x8c;

/// A header block of the usual pseudo-fields and `fields`.
fn block(pseudo: &[(&str, &str)], fields: &[(&str, &str)]) -> Vec<u8> {
    pseudo.iter().chain(fields).flat_map(|(name, value)| field(name, value)).collect()
}

const USUAL: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "https"), (":authority", HOST), (":path", "/")];

async fn send(range: &Range, way: Way, frames: &[Vec<u8>]) -> End {
    let mut stream = range.http2(way).await;
    stream.write_all(&[preface(), frames.concat()].concat()).await.unwrap();
    let reading = async {
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return End::Gone;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if stream.read_exact(&mut payload).await.is_err() {
                return End::Gone;
            }
            match head[3] {
                HEADERS => return End::Answer(payload[0]),
                RST_STREAM => return End::Reset,
                GOAWAY => return End::Gone,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading).await.expect("no answer")
}

fn whole(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, block)
}

#[tokio::test]
async fn a_malformed_head_reaches_nobody() {
    for way in Way::BOTH {
        let range = Range::new(OK).await;
        for fields in [
            // Section 8.2.1: names and values.
            ("X-A", "1"),
            ("x a", "1"),
            ("x-a:", "1"),
            ("x\r\na", "1"),
            ("x\0a", "1"),
            ("", "1"),
            ("x-a", "a\r\nb"),
            ("x-a", "a\nb"),
            ("x-a", "a\rb"),
            ("x-a", "a\0b"),
            ("x-a", "1\r\ntransfer-encoding: chunked"),
            // Section 8.2.2: fields of a connection.
            ("connection", "close"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            // Section 8.3: pseudo-fields come first, and there are no others.
            (":path", "/"),
            (":status", "200"),
            (":x", "1"),
            // Section 8.1.1: the length.
            ("content-length", "5"),
            ("content-length", "+0"),
            ("content-length", "x"),
        ] {
            let end = send(&range, way, &[whole(&block(&USUAL, &[fields]))]).await;
            assert!(matches!(end, End::Reset | End::Gone), "{fields:?} -> {end:?}");
            assert_eq!(range.upstream.connections(), 0, "{fields:?}");
        }
        for pseudo in [
            &USUAL[1..],
            &USUAL[..3],
            &[USUAL[0], USUAL[2], USUAL[3]],
            &[USUAL[0], USUAL[0], USUAL[1], USUAL[2], USUAL[3]],
            &[USUAL[0], USUAL[1], USUAL[2], (":path", "")],
            &[USUAL[0], USUAL[1], USUAL[2], (":path", "/a b")],
            &[USUAL[0], USUAL[1], USUAL[2], (":path", "/a HTTP/1.1\r\nx: y")],
            &[(":method", "GET /a HTTP/1.1\r\n"), USUAL[1], USUAL[2], USUAL[3]],
            &[USUAL[0], USUAL[1], (":authority", "h.test\r\nx: y"), USUAL[3]],
            &[(":method", "CONNECT"), USUAL[1], USUAL[2], USUAL[3]],
            &[(":method", "CONNECT"), (":protocol", "websocket"), USUAL[1], USUAL[2], USUAL[3]],
        ] {
            let end = send(&range, way, &[whole(&block(pseudo, &[]))]).await;
            assert!(matches!(end, End::Reset | End::Gone), "{pseudo:?} -> {end:?}");
            assert_eq!(range.upstream.connections(), 0, "{pseudo:?}");
        }
    }
}

#[tokio::test]
async fn a_request_names_one_host_and_a_path() {
    for way in Way::BOTH {
        let range = Range::new(OK).await;
        for (authority, path, fields) in [
            (HOST, "/", &[("host", "other.test")][..]),
            (HOST, "/", &[("host", HOST), ("host", HOST)]),
            (HOST, "/", &[("host", "")]),
            ("u@h.test", "/", &[]),
            ("u:p@h.test", "/", &[]),
            ("h..test", "/", &[]),
            (HOST, "*", &[]),
            (HOST, "/../a", &[]),
            (HOST, "/a\\b", &[]),
            (HOST, "/%00", &[]),
        ] {
            let pseudo = [USUAL[0], USUAL[1], (":authority", authority), (":path", path)];
            let end = send(&range, way, &[whole(&block(&pseudo, fields))]).await;
            assert_eq!(end, End::Answer(STATUS_400), "{authority:?} {path:?} {fields:?}");
            assert_eq!(range.upstream.connections(), 0, "{authority:?} {path:?} {fields:?}");
        }
        let nowhere = [USUAL[0], USUAL[1], USUAL[3]];
        assert_eq!(send(&range, way, &[whole(&block(&nowhere, &[]))]).await, End::Answer(STATUS_400));
        assert_eq!(range.upstream.connections(), 0);
    }
}

#[tokio::test]
async fn methods_and_expectations_are_refused_as_in_http1() {
    for way in Way::BOTH {
        let range = Range::new(OK).await;
        for (method, fields) in [("TRACE", &[][..]), ("POST", &[("expect", "200-ok")])] {
            let pseudo = [(":method", method), USUAL[1], USUAL[2], USUAL[3]];
            let end = send(&range, way, &[whole(&block(&pseudo, fields))]).await;
            assert!(matches!(end, End::Answer(status) if status != STATUS_200), "{method} {fields:?} -> {end:?}");
            assert_eq!(range.upstream.connections(), 0, "{method} {fields:?}");
        }
    }
}

/// The head is on its way before the body shows that it lies: the upstream must see that the request broke off.
#[tokio::test]
async fn a_body_of_another_length_than_announced_never_ends() {
    for way in Way::BOTH {
        let mut range = Range::new(OK).await;
        for (length, body) in [("3", "ab"), ("1", "ab"), ("0", "ab")] {
            let head = frame(HEADERS, END_HEADERS, 1, &block(&USUAL, &[("content-length", length)]));
            let end = send(&range, way, &[head, frame(DATA, END_STREAM, 1, body.as_bytes())]).await;
            assert!(matches!(end, End::Reset | End::Gone), "{length} {body:?} -> {end:?}");
            if range.upstream.connections() > 0 {
                let received = range.upstream.next().await;
                assert!(!is_complete(received.as_bytes()), "{length} {body:?} -> {received:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_passed_on_is_one_http1_request() {
    for way in Way::BOTH {
        let mut range = Range::new(OK).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h.test\r\n\r\n";
        let length = smuggled.len().to_string();
        for (fields, body, expected) in [
            (&[][..], "", "POST / HTTP/1.1\n\n\n".to_owned()),
            (&[("content-length", "2")], "ab", "POST / HTTP/1.1\ncontent-length: 2\n\nab".into()),
            (
                &[("content-length", &length)],
                smuggled,
                format!("POST / HTTP/1.1\ncontent-length: {length}\n\n{smuggled}"),
            ),
            (
                &[],
                smuggled,
                format!(
                    "POST / HTTP/1.1\ntransfer-encoding: chunked\n\n{:X}\r\n{smuggled}\r\n0\r\n\r\n",
                    smuggled.len()
                ),
            ),
            (
                &[("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2"), ("transfer_encoding", "chunked")],
                "",
                "POST / HTTP/1.1\nconnection: te\ncookie: a=1; b=2\nte: trailers\n\n".into(),
            ),
            (
                &[("host", HOST), ("content_length", "5"), ("proxy-authorization", "x")],
                "",
                "POST / HTTP/1.1\n\n\n".into(),
            ),
        ] {
            let head = block(&USUAL, fields);
            let frames = if body.is_empty() {
                vec![whole(&head)]
            } else {
                vec![frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, END_STREAM, 1, body.as_bytes())]
            };
            assert_eq!(send(&range, way, &frames).await, End::Answer(STATUS_200), "{fields:?}");
            assert_eq!(essence(&range.upstream.next().await), expected, "{fields:?}");
        }
    }
}
