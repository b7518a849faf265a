//! What a proxy in front of us says about its clients, and what anyone else says.

use portcullis::model::{Conditions, Network};
use portcullis::snapshot::Route;

use crate::range::{Range, Way, exchange};
use crate::recorder::{OK, Recorder};
use crate::scene::{config, endpoint, route, settings};

const CLAIMS: &str = "GET / HTTP/1.1\r\nHost: h.test:80\r\nConnection: close\r\nForwarded: for=192.0.2.9\r\n\
    X-Forwarded-For: 192.0.2.9, 192.0.2.1\r\nX-Forwarded-For: 127.0.0.5\r\nX-Forwarded-Host: shop.test\r\n\
    X-Forwarded-Port: 8443\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 192.0.2.8\r\n\r\n";

fn networks(texts: &[&str]) -> Vec<Network> {
    texts.iter().map(|text| Network::parse(text).unwrap()).collect()
}

/// The fields about the client that the upstream receives, in order, and the client in the access log.
async fn received(trusted: &[&str], request: &str) -> (Vec<String>, String) {
    let mut range = Range::with(OK, |settings| settings.trusted_addresses = networks(trusted)).await;
    let answer = range.send(Way::Plaintext, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let message = range.upstream.next().await;
    let is_about_client = |line: &&str| line.starts_with("x-") || line.starts_with("forwarded");
    let mut fields: Vec<_> = message.split("\r\n").filter(is_about_client).map(str::to_owned).collect();
    fields.sort_unstable();
    let port = format!("x-forwarded-port: {}", range.scene.http.port());
    let fields =
        fields.into_iter().map(|field| if field == port { "x-forwarded-port: ours".to_owned() } else { field });
    let line = range.scene.access.with(&["\"GET / "]).await;
    (fields.collect(), line.split(' ').next().unwrap().to_owned())
}

/// What an upstream is told of a client that speaks for itself.
const OURS: [&str; 5] = [
    "x-forwarded-for: 127.0.0.1",
    "x-forwarded-host: h.test",
    "x-forwarded-port: ours",
    "x-forwarded-proto: http",
    "x-real-ip: 127.0.0.1",
];

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let (fields, client) = received(&["10.0.0.0/8", "127.0.0.0/8"], CLAIMS).await;
    let expected = [
        "x-forwarded-for: 192.0.2.9, 192.0.2.1, 127.0.0.5, 127.0.0.1",
        "x-forwarded-host: shop.test",
        "x-forwarded-port: 8443",
        "x-forwarded-proto: https",
        "x-real-ip: 192.0.2.1",
    ];
    assert_eq!(fields, expected);
    assert_eq!(client, "192.0.2.1");
}

#[tokio::test]
async fn a_trusted_proxy_that_says_nothing_is_the_client() {
    let (fields, client) =
        received(&["127.0.0.1"], "GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n").await;
    assert_eq!(fields, OURS);
    assert_eq!(client, "127.0.0.1");
}

#[tokio::test]
async fn what_anyone_else_says_is_replaced() {
    let (fields, client) = received(&["10.0.0.0/8", "192.0.2.0/24"], CLAIMS).await;
    assert_eq!(fields, OURS);
    assert_eq!(client, "127.0.0.1");
}

#[tokio::test]
async fn where_nobody_is_trusted_a_chain_is_kept_and_nobody_believed() {
    let (fields, client) = received(&[], CLAIMS).await;
    assert_eq!(fields[0], "x-forwarded-for: 192.0.2.9, 192.0.2.1, 127.0.0.5, 127.0.0.1");
    assert_eq!(fields[3..], ["x-forwarded-proto: http", "x-real-ip: 127.0.0.1"]);
    assert_eq!(client, "127.0.0.1");
}

#[tokio::test]
async fn routes_see_the_client_and_not_the_proxy() {
    let upstream = Recorder::new(OK).await;
    let conditions = Conditions { networks: networks(&["192.0.2.0/24"]).into(), ..Conditions::default() };
    let route = Route { conditions: conditions.into(), ..route(&[endpoint(upstream.address)]) };
    let mut settings = settings();
    settings.trusted_addresses = networks(&["127.0.0.1"]);
    let scene = config().route("h.test", route).start_with(settings);
    for (forwarded_for, status) in [("192.0.2.1", "200"), ("192.0.2.1, 198.51.100.1", "404"), ("127.0.0.1", "404")] {
        let request =
            format!("GET / HTTP/1.1\r\nHost: h.test\r\nX-Forwarded-For: {forwarded_for}\r\nConnection: close\r\n\r\n");
        let stream = tokio::net::TcpStream::connect(scene.http).await.unwrap();
        let answer = exchange(stream, request.as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{forwarded_for}");
    }
}
