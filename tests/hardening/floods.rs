//! HTTP/2 clients that send frames for nothing: what they cost ends.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

use crate::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, field, frame, preface,
};
use crate::range::{Bytes, HOST, Range, Way};
use crate::recorder::OK;

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;

/// Much longer than anything here takes on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

const FLOOD: &str = "portcullis_connections_ended_total{reason=\"flood\"}";
const HTTP2_LIMIT: &str = "portcullis_connections_ended_total{reason=\"http2_limit\"}";

type Reader = ReadHalf<Box<dyn Bytes>>;
type Writer = WriteHalf<Box<dyn Bytes>>;

async fn connect(range: &Range, way: Way) -> (Reader, Writer) {
    let (reader, mut writer) = split(range.http2(way).await);
    writer.write_all(&preface()).await.unwrap();
    (reader, writer)
}

/// A request's header block.
fn block(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", "/")];
    usual.iter().chain(more).flat_map(|(name, value)| field(name, value)).collect()
}

fn headers(flags: u8, stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block("POST", &[]))
}

/// Reads the next frame: its kind, flags and payload. `None` at the end of the connection.
async fn next(reader: &mut Reader) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    reader.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], payload))
}

/// Sends what `frames` makes of 0, 1, 2 … until the connection ends; returns how many were sent.
async fn flood(range: &Range, way: Way, first: &[u8], frames: impl Fn(u32) -> Vec<u8>) -> u32 {
    let (mut reader, mut writer) = connect(range, way).await;
    let ended = tokio::spawn(async move { while next(&mut reader).await.is_some() {} });
    let sending = async {
        let _ = writer.write_all(first).await;
        for sent in (0..).step_by(100) {
            let batch: Vec<_> = (sent..sent + 100).flat_map(&frames).collect();
            if writer.write_all(&batch).await.is_err() || ended.is_finished() {
                return sent;
            }
        }
        unreachable!()
    };
    tokio::time::timeout(PATIENCE, sending).await.expect("the connection stays open")
}

#[tokio::test]
async fn frames_for_nothing_end_the_connection() {
    for way in Way::BOTH {
        let range = Range::new(OK).await;
        let update = |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
        flood(&range, way, &[], |_| frame(PING, 0, 0, &[0; 8])).await;
        flood(&range, way, &[], |_| frame(SETTINGS, 0, 0, &[])).await;
        flood(&range, way, &[], |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0])).await;
        flood(&range, way, &[], update).await;
        flood(&range, way, &[], |_| frame(99, 0, 0, &[])).await;
        range.scene.metric_becomes(FLOOD, 5).await;
        assert_eq!(range.upstream.connections(), 0);
    }
}

#[tokio::test]
async fn floods_that_h2_knows_end_the_connection() {
    for way in Way::BOTH {
        let range = Range::new(OK).await;
        let empty = |_| frame(DATA, 0, 1, &[]);
        let continuation = |_| frame(CONTINUATION, 0, 1, &[]);
        flood(&range, way, &headers(0, 1), empty).await;
        flood(&range, way, &frame(HEADERS, 0, 1, &block("GET", &[])), continuation).await;
        // Streams that are reset before they can be served (CVE-2023-44487).
        flood(&range, way, &[], |index| {
            let stream = 2 * index + 1;
            [headers(END_STREAM, stream), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .await;
        // Streams that the client makes us reset (CVE-2025-8671): a window that overflows.
        flood(&range, way, &[], |index| {
            let stream = 2 * index + 1;
            [headers(0, stream), frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())].concat()
        })
        .await;
        // A body of another length than announced.
        flood(&range, way, &[], |index| {
            let stream = 2 * index + 1;
            let head = frame(HEADERS, END_HEADERS, stream, &block("POST", &[("content-length", "1")]));
            [head, frame(DATA, END_STREAM, stream, b"abc")].concat()
        })
        .await;
        range.scene.metric_becomes(HTTP2_LIMIT, 5).await;
        // What was begun upstream is bounded: 200 resets of ours, and few of the client's.
        assert!(range.upstream.connections() < 1_000, "{}", range.upstream.connections());
    }
}

/// Each request is on its way before it is reset, so that h2 sees nothing wrong with it.
#[tokio::test]
async fn requests_that_are_reset_once_they_are_served_end_the_connection() {
    for way in Way::BOTH {
        let range = Range::new("").await; // never answers
        let (mut reader, mut writer) = connect(&range, way).await;
        let resetting = async {
            for index in 0.. {
                let stream = 2 * index + 1;
                let _ = writer.write_all(&[headers(END_STREAM, stream), frame(PING, 0, 0, &[7; 8])].concat()).await;
                loop {
                    match next(&mut reader).await {
                        Some((PING, ACK, _)) => break,
                        Some((GOAWAY, ..)) | None => return index,
                        Some(_) => {}
                    }
                }
                let _ = writer.write_all(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
            }
            unreachable!()
        };
        let requests = tokio::time::timeout(PATIENCE, resetting).await.expect("the connection stays open");
        assert!(requests >= 400, "{requests}: a client may change its mind");
        range.scene.metric_becomes(FLOOD, 1).await;
    }
}

/// Each names a field of 4,000 bytes 4,000 times (HPACK's dynamic table): 16 MB for 8 KB.
#[tokio::test]
async fn heads_that_grow_when_they_are_decoded_reach_nobody() {
    for way in Way::BOTH {
        let range = Range::new(OK).await;
        // A literal field that enters the table; its length is an integer of several bytes (RFC 7541 section 5.1).
        let entered = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4_000]].concat();
        let head = [block("GET", &[]), entered, vec![0xbe; 4_000]].concat();
        flood(&range, way, &[], |index| frame(HEADERS, END_HEADERS | END_STREAM, 2 * index + 1, &head)).await;
        range.scene.metric_becomes(HTTP2_LIMIT, 1).await;
        assert_eq!(range.upstream.connections(), 0);
    }
}

/// A stream of many small messages is no flood, and neither is a client that measures the way to us.
#[tokio::test]
async fn a_busy_client_is_no_flood() {
    for way in Way::BOTH {
        let range = Range::new(OK).await;
        let (mut reader, mut writer) = connect(&range, way).await;
        let message = [frame(DATA, 0, 1, b"small"), frame(PING, 0, 0, &[0; 8])].concat();
        writer.write_all(&[headers(0, 1), message.repeat(1_000)].concat()).await.unwrap();
        writer.write_all(&frame(DATA, END_STREAM, 1, &[])).await.unwrap();
        let answered = async {
            while let Some((kind, ..)) = next(&mut reader).await {
                if kind == HEADERS {
                    return true;
                }
            }
            false
        };
        assert!(tokio::time::timeout(PATIENCE, answered).await.expect("no answer"));
        assert_eq!(range.scene.metric(FLOOD) + range.scene.metric(HTTP2_LIMIT), 0);
    }
}

/// At the same time both ways: it takes two pings' patience.
#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let waits = Way::BOTH.map(|way| async move {
        let range = Range::new(OK).await;
        let (mut reader, mut writer) = connect(&range, way).await;
        writer.write_all(&frame(HEADERS, 0, 1, &block("GET", &[]))).await.unwrap();
        let ended = async { while next(&mut reader).await.is_some() {} };
        tokio::time::timeout(2 * PATIENCE, ended).await.expect("the connection stays open");
        assert_eq!(range.upstream.connections(), 0);
    });
    futures::future::join_all(waits).await;
}

/// The client lets us send nothing, and says that it is there.
#[tokio::test]
async fn a_response_that_nobody_takes_is_not_kept() {
    for way in Way::BOTH {
        let range = Range::with(OK, |settings| settings.send_timeout = Duration::from_millis(300)).await;
        let (mut reader, mut writer) = connect(&range, way).await;
        let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let requests: Vec<_> = (0..10).flat_map(|index| headers(END_STREAM, 2 * index + 1)).collect();
        writer.write_all(&[no_window, requests].concat()).await.unwrap();
        let reset = async {
            let mut reset = 0;
            while reset < 10 {
                match next(&mut reader).await {
                    Some((RST_STREAM, ..)) => reset += 1,
                    Some((PING, 0, payload)) => writer.write_all(&frame(PING, ACK, 0, &payload)).await.unwrap(),
                    Some(_) => {}
                    None => break,
                }
            }
        };
        tokio::time::timeout(PATIENCE, reset).await.expect("the streams stay open");
    }
}
