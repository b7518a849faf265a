//! Client certificates behind a load balancer that speaks the PROXY protocol.

use std::net::SocketAddr;

use portcullis::proxy::Settings;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Connection, tls_config};
use crate::pki::PKI;
use crate::scene::{config, endpoint, route, settings};
use crate::upstream::hello;

#[tokio::test]
async fn a_client_behind_a_load_balancer_proves_who_it_is() {
    let upstream = hello().await;
    let host = "announced.test";
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let scene = config()
        .tls(host, PKI.clients.policy())
        .route(host, route(&[endpoint(upstream.address)]))
        .start_with(Settings { https_proxy_protocol: vec![loopback], ..settings() });
    let (good, bad) = (PKI.clients.client(), PKI.others.client());
    for (certificate, status) in [(Some(&good), 200), (Some(&bad), 400), (None, 400)] {
        for alpn in ["http/1.1", "h2"] {
            let mut stream = TcpStream::connect(scene.others[0]).await.unwrap();
            stream.write_all(b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n").await.unwrap();
            let connector = TlsConnector::from(tls_config(alpn, certificate));
            let stream = connector.connect(host.try_into().unwrap(), stream).await.unwrap();
            let mut client = Connection::over(stream, alpn == "h2").await;
            assert_eq!(client.get(host, "/").await.status, status);
            assert!(scene.access.with(&["192.0.2.1 - - "]).await.contains(host));
        }
    }
}
