//! The `scheme` of an ApisixUpstream, for streams.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::model::Kind;
use portcullis::proxy::Settings;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::client::{tls, tls_config};
use crate::objects::{reference, route_for_everything, secret, tls as host};
use crate::pki::PKI;
use crate::stage::Stage;
use crate::tls_upstream::{certificate, server_tls};

const PATIENCE: Duration = Duration::from_secs(30);

/// What an endpoint learned in a handshake.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    client: Option<CertificateDer<'static>>,
    protocol: Option<Vec<u8>>,
    sni: Option<String>,
}

/// An endpoint that speaks TLS and sends back what it gets.
struct SecureEcho {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl SecureEcho {
    async fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (acceptor, log) = (TlsAcceptor::from(config), seen.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, log) = (acceptor.clone(), log.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let (_, session) = stream.get_ref();
                    log.lock().unwrap().push(Seen {
                        client: session.peer_certificates().map(|chain| chain[0].clone()),
                        protocol: session.alpn_protocol().map(<[u8]>::to_vec),
                        sni: session.server_name().map(str::to_owned),
                    });
                    let (mut read, mut write) = tokio::io::split(stream);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        Self { address, seen }
    }

    fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

fn settings() -> Settings {
    let loopback = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    Settings {
        http: loopback.clone(),
        https: loopback.clone(),
        stream_tcp: loopback.clone(),
        stream_tls: loopback,
        ..Settings::default()
    }
}

/// Rules for the stage's two ports, to the Service `upstream`.
fn rules(stage: &Stage) -> Value {
    let rule = |name: &str, address: SocketAddr| {
        json!({
            "name": name, "protocol": "TCP", "match": {"ingressPort": address.port()},
            "backend": {"serviceName": "upstream", "servicePort": 80},
        })
    };
    json!({
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute",
        "metadata": {"name": "streams", "namespace": "default"},
        "spec": {"stream": [rule("plain", stage.streams[0]), rule("secure", stage.streams[1])]},
    })
}

fn upstream(spec: &Value) -> Value {
    json!({
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixUpstream",
        "metadata": {"name": "upstream", "namespace": "default"}, "spec": spec,
    })
}

async fn stage(address: SocketAddr, objects: impl IntoIterator<Item = Value>) -> Stage {
    let server = PKI.servers.issue(&["stream.test"], ExtendedKeyUsagePurpose::ServerAuth);
    let stage = Stage::with(settings(), [certificate("server", &server), host("host", &["stream.test"])]).await;
    stage.apply(route_for_everything(address).into_iter().chain(objects));
    stage.apply([rules(&stage)]);
    stage
}

/// Sends more than a record of TLS, ends, and gives what comes back until the other side has ended.
async fn echoed(stream: impl AsyncRead + AsyncWrite + Unpin) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut back = Vec::new();
    let talk = async {
        let sending = async {
            let _ = write.write_all(&vec![b'x'; 100_000]).await;
            let _ = write.shutdown().await;
        };
        let _ = tokio::join!(sending, read.read_to_end(&mut back));
    };
    timeout(PATIENCE, talk).await.expect("the stream stays open");
    back
}

async fn plain(stage: &Stage) -> usize {
    echoed(TcpStream::connect(stage.streams[0]).await.unwrap()).await.len()
}

async fn secure(stage: &Stage) -> usize {
    echoed(tls(stage.streams[1], "stream.test", tls_config("mqtt", None)).await.unwrap()).await.len()
}

#[tokio::test]
async fn streams_are_carried_over_tls_with_a_certificate_and_a_name() {
    let echo = SecureEcho::start(server_tls(&["stream.test", "127.0.0.1"], &["mqtt"], Some(&PKI.clients))).await;
    let mine = PKI.clients.client();
    let spec = json!({
        "scheme": "tls", "tlsSecret": reference("mine"), "tlsVerify": {"caSecret": reference("servers")},
    });
    let ca = secret("servers", &[("ca.crt", &PKI.servers.certificate.pem())]);
    let stage = stage(echo.address, [ca, certificate("mine", &mine), upstream(&spec)]).await;
    let seen =
        |sni: Option<&str>| Seen { client: mine.chain.first().cloned(), protocol: None, sni: sni.map(str::to_owned) };
    assert_eq!(secure(&stage).await, 100_000);
    assert_eq!(echo.last(), seen(Some("stream.test")), "the client's name");
    assert_eq!(plain(&stage).await, 100_000);
    assert_eq!(echo.last(), seen(None), "the client names nobody: the certificate is for the address");
    let mut named = spec.clone();
    named["passHost"] = "rewrite".into();
    named["upstreamHost"] = "stream.test".into();
    stage.apply([upstream(&named)]);
    assert_eq!(plain(&stage).await, 100_000);
    assert_eq!(echo.last(), seen(Some("stream.test")), "a name of its own");
    named["upstreamHost"] = "other.test".into();
    stage.apply([upstream(&named)]);
    assert_eq!(plain(&stage).await, 0, "the certificate is for another name");
}

#[tokio::test]
async fn an_endpoint_that_cannot_prove_who_it_is_gets_nothing() {
    let echo = SecureEcho::start(server_tls(&["stream.test"], &[], None)).await;
    let strangers = secret("strangers", &[("ca.crt", &PKI.others.certificate.pem())]);
    let spec = json!({"scheme": "tls", "tlsVerify": {"caSecret": reference("strangers")}});
    let stage = stage(echo.address, [strangers, upstream(&spec)]).await;
    assert_eq!(secure(&stage).await, 0);
    assert_eq!(echo.seen.lock().unwrap().len(), 0);
    stage.apply([upstream(&json!({"scheme": "tls"}))]);
    assert_eq!(secure(&stage).await, 100_000, "unverified, as in APISIX");
    stage.apply([upstream(&json!({"scheme": "tls", "tlsSecret": reference("missing")}))]);
    assert_eq!(secure(&stage).await, 0, "never without the certificate");
}

/// The Service is that of a route of HTTP, too.
#[tokio::test]
async fn a_scheme_of_streams_is_not_for_requests_nor_the_other_way_round() {
    let stage = stage(crate::upstream::nobody(), [upstream(&json!({"scheme": "tcp"}))]).await;
    let problems = |route: &str| stage.problems_of(Kind::ApisixRoute, route);
    let [problem] = &problems("upstream")[..] else { panic!("one problem") };
    assert!(problem.contains("ApisixUpstream default/upstream has a scheme of streams"), "{problem}");
    assert_eq!(problems("streams"), [""; 0]);
    for (scheme, served) in [("http", true), ("tls", true), ("https", false), ("grpc", false), ("udp", false)] {
        stage.apply([upstream(&json!({"scheme": scheme}))]);
        let problems = problems("streams");
        assert_eq!(problems.is_empty(), served, "{scheme}: {problems:?}");
        let named = |problem: &String| problem.contains("has another scheme than TCP streams have");
        assert!(problems.iter().all(named), "{scheme}: {problems:?}");
    }
}
