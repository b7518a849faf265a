//! Listeners where connections begin with a header of the PROXY protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use portcullis::model::Network;
use portcullis::proxy::Settings;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::tls_config;
use crate::range::{HOST, Range, exchange};
use crate::recorder::OK;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n";

/// Listens for the PROXY protocol on two more ports: plaintext, then TLS.
fn announced(settings: &mut Settings) {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    settings.http_proxy_protocol = vec![loopback];
    settings.https_proxy_protocol = vec![loopback];
}

fn version_2(command: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, 0x11, 0, 12], &addresses].concat()
}

#[tokio::test]
async fn the_client_is_the_one_that_the_header_names() {
    let mut range = Range::with(OK, announced).await;
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n".to_vec(), "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 12345 443\r\n".to_vec(), "2001:db8::1"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 12345 443\r\n".to_vec(), "192.0.2.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (version_2(0x21), "192.0.2.1"),
        (version_2(0x20), "127.0.0.1"),
    ] {
        let mut plain = TcpStream::connect(range.scene.others[0]).await.unwrap();
        plain.write_all(&header).await.unwrap();
        let mut tls = TcpStream::connect(range.scene.others[1]).await.unwrap();
        tls.write_all(&header).await.unwrap();
        let tls =
            TlsConnector::from(tls_config("http/1.1", None)).connect(HOST.try_into().unwrap(), tls).await.unwrap();
        for answer in [exchange(plain, GET).await, exchange(tls, GET).await] {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{header:?} -> {answer}");
            let received = range.upstream.next().await;
            assert!(received.contains(&format!("\r\nx-real-ip: {client}\r\n")), "{header:?} -> {received}");
            assert!(received.contains(&format!("\r\nx-forwarded-for: {client}\r\n")), "{header:?} -> {received}");
        }
    }
}

#[tokio::test]
async fn a_client_that_a_trusted_balancer_does_not_name_is_not_believed() {
    let mut range = Range::with(OK, |settings| {
        announced(settings);
        settings.trusted_addresses = vec![Network::parse("127.0.0.0/8").unwrap()];
    })
    .await;
    let forwarded = b"GET / HTTP/1.1\r\nHost: h.test\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n";
    let unix_socket = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x21, 0x31, 0, 216], &[0; 216]].concat();
    for (header, client) in [
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (unix_socket, "127.0.0.1"),
        (version_2(0x20), "192.0.2.7"), // the balancer's own connection
        (b"PROXY TCP4 127.0.0.9 10.0.0.1 12345 443\r\n".to_vec(), "192.0.2.7"), // one balancer behind another
    ] {
        let stream = TcpStream::connect(range.scene.others[0]).await.unwrap();
        let answer = exchange(stream, &[&header[..], forwarded].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{header:?} -> {answer}");
        let received = range.upstream.next().await;
        assert!(received.contains(&format!("\r\nx-real-ip: {client}\r\n")), "{header:?} -> {received}");
    }
}

#[tokio::test]
async fn a_connection_without_a_good_header_is_closed() {
    let limit = Duration::from_millis(200);
    let range = Range::with(OK, |settings| {
        announced(settings);
        settings.first_byte_timeout = limit;
    })
    .await;
    let bad = [
        GET.to_vec(),
        [b"PROXY TCP4 192.0.2.1 10.0.0.1 12345\r\n", GET].concat(),
        [b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\n", GET].concat(),
        [version_2(0x2f), GET.to_vec()].concat(),
        b"PROXY TCP4 192.0.2.1".to_vec(),
        Vec::new(),
    ];
    for address in &range.scene.others {
        for bytes in &bad {
            assert_eq!(exchange(TcpStream::connect(address).await.unwrap(), bytes).await, "", "{bytes:?}");
        }
    }
    let refused = "portcullis_connections_refused_total{reason=\"proxy_header\"}";
    range.scene.metric_becomes(refused, 2 * bad.len() as u64).await;
    assert_eq!(range.upstream.connections(), 0);
}

/// On a usual listener a header of the PROXY protocol is no HTTP.
#[tokio::test]
async fn elsewhere_nobody_names_a_client() {
    let range = Range::new(OK).await;
    let bytes = [b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n", GET].concat();
    let answer = exchange(TcpStream::connect(range.scene.http).await.unwrap(), &bytes).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(range.upstream.connections(), 0);
}

#[tokio::test]
async fn only_trusted_addresses_may_name_a_client() {
    let range = Range::with(OK, |settings| {
        announced(settings);
        settings.trusted_addresses = vec![Network::parse("10.0.0.0/8").unwrap()];
    })
    .await;
    let bytes = [b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n", GET].concat();
    assert_eq!(exchange(TcpStream::connect(range.scene.others[0]).await.unwrap(), &bytes).await, "");
    range.scene.metric_becomes("portcullis_connections_refused_total{reason=\"untrusted_proxy\"}", 1).await;
    assert_eq!(range.upstream.connections(), 0);
}
