//! Class M: floods of HTTP/2 frames by a client that is refused (rapid reset, CVE-2023-44487; CONTINUATION, CVE-2024-27316).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::attacker::Attacker;
use crate::objects::{client_tls, tls, trusts};
use crate::pki::PKI;
use crate::stage::Stage;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The header block of `GET https://host/` (RFC 7541: indexed fields, then a literal one).
fn get(host: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x84, 0x01, u8::try_from(host.len()).unwrap()];
    block.extend_from_slice(host.as_bytes());
    block
}

fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// Sends `flood` on a connection for `sni` without a certificate, and reads until the proxy ends it.
async fn floods(stage: &Stage, sni: &str, flood: Vec<u8>) {
    let attacker = Attacker::new(&rustls::version::TLS13, "h2", None);
    let stream = attacker.stream(stage.https, sni).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = async move {
        let _ = write.write_all(&flood).await; // fails where the proxy has had enough
        write
    };
    let reading = async move {
        let mut bytes = [0; 4096];
        while matches!(read.read(&mut bytes).await, Ok(1..)) {}
    };
    tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(sending, reading) })
        .await
        .expect("the connection stays open");
}

async fn stage() -> Stage {
    Stage::new([tls("open", &["open.test"]), client_tls("mtls", &["mtls.test"], trusts("clients"))]).await
}

async fn others_are_served(stage: &Stage) {
    assert_eq!(stage.passed(), 0);
    let good = Attacker::new(&rustls::version::TLS13, "h2", Some(&PKI.clients.client()));
    assert_eq!(good.status(stage.https, "mtls.test", "mtls.test").await, Some(200));
}

#[tokio::test]
async fn class_m_rapid_reset_of_a_refused_client_reaches_no_upstream() {
    let stage = stage().await;
    for sni in ["mtls.test", "open.test"] {
        let mut flood = preface();
        for stream in (1..2001).step_by(2) {
            flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &get("mtls.test")));
            flood.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        }
        floods(&stage, sni, flood).await;
    }
    others_are_served(&stage).await;
}

#[tokio::test]
async fn class_m_endless_headers_of_a_refused_client_reach_no_upstream() {
    let stage = stage().await;
    for sni in ["mtls.test", "open.test"] {
        let mut flood = preface();
        flood.extend(frame(HEADERS, END_STREAM, 1, &get("mtls.test")));
        let field = [&[0x00, 1, b'x', 100][..], &[b'y'; 100]].concat();
        for _ in 0..5000 {
            flood.extend(frame(CONTINUATION, 0, 1, &field.repeat(10)));
        }
        floods(&stage, sni, flood).await;
    }
    others_are_served(&stage).await;
}
