//! How many connections one source may have.

use portcullis::model::Network;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::range::{Range, exchange};
use crate::recorder::OK;

const REFUSED: &str = "portcullis_connections_refused_total{reason=\"source\"}";
const OPEN: &str = "portcullis_connections{listener=\"http\"}";

#[tokio::test]
async fn a_source_has_so_many_connections_and_the_next_one_is_closed() {
    let range = Range::with(OK, |settings| {
        settings.max_connections_per_source = 2;
        settings.idle_timeout = std::time::Duration::from_secs(60);
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(TcpStream::connect(range.scene.http).await.unwrap());
    }
    range.scene.metric_becomes(OPEN, 2).await;
    let third = TcpStream::connect(range.scene.http).await.unwrap();
    assert_eq!(exchange(third, b"GET / HTTP/1.1\r\nHost: h.test\r\n\r\n").await, "");
    range.scene.metric_becomes(REFUSED, 1).await;
    // Another port is the same source.
    let mut tls = TcpStream::connect(range.scene.https).await.unwrap();
    assert!(matches!(tls.read(&mut [0]).await, Ok(0) | Err(_)));
    range.scene.metric_becomes(REFUSED, 2).await;
    drop(held);
    range.scene.metric_becomes(OPEN, 0).await;
    let again = TcpStream::connect(range.scene.http).await.unwrap();
    let answer = exchange(again, b"GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Many clients are behind a proxy that is trusted; behind the PROXY protocol each has an address of its own.
#[tokio::test]
async fn a_trusted_address_is_no_source() {
    let range = Range::with(OK, |settings| {
        settings.max_connections_per_source = 1;
        settings.trusted_addresses = vec![Network::parse("127.0.0.1").unwrap()];
        settings.http_proxy_protocol = vec![std::net::SocketAddr::from(([127, 0, 0, 1], 0))];
        settings.idle_timeout = std::time::Duration::from_secs(60);
    })
    .await;
    let (mut direct, mut announced) = (Vec::new(), Vec::new());
    for client in 1..4 {
        direct.push(TcpStream::connect(range.scene.http).await.unwrap());
        let mut stream = TcpStream::connect(range.scene.others[0]).await.unwrap();
        let header = format!("PROXY TCP4 192.0.2.{client} 10.0.0.1 1 80\r\n");
        stream.write_all(header.as_bytes()).await.unwrap();
        announced.push(stream);
    }
    range.scene.metric_becomes(OPEN, 6).await;
    assert_eq!(range.scene.metric(REFUSED), 0);
    let mut stream = TcpStream::connect(range.scene.others[0]).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.2 10.0.0.1 1 80\r\n").await.unwrap();
    range.scene.metric_becomes(REFUSED, 1).await;
}
