//! Class M: floods of HTTP/2 frames by a client that is refused (rapid reset, CVE-2023-44487; CONTINUATION, CVE-2024-27316).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::attacker::Attacker;
use crate::frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, field, frame, preface};
use crate::objects::{client_tls, tls, trusts};
use crate::pki::PKI;
use crate::stage::Stage;

/// The header block of `GET https://host/`.
fn get(host: &str) -> Vec<u8> {
    [vec![0x82, 0x87, 0x84], field(":authority", host)].concat() // the method, the scheme and the path by index
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
        let fields = field("x", &"y".repeat(100)).repeat(10);
        for _ in 0..5000 {
            flood.extend(frame(CONTINUATION, 0, 1, &fields));
        }
        floods(&stage, sni, flood).await;
    }
    others_are_served(&stage).await;
}
