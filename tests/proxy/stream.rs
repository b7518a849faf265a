//! Streams of TCP, TLS and UDP.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portcullis::log::{Format, Log};
use portcullis::metrics::Metrics;
use portcullis::model::{
    ClientSettings, Failure, FailureAnswer, FailureBody, HostPattern, Invalid, Mode, Protocol, Timeouts,
};
use portcullis::proxy::{Proxy, Settings};
use portcullis::snapshot::{Current, Endpoint, Policy, StreamKey, Upstream};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::client::{Connection, tls, tls_config, tls_config_of};
use crate::lines::{ERRORS, Lines};
use crate::pki::{Certified, PKI};
use crate::scene::{Config, Scene, config, endpoint, settings};
use crate::upstream::nobody;

/// For what happens.
const PATIENCE: Duration = Duration::from_secs(30);

const HOST: &str = "stream.test";

/// An upstream that sends back what it gets, and ends when the other side has.
struct Echo {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn upstream(addresses: &[SocketAddr]) -> Upstream {
    let endpoints: Vec<Arc<Endpoint>> = addresses.iter().map(|address| endpoint(*address)).collect();
    Upstream::new("default/test:80".into(), endpoints.into_iter().map(Into::into))
}

fn listening() -> Settings {
    let loopback = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    Settings { stream_tcp: loopback.clone(), stream_tls: loopback.clone(), stream_udp: loopback, ..settings() }
}

/// A proxy with a port for each kind of stream, and the same upstream behind all.
struct Stage {
    scene: Scene,
    tcp: SocketAddr,
    tls: SocketAddr,
    udp: SocketAddr,
}

impl Stage {
    fn new(upstream: impl Fn() -> Upstream, config: Config) -> Self {
        Self::with(listening(), upstream, config)
    }

    fn with(settings: Settings, upstream: impl Fn() -> Upstream, hosts: Config) -> Self {
        let scene = config().start_with(settings);
        let stage = Self { tcp: scene.others[0], tls: scene.others[1], udp: scene.others[2], scene };
        stage.publish(upstream, hosts);
        stage
    }

    fn publish(&self, upstream: impl Fn() -> Upstream, hosts: Config) {
        let any = StreamKey::Tls(self.tls.port(), HostPattern::Any);
        let keys = [StreamKey::Tcp(self.tcp.port()), any, StreamKey::Udp(self.udp.port())];
        self.scene.publish(keys.iter().fold(hosts, |config, key| config.stream(key, upstream())));
    }

    async fn secure(&self, host: &str, certificate: Option<&Certified>) -> std::io::Result<TlsStream<TcpStream>> {
        tls(self.tls, host, tls_config("mqtt", certificate)).await
    }
}

/// Sends `text` and waits for it to come back.
async fn echoes(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; text.len()];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, text.as_bytes());
}

/// What comes until the stream has ended or broken off.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the stream stays open");
    let _ = read; // a reset is an end too
    rest
}

#[tokio::test]
async fn a_side_that_has_ended_still_gets_what_the_other_one_sends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stage = Stage::new(|| upstream(&[address]), config());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut server, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    assert_eq!(rest(&mut server).await, b"question", "and then the end");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    assert_eq!(rest(&mut client).await, b"answer");
    drop(client);
    let port = stage.tcp.port();
    let line = stage.scene.access.with(&["TCP 200 6 8 "]).await;
    assert!(line.starts_with("127.0.0.1 [") && line.ends_with(&format!(" {port} - {address} closed")), "{line}");
    assert_eq!(stage.scene.metric("portcullis_streams_total{carrier=\"tcp\",end=\"closed\"}"), 1);
    let bytes = |direction| format!("{{route=\"default/test/tcp\",direction=\"{direction}\"}}");
    assert_eq!(stage.scene.metric(&format!("portcullis_route_stream_bytes_total{}", bytes("received"))), 8);
    assert_eq!(stage.scene.metric(&format!("portcullis_route_stream_bytes_total{}", bytes("sent"))), 6);
}

/// Sends four million bytes, and gets them back.
async fn flows(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let sent: Vec<u8> = (0..4_000_000_u32).map(|i| (i % 251) as u8).collect();
    let (mut read, mut write) = tokio::io::split(stream);
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    assert!(rest(&mut read).await == expected, "not what was sent");
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_flows_both_ways_at_once_also_over_tls() {
    let echo = Echo::start().await;
    let stage = Stage::new(|| upstream(&[echo.address]), config().tls(HOST, Policy::Open));
    flows(TcpStream::connect(stage.tcp).await.unwrap()).await;
    for version in [&TLS12, &TLS13] {
        flows(tls(stage.tls, HOST, tls_config_of("mqtt", None, &[version])).await.unwrap()).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_passed_over() {
    let echo = Echo::start().await;
    let gone = nobody();
    let stage = Stage::new(|| upstream(&[gone, echo.address]), config());
    for _ in 0..4 {
        echoes(&mut TcpStream::connect(stage.tcp).await.unwrap(), "hello").await;
    }
    assert_eq!(echo.connections(), 4);
    assert!(stage.scene.metric("portcullis_upstream_connect_failures_total") >= 1);
}

#[tokio::test]
async fn without_a_rule_or_an_endpoint_the_connection_is_closed_and_the_log_says_why() {
    let gone = nobody();
    for (upstream, end) in [(upstream(&[]), "502 0 0"), (upstream(&[gone]), "502 0 0")] {
        let scene = config().start_with(listening());
        let tcp = scene.others[0];
        scene.publish(config().stream(&StreamKey::Tcp(tcp.port()), upstream));
        assert_eq!(rest(&mut TcpStream::connect(tcp).await.unwrap()).await, b"");
        scene.access.with(&[&format!("TCP {end}")]).await;
    }
    let scene = config().start_with(listening());
    assert_eq!(rest(&mut TcpStream::connect(scene.others[0]).await.unwrap()).await, b"");
    scene.access.with(&["TCP 500 0 0", "no_route"]).await;
}

#[tokio::test]
async fn what_breaks_off_does_not_look_as_if_it_had_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stage = Stage::new(|| upstream(&[address]), config().tls(HOST, Policy::Open));
    let mut client = stage.secure(HOST, None).await.unwrap();
    client.write_all(b"half a mess").await.unwrap();
    let (mut server, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    server.read_exact(&mut [0; 11]).await.unwrap();
    drop(client.into_inner().0); // without close_notify
    let error = timeout(PATIENCE, server.read_to_end(&mut Vec::new())).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    stage.scene.access.with(&["broken"]).await;
}

#[tokio::test]
async fn a_silent_stream_is_closed() {
    let echo = Echo::start().await;
    let brief = Duration::from_millis(50);
    let silent = || {
        let mut upstream = upstream(&[echo.address]);
        upstream.timeouts = Some(Timeouts { read: brief, send: brief, ..Timeouts::default() });
        upstream
    };
    let stage = Stage::new(silent, config());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    stage.scene.access.with(&[" idle"]).await;
}

#[tokio::test]
async fn the_host_that_the_client_names_decides_and_what_it_speaks_does_not() {
    let (exact, wide) = (Echo::start().await, Echo::start().await);
    let stage = Stage::new(|| upstream(&[]), config());
    let port = stage.tls.port();
    let key = |host: &str| StreamKey::Tls(port, HostPattern::parse(host).unwrap());
    let hosts = ["a.stream.test", "b.stream.test", "other.test"];
    let tls = hosts.iter().fold(config(), |config, host| config.tls(host, Policy::Open));
    stage.scene.publish(
        tls.stream(&key("a.stream.test"), upstream(&[exact.address]))
            .stream(&key("*.stream.test"), upstream(&[wide.address])),
    );
    echoes(&mut stage.secure("a.stream.test", None).await.unwrap(), "hello").await;
    echoes(&mut stage.secure("b.stream.test", None).await.unwrap(), "hello").await;
    assert_eq!((exact.connections(), wide.connections()), (1, 1));
    assert_eq!(rest(&mut stage.secure("other.test", None).await.unwrap()).await, b"", "TLS, but no rule");
    assert!(stage.secure("unknown.test", None).await.is_err(), "no TLS");
    stage.scene.access.with(&["a.stream.test"]).await;
}

#[tokio::test]
async fn a_rule_for_tls_is_not_reached_without_it() {
    let echo = Echo::start().await;
    let scene = config().start_with(listening());
    let (tcp, secure) = (scene.others[0], scene.others[1]);
    let tls_rule = |port| StreamKey::Tls(port, HostPattern::Any);
    scene.publish(
        config()
            .tls(HOST, Policy::Open)
            .stream(&tls_rule(tcp.port()), upstream(&[echo.address]))
            .stream(&tls_rule(secure.port()), upstream(&[echo.address])),
    );
    for address in [tcp, secure] {
        let mut plain = TcpStream::connect(address).await.unwrap();
        let _ = plain.write_all(b"SELECT 1; and more than a record's header").await;
        rest(&mut plain).await;
    }
    assert_eq!(echo.connections(), 0);
    echoes(&mut tls(secure, HOST, tls_config("mqtt", None)).await.unwrap(), "hello").await;
}

#[tokio::test]
async fn clients_prove_who_they_are_whatever_the_policy_would_answer() {
    let echo = Echo::start().await;
    let other = PKI.others.client();
    let answer = FailureAnswer { body: FailureBody::Problem, status: 418 };
    for failure in [Failure::default(), Failure::Answer(answer), Failure::Alert] {
        // Paths are HTTP's: a policy that skips every one of them lets no stream in.
        let policy = ClientSettings { depth: 0, failure, skip: ["/".into()].into(), ..ClientSettings::default() };
        let stage = Stage::new(|| upstream(&[echo.address]), config().tls(HOST, PKI.clients.policy_of(policy)));
        let before = echo.connections();
        for (certificate, why) in [(None, "was not present"), (Some(&other), "unknown issuer")] {
            if let Ok(mut stream) = stage.secure(HOST, certificate).await {
                let _ = stream.write_all(b"let me in").await;
                assert_eq!(rest(&mut stream).await, b"");
            }
            ERRORS.with(&["ERROR", why, "sni: \"stream.test\""]).await;
        }
        assert_eq!(stage.scene.metric("portcullis_handshakes_total{result=\"refused\"}"), 2);
        for reason in ["not_present", "unknown_issuer"] {
            let metric = format!("portcullis_client_auth_refused_total{{reason=\"{reason}\"}}");
            assert_eq!(stage.scene.metric(&metric), 1, "{reason}");
        }
        assert_eq!(echo.connections(), before);
        echoes(&mut stage.secure(HOST, Some(&PKI.clients.client())).await.unwrap(), "hello").await;
        assert_eq!(echo.connections(), before + 1);
    }
}

#[tokio::test]
async fn a_policy_that_is_unusable_lets_nobody_in() {
    let echo = Echo::start().await;
    let refuse = Policy::Refuse(Arc::new(Invalid::spec("spec.client", "broken")));
    let stage = Stage::new(|| upstream(&[echo.address]), config().tls(HOST, refuse));
    let mut stream = stage.secure(HOST, Some(&PKI.clients.client())).await.unwrap();
    let _ = stream.write_all(b"let me in").await;
    assert_eq!(rest(&mut stream).await, b"");
    assert_eq!(echo.connections(), 0);
}

#[tokio::test]
async fn the_mode_counts_for_streams_too() {
    let echo = Echo::start().await;
    let other = PKI.others.client();
    for (mode, certificate, served, observed) in [
        (Mode::Optional, None, true, 0),
        (Mode::Optional, Some(&other), false, 0),
        (Mode::Observe, None, true, 1),
        (Mode::Observe, Some(&other), true, 1),
    ] {
        let policy = PKI.clients.policy_of(ClientSettings { mode, ..ClientSettings::default() });
        let stage = Stage::new(|| upstream(&[echo.address]), config().tls(HOST, policy));
        let mut stream = stage.secure(HOST, certificate).await.unwrap();
        if served {
            echoes(&mut stream, "hello").await;
        } else {
            assert_eq!(rest(&mut stream).await, b"");
        }
        let counts = stage.scene.metrics("portcullis_client_auth_observed_total");
        let count: usize = counts.iter().filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok()).sum();
        assert_eq!(count, observed, "{mode:?}");
    }
}

#[tokio::test]
async fn open_streams_end_when_their_client_is_not_let_in_any_more() {
    let echo = Echo::start().await;
    let hosts = |policy| config().tls(HOST, policy).tls("open.test", Policy::Open);
    let stage = Stage::new(|| upstream(&[echo.address]), hosts(PKI.clients.policy()));
    let mut distrusted = stage.secure(HOST, Some(&PKI.clients.client())).await.unwrap();
    let mut open = stage.secure("open.test", None).await.unwrap();
    echoes(&mut distrusted, "hello").await;
    echoes(&mut open, "hello").await;
    stage.publish(|| upstream(&[echo.address]), hosts(PKI.others.policy()));
    assert_eq!(rest(&mut distrusted).await, b"");
    echoes(&mut open, "goes on").await;
    stage.scene.access.with(&["TCP 403 5 5", "stream.test", "distrusted"]).await;
    let closed = "portcullis_client_connections_closed_total{reason=\"unknown_issuer\"}";
    assert_eq!(stage.scene.metric(closed), 1);
    // A host that is gone is not served either.
    stage.publish(|| upstream(&[echo.address]), config());
    assert_eq!(rest(&mut open).await, b"");
}

#[tokio::test]
async fn a_drain_waits_for_open_streams() {
    let echo = Echo::start().await;
    let stage = Stage::new(|| upstream(&[echo.address]), config());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    echoes(&mut client, "before").await;
    let drain = tokio::spawn(stage.scene.drain.drain(PATIENCE));
    // The listener closes when the drain has begun.
    timeout(PATIENCE, async { while TcpStream::connect(stage.tcp).await.is_ok() {} }).await.unwrap();
    echoes(&mut client, "after").await;
    assert!(!drain.is_finished());
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    assert!(drain.await.unwrap());
}

#[tokio::test]
async fn a_listener_on_every_address_is_reached_at_each_of_the_machine() {
    let bind = |address: &str| vec![address.parse::<SocketAddr>().unwrap()];
    let settings = Settings { stream_tcp: bind("0.0.0.0:0"), stream_udp: bind("127.0.0.1:0"), ..settings() };
    let (current, metrics) = (Arc::new(Current::default()), Arc::new(Metrics::new(Arc::default())));
    let proxy = Proxy::bind(settings, current, Log::new(Format::Text, Lines::default()), metrics).unwrap();
    let [.., tcp, udp] = proxy.local_addrs()[..] else { panic!("two listeners for streams") };
    let machine = ["127.0.0.1", "10.0.0.7", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
    let at = |ip: usize| (Protocol::Tcp, SocketAddr::new(machine[ip], tcp.port()));
    let expected = [(Protocol::Tcp, tcp), at(0), at(1), (Protocol::Udp, udp)];
    assert_eq!(proxy.stream_addresses(&machine), expected.into(), "HTTP is no stream, nor is IPv6 served by `0.0.0.0`");
}

#[tokio::test]
async fn there_is_a_limit_to_connections_of_streams() {
    let echo = Echo::start().await;
    let settings = Settings { max_connections: 1, ..listening() };
    let stage = Stage::with(settings, || upstream(&[echo.address]), config());
    let mut first = TcpStream::connect(stage.tcp).await.unwrap();
    echoes(&mut first, "hello").await;
    // The kernel has accepted it; nobody serves it while the first one is there.
    let mut second = TcpStream::connect(stage.tcp).await.unwrap();
    second.write_all(b"hello").await.unwrap();
    for _ in 0..100 {
        echoes(&mut first, "still there").await;
    }
    assert_eq!(echo.connections(), 1);
    assert_eq!(stage.scene.metric("portcullis_connections{listener=\"stream_tcp\"}"), 1);
    drop(first);
    let mut answer = [0; 5];
    timeout(PATIENCE, second.read_exact(&mut answer)).await.expect("it is never served").unwrap();
    assert_eq!((&answer, echo.connections()), (b"hello", 2));
}

/// An upstream that sends each datagram back with its sender's port before it.
async fn udp_echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        loop {
            let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
            let mut answer = format!("{} ", peer.port()).into_bytes();
            answer.extend_from_slice(&buffer[..length]);
            let _ = socket.send_to(&answer, peer).await;
        }
    });
    address
}

/// A client of the proxy.
async fn udp_client(proxy: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(proxy).await.unwrap();
    socket
}

/// Sends `text` until an answer comes, which datagrams do not promise; returns the port that the upstream saw.
async fn answered(client: &UdpSocket, text: &str) -> String {
    let mut buffer = vec![0; 65_535];
    for _ in 0..30 {
        client.send(text.as_bytes()).await.unwrap();
        if let Ok(Ok(length)) = timeout(Duration::from_secs(1), client.recv(&mut buffer)).await {
            let answer = std::str::from_utf8(&buffer[..length]).unwrap();
            let (port, rest) = answer.split_once(' ').unwrap();
            assert_eq!(rest, text);
            return port.to_owned();
        }
    }
    panic!("no answer to {} bytes", text.len());
}

#[tokio::test]
async fn each_client_of_udp_has_a_socket_of_its_own_for_as_long_as_it_speaks() {
    let address = udp_echo().await;
    let stage = Stage::new(|| upstream(&[address]), config());
    let (one, other) = (udp_client(stage.udp).await, udp_client(stage.udp).await);
    let (port_of_one, port_of_other) = (answered(&one, "hello").await, answered(&other, "hello").await);
    assert_ne!(port_of_one, port_of_other);
    assert_eq!(answered(&one, &"x".repeat(60_000)).await, port_of_one, "the same session, and a large datagram");
    assert_eq!(stage.scene.metric("portcullis_connections{listener=\"stream_udp\"}"), 2);
    // Sessions are silent soon after the drain has begun.
    let Scene { access, drain, metrics, .. } = stage.scene;
    assert!(drain.drain(PATIENCE).await);
    access.with(&["UDP 200", &format!(" {} - {address} idle", stage.udp.port())]).await;
    let metrics = metrics.encode();
    assert!(metrics.contains("portcullis_streams_total{carrier=\"udp\",end=\"idle\"} 2\n"), "{metrics}");
    assert!(metrics.contains("portcullis_connections{listener=\"stream_udp\"} 0\n"), "{metrics}");
}

#[tokio::test]
async fn there_is_a_limit_to_clients_of_udp() {
    let address = udp_echo().await;
    let one_at_a_time = Settings { max_connections: 1, ..listening() };
    let brief = Duration::from_millis(500);
    let silent = || {
        let mut upstream = upstream(&[address]);
        upstream.timeouts = Some(Timeouts { read: brief, send: brief, ..Timeouts::default() });
        upstream
    };
    let stage = Stage::with(one_at_a_time, silent, config());
    let (one, other) = (udp_client(stage.udp).await, udp_client(stage.udp).await);
    answered(&one, "hello").await;
    other.send(b"hello").await.unwrap();
    answered(&other, "hello").await; // once the first client's session is over
    assert_eq!(stage.scene.metric("portcullis_streams_total{carrier=\"udp\",end=\"idle\"}"), 1);
}

#[tokio::test]
async fn a_client_that_never_pauses_leaves_an_endpoint_that_is_gone() {
    let (old, new) = (udp_echo().await, udp_echo().await);
    let stage = Stage::new(|| upstream(&[old]), config());
    let client = udp_client(stage.udp).await;
    let before = answered(&client, "hello").await;
    stage.publish(|| upstream(&[new, old]), config());
    assert_eq!(answered(&client, "still").await, before, "its endpoint is one of several now");
    stage.publish(|| upstream(&[new]), config());
    stage.scene.metric_becomes("portcullis_streams_total{carrier=\"udp\",end=\"gone\"}", 1).await;
    assert_ne!(answered(&client, "hello").await, before);
    stage.scene.access.with(&["UDP 200", &format!("{old} gone")]).await;
    stage.scene.publish(config());
    stage.scene.metric_becomes("portcullis_streams_total{carrier=\"udp\",end=\"gone\"}", 2).await;
}

/// Anyone can send datagrams in the name of another.
#[tokio::test]
async fn datagrams_take_no_places_from_the_connections_of_their_source() {
    let address = udp_echo().await;
    let settings = Settings { max_connections_per_source: 1, ..listening() };
    let stage = Stage::with(settings, || upstream(&[address]), config());
    let (one, other) = (udp_client(stage.udp).await, udp_client(stage.udp).await);
    answered(&one, "hello").await;
    other.send(b"hello").await.unwrap();
    stage.scene.metric_becomes("portcullis_connections_refused_total{reason=\"source\"}", 1).await;
    assert_eq!(Connection::plain(stage.scene.http).await.get("udp.test", "/").await.status, 404);
}

#[tokio::test]
async fn datagrams_without_an_endpoint_are_dropped_and_counted() {
    let stage = Stage::new(|| upstream(&[]), config());
    udp_client(stage.udp).await.send(b"hello").await.unwrap();
    stage.scene.metric_becomes("portcullis_datagrams_dropped_total{reason=\"no_endpoint\"}", 1).await;
}

#[tokio::test]
async fn datagrams_that_no_rule_is_for_are_dropped_and_counted() {
    let scene = config().start_with(listening());
    let client = udp_client(scene.others[2]).await;
    client.send(b"hello").await.unwrap();
    scene.metric_becomes("portcullis_datagrams_dropped_total{reason=\"no_route\"}", 1).await;
}

#[tokio::test]
async fn an_endpoint_that_answers_no_datagram_ends_the_session() {
    let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let stage = Stage::new(|| upstream(&[gone]), config());
    let client = udp_client(stage.udp).await;
    client.send(b"hello").await.unwrap();
    stage.scene.access.with(&["UDP 200 0 5", "broken"]).await;
}
