//! Half of the clients are revoked at once, on connections that are open: exactly theirs are closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use http::StatusCode;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::ExtendedKeyUsagePurpose;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use rustls::client::Resumption;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::backend::Backend;
use crate::client::{Connection, tls, tls_config};
use crate::forger::Forger;
use crate::objects::{client_tls, reference, route_for_everything, secret};
use crate::pki::PKI;
use crate::program::Program;
use crate::{ALONE, setting};

const HOST: &str = "lists.test";

/// How long a list is good, in seconds.
const YEAR: i64 = 365 * 24 * 3600;

/// Connections that are made, or asked, at the same time.
const AT_ONCE: usize = 64;

/// A hang, not a goal: the figure is printed, and how fast it is depends on the machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection's number, and when it was seen to be closed.
type Closed = (u64, Instant);

/// Every other client is revoked.
fn is_revoked(number: u64) -> bool {
    number.is_multiple_of(2)
}

/// Every client has a serial number of its own.
fn serial(number: u64) -> u64 {
    1 << 32 | number
}

fn list(authority: &Forger, revoked: &[u64]) -> Vec<Value> {
    vec![secret("lists", &[("ca.crl", &authority.crl(revoked, YEAR))])]
}

/// A client's configuration: HTTP/1.1 and HTTP/2 in pairs.
fn config(authority: &Forger, number: u64) -> Arc<ClientConfig> {
    let certificate = authority.client(|params| params.serial_number = Some(serial(number).into()));
    let mut config =
        (*tls_config(if (number / 2).is_multiple_of(2) { "h2" } else { "http/1.1" }, Some(&certificate))).clone();
    config.resumption = Resumption::disabled(); // a store for sessions takes much memory
    config.into()
}

/// Opens a connection that reports its end, and uses it: one that nobody uses is closed after some seconds.
async fn open(
    https: SocketAddr,
    config: Arc<ClientConfig>,
    number: u64,
    closed: mpsc::UnboundedSender<Closed>,
) -> Connection {
    let stream = tls(https, HOST, config).await.unwrap();
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    if http2 {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await; // however it ends
            let _ = closed.send((number, Instant::now())); // nobody cares once the test is over
        });
        return used(Connection::Http2(sender)).await;
    }
    let (sender, connection) = http1::handshake(io).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
        let _ = closed.send((number, Instant::now()));
    });
    used(Connection::Http1(sender)).await
}

async fn used(mut connection: Connection) -> Connection {
    assert_eq!(connection.get(HOST, "/").await.status, StatusCode::OK);
    connection
}

/// Sees that every connection is served.
async fn ask<'a>(connections: impl IntoIterator<Item = &'a mut Connection>) {
    stream::iter(connections)
        .for_each_concurrent(AT_ONCE, |connection| async {
            assert_eq!(connection.get(HOST, "/").await.status, StatusCode::OK);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_connections_of_revoked_clients_are_closed() {
    let _alone = ALONE.lock().await;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let count = setting("PORTCULLIS_SOAK_CONNECTIONS", 2000);
    let (authority, backend) = (Forger::root("clients"), Backend::start().await);
    let server = PKI.servers.issue(&[HOST], ExtendedKeyUsagePurpose::ServerAuth);
    let policy = json!({"caSecret": reference("clients"), "revocation": {"crlRefs": [{"name": "lists"}]}});
    let staying = [
        secret("server", &[("cert", &server.pem), ("key", &server.key.serialize_pem())]),
        secret("clients", &[("cert", &authority.pem)]),
        client_tls("lists", &[HOST], policy),
    ];
    let staying = staying.into_iter().chain(route_for_everything(backend.address));
    let program = Program::start(&staying.collect::<Vec<_>>(), &list(&authority, &[1])).await;

    let (sender, mut closed) = mpsc::unbounded_channel();
    let configs: Vec<_> = (0..count).map(|number| config(&authority, number)).collect();
    let opening = stream::iter((0..).zip(configs))
        .map(|(number, config)| tokio::spawn(open(program.https, config, number, sender.clone())));
    let mut connections: Vec<_> = opening.buffered(AT_ONCE).map(Result::unwrap).collect().await;
    ask(&mut connections).await;
    assert!(closed.is_empty(), "nobody is revoked yet");

    let revoked: Vec<_> = (0..count).filter(|number| is_revoked(*number)).collect();
    let objects = list(&authority, &revoked.iter().map(|number| serial(*number)).collect::<Vec<_>>());
    let start = Instant::now();
    program.rotate(&objects);
    let mut gone = Vec::new();
    let all = async {
        while gone.len() < revoked.len() {
            gone.push(closed.recv().await.unwrap());
        }
    };
    let waited = tokio::time::timeout(PATIENCE, all).await;
    assert!(waited.is_ok(), "{} of {} are closed after {PATIENCE:?}", gone.len(), revoked.len());
    let after = |at: Option<&Closed>| at.map(|(_, at)| *at - start).unwrap_or_default();
    let (first, last) = (after(gone.first()), after(gone.last()));
    println!(
        "revocation: {count} connections; the {} of revoked clients closed {first:?} to {last:?} after",
        gone.len()
    );

    let mut numbers: Vec<_> = gone.into_iter().map(|(number, _)| number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, revoked);
    ask(connections.iter_mut().skip(1).step_by(2)).await;
    assert!(closed.is_empty(), "no other is closed");
    program.stop();
}
