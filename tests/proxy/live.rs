//! Connections that are open when trust in their client ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use portcullis::model::{ClientSettings, Failure, Invalid, Mode, Reason};
use portcullis::proxy::Settings;
use portcullis::snapshot::Policy;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use crate::client::{Connection, tls, tls_config, tls_config_of};
use crate::lines::ERRORS;
use crate::pki::{Authority, Certified, PKI};
use crate::scene::{config, endpoint, route, settings};
use crate::upstream::{Recorder, hello, serve, text};
use crate::websocket::{echo, websocket};

const PROTOCOLS: [&str; 2] = ["http/1.1", "h2"];

/// Far more than a review takes, and less than anything else that would end a connection.
const SOON: Duration = Duration::from_secs(30);

/// A grace that no test waits for, and no other end of a connection: on a busy machine a test takes long to set up.
fn patient() -> Settings {
    let long = Duration::from_secs(600);
    Settings { first_byte_timeout: long, idle_timeout: long, trust_grace: long, ..settings() }
}

fn policy(change: impl FnOnce(&mut ClientSettings)) -> Policy {
    let mut settings = ClientSettings { depth: 1, ..ClientSettings::default() };
    change(&mut settings);
    PKI.clients.policy_of(settings)
}

async fn closes(client: &mut Connection) -> bool {
    client.closes_within(SOON).await
}

/// An upstream that sends `first`, and `last` once it is told to.
async fn in_two_parts() -> (Recorder, watch::Sender<bool>) {
    let (finish, finished) = watch::channel(false);
    let upstream = serve(move |_: Request<Incoming>| {
        let mut finished = finished.clone();
        async move {
            let last = async move {
                let _ = finished.wait_for(|finished| *finished).await;
                Ok(Frame::data(Bytes::from_static(b"last")))
            };
            let first = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"first")))]);
            Response::new(BodyExt::boxed(StreamBody::new(first.chain(futures::stream::once(last)))))
        }
    })
    .await;
    (upstream, finish)
}

async fn ask(client: &mut Connection, host: &str) -> Response<Incoming> {
    let request = client.request("GET", host, "/").body(text("")).unwrap();
    client.send(request).await.unwrap()
}

async fn rest(mut response: Response<Incoming>) -> Result<Bytes, hyper::Error> {
    response.body_mut().collect().await.map(http_body_util::Collected::to_bytes)
}

/// Host, policy before, certificate, policy after, what the log says, and the metric's reason.
type Case<'a> = (&'a str, Policy, Option<&'a Certified>, Option<Policy>, &'a str, &'a str);

#[tokio::test]
async fn what_does_not_satisfy_the_policy_any_more_is_closed_also_when_idle() {
    let upstream = hello().await;
    let unusable = || {
        let why = Invalid::new(Reason::InvalidCaCertificate, "spec.client.caSecret", "no certificate in it");
        Policy::Refuse(Arc::new(why))
    };
    let deep = PKI.clients.deep_client();
    let plain = PKI.clients.client();
    let cases: [Case<'_>; 8] = [
        (
            "live-ca.test",
            PKI.clients.policy(),
            Some(&plain),
            Some(PKI.others.policy()),
            "unknown issuer",
            "unknown_issuer",
        ),
        ("live-depth.test", PKI.clients.policy(), Some(&deep), Some(policy(|s| s.depth = 0)), "", "depth"),
        (
            "live-broken.test",
            PKI.clients.policy(),
            Some(&plain),
            Some(unusable()),
            "no certificate in it",
            "unusable_policy",
        ),
        ("live-gone.test", PKI.clients.policy(), Some(&plain), None, "TLS is not configured any more", "host_gone"),
        ("live-open.test", Policy::Open, None, Some(PKI.clients.policy()), "was not present", "not_present"),
        ("live-open-gone.test", Policy::Open, None, None, "TLS is not configured any more", "host_gone"),
        (
            "live-optional.test",
            policy(|s| s.mode = Mode::Optional),
            None,
            Some(PKI.clients.policy()),
            "was not present",
            "not_present",
        ),
        (
            "live-observe.test",
            policy(|s| s.mode = Mode::Observe),
            None,
            Some(PKI.clients.policy()),
            "was not present",
            "not_present",
        ),
    ];
    for (host, before, certificate, after, why, reason) in cases {
        let with = |policy: Option<Policy>| {
            let hosts = policy.into_iter().fold(config(), |config, policy| config.tls(host, policy));
            hosts.route(host, route(&[endpoint(upstream.address)]))
        };
        let scene = with(Some(before)).start_with(patient());
        let mut clients = Vec::new();
        for alpn in PROTOCOLS {
            let mut used = Connection::secure(scene.https, alpn, host, certificate).await;
            assert_eq!(used.get(host, "/").await.status, 200, "{host} {alpn}");
            clients.push(used);
            clients.push(Connection::secure(scene.https, alpn, host, certificate).await);
        }
        scene.entered(clients.len()).await;
        scene.publish(with(after));
        for client in &mut clients {
            assert!(closes(client).await, "{host}");
        }
        ERRORS.with(&["WARN", why, "closing the connection, client: 127.0.0.1", &format!("sni: \"{host}\"")]).await;
        scene.closed(reason, 4).await;
    }
    ERRORS.with(&["sni: \"live-ca.test\"", "subject: \"CN=rcgen self signed cert\""]).await;
}

#[tokio::test]
async fn what_still_satisfies_the_policy_is_not_touched() {
    let upstream = hello().await;
    let host = "live-keep.test";
    let with = |policy| config().tls(host, policy).route(host, route(&[endpoint(upstream.address)]));
    let good = PKI.clients.client();
    let scene = with(policy(|_| {})).start_with(patient());
    for alpn in PROTOCOLS {
        scene.publish(with(policy(|_| {})));
        let mut client = Connection::secure(scene.https, alpn, host, Some(&good)).await;
        assert_eq!(client.get(host, "/").await.status, 200);
        let changes: [fn(&mut ClientSettings); 4] =
            [|s| s.depth = 0, |s| s.mode = Mode::Optional, |s| s.mode = Mode::Observe, |s| s.depth = 1];
        for change in changes {
            scene.publish(with(policy(change)));
            scene.reviewed().await;
            assert_eq!(client.get(host, "/").await.status, 200, "{alpn}");
        }
    }
}

#[tokio::test]
async fn under_observe_and_on_paths_without_client_authentication_nobody_is_closed() {
    let upstream = hello().await;
    let host = "live-lenient.test";
    let with = |policy| config().tls(host, policy).route(host, route(&[endpoint(upstream.address)]));
    let skip = |depth: u32| policy(move |s| (s.depth, s.skip) = (depth, vec!["^/health".into()]));
    let scene = with(policy(|s| s.mode = Mode::Observe)).start_with(patient());
    let mut stranger = Connection::secure(scene.https, "h2", host, Some(&PKI.others.client())).await;
    scene.entered(1).await;
    scene.publish(with(policy(|s| (s.mode, s.depth) = (Mode::Observe, 0))));
    scene.reviewed().await;
    assert!(!stranger.is_closed(), "nobody is refused under Observe");

    scene.publish(with(skip(0)));
    assert!(closes(&mut stranger).await, "it was let in, and is not any more");
    let mut nobody = Connection::secure(scene.https, "h2", host, None).await;
    scene.entered(1).await;
    scene.publish(with(skip(1)));
    scene.reviewed().await;
    assert!(!nobody.is_closed(), "it never was let in, and may still ask for /health");
    scene.publish(with(policy(|_| {})));
    assert!(closes(&mut nobody).await, "there is no such path any more");
}

#[tokio::test]
async fn an_http1_response_under_way_is_finished() {
    let (upstream, finish) = in_two_parts().await;
    let host = "live-response.test";
    let with = |policy| config().tls(host, policy).route(host, route(&[endpoint(upstream.address)]));
    let scene = with(PKI.clients.policy()).start_with(patient());
    let mut client = Connection::secure(scene.https, "http/1.1", host, Some(&PKI.clients.client())).await;
    let response = ask(&mut client, host).await;
    scene.publish(with(PKI.others.policy()));
    ERRORS.with(&["closing the connection", host]).await;
    finish.send_replace(true);
    assert_eq!(rest(response).await.unwrap(), "firstlast");
    assert!(closes(&mut client).await);
}

#[tokio::test]
async fn http2_streams_under_way_are_finished_and_no_other_is_taken() {
    let (upstream, finish) = in_two_parts().await;
    let host = "live-streams.test";
    let with = |policy| config().tls(host, policy).route(host, route(&[endpoint(upstream.address)]));
    let scene = with(PKI.clients.policy()).start_with(patient());
    let mut client = Connection::secure(scene.https, "h2", host, Some(&PKI.clients.client())).await;
    let (one, other) = (ask(&mut client, host).await, ask(&mut client, host).await);
    scene.publish(with(PKI.others.policy()));
    ERRORS.with(&["closing the connection", host]).await;
    // Whether the GOAWAY or the stream is first, the upstream sees none.
    let seen = upstream.seen().len();
    let request = client.request("GET", host, "/late").body(text("")).unwrap();
    if let Ok(late) = client.send(request).await {
        assert_eq!(late.status(), 400);
    }
    assert_eq!(upstream.seen().len(), seen);
    finish.send_replace(true);
    assert_eq!(rest(one).await.unwrap(), "firstlast");
    assert_eq!(rest(other).await.unwrap(), "firstlast");
    assert!(closes(&mut client).await);
}

#[tokio::test]
async fn what_does_not_finish_within_the_grace_is_broken_off() {
    let (upstream, _finish) = in_two_parts().await;
    let host = "live-grace.test";
    let with = |policy| config().tls(host, policy).route(host, route(&[endpoint(upstream.address)]));
    for alpn in PROTOCOLS {
        let grace = Duration::from_millis(100);
        let scene = with(PKI.clients.policy()).start_with(Settings { trust_grace: grace, ..settings() });
        let mut client = Connection::secure(scene.https, alpn, host, Some(&PKI.clients.client())).await;
        let response = ask(&mut client, host).await;
        scene.publish(with(PKI.others.policy()));
        assert!(tokio::time::timeout(SOON, rest(response)).await.unwrap().is_err(), "{alpn}");
        assert!(closes(&mut client).await, "{alpn}");
    }
}

#[tokio::test]
async fn a_websocket_ends_at_once() {
    let upstream = echo().await;
    let host = "live-websocket.test";
    let with = |policy| {
        let mut route = route(&[endpoint(upstream.address)]);
        route.websocket = true;
        config().tls(host, policy).route(host, route)
    };
    let scene = with(PKI.clients.policy()).start_with(patient());
    let client = Connection::secure(scene.https, "http/1.1", host, Some(&PKI.clients.client())).await;
    let mut stream = websocket(client, host).await;
    stream.write_all(b"ping").await.unwrap();
    let mut echoed = [0; 4];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"ping");
    scene.publish(with(policy(|s| s.depth = 0)));
    scene.reviewed().await;
    stream.write_all(b"pong").await.unwrap();
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"pong", "it still satisfies the policy");
    scene.publish(with(PKI.others.policy()));
    let end = tokio::time::timeout(SOON, stream.read(&mut echoed)).await.expect("the tunnel stays open");
    assert!(!end.is_ok_and(|read| read > 0));
}

#[tokio::test]
async fn a_websocket_is_held_to_the_policy_of_its_own_host() {
    let upstream = echo().await;
    let (sni, host) = ("live-sni.test", "live-tunnel.test");
    let with = |policy: Policy, of_host: Policy| {
        let mut route = route(&[endpoint(upstream.address)]);
        route.websocket = true;
        config().tls(sni, policy).tls(host, of_host).route(host, route)
    };
    let ends = async |stream: &mut TokioIo<Upgraded>| {
        let end = tokio::time::timeout(SOON, stream.read(&mut [0])).await.expect("the tunnel stays open");
        assert!(!end.is_ok_and(|read| read > 0));
    };
    let scene = with(PKI.clients.policy(), PKI.clients.policy()).start_with(patient());
    let client = Connection::secure(scene.https, "http/1.1", sni, Some(&PKI.clients.client())).await;
    let mut stream = websocket(client, host).await;
    scene.publish(with(PKI.clients.policy(), PKI.others.policy()));
    ends(&mut stream).await;
    let line = format!("sni: \"{sni}\", host: \"{host}\"");
    ERRORS.with(&["unknown issuer, closing the connection", &line]).await;

    scene.publish(with(Policy::Open, Policy::Open));
    let secure = Connection::secure(scene.https, "http/1.1", sni, None).await;
    let (mut secure, mut plain) =
        (websocket(secure, host).await, websocket(Connection::plain(scene.http).await, host).await);
    scene.publish(with(Policy::Open, PKI.clients.policy()));
    ends(&mut secure).await;
    ends(&mut plain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_connections_exactly_the_affected_are_closed() {
    const EACH: usize = 500;
    let upstream = hello().await;
    let (mine, other) = ("live-mine.test", "live-other.test");
    let with = |policy| {
        let hosts = config().tls(mine, policy).tls(other, PKI.clients.policy());
        hosts.route(mine, route(&[endpoint(upstream.address)])).route(other, route(&[endpoint(upstream.address)]))
    };
    let scene = with(PKI.clients.policy()).start_with(patient());
    let good = PKI.clients.client();
    let configs = PROTOCOLS.map(|alpn| tls_config(alpn, Some(&good)));
    let connect = async |host: &str| {
        let mut clients = Vec::new();
        for index in 0..EACH {
            let stream = tls(scene.https, host, configs[index % 2].clone()).await.unwrap();
            clients.push(Connection::over(stream, index % 2 == 1).await);
        }
        clients
    };
    let (mut affected, mut untouched) = (connect(mine).await, connect(other).await);
    scene.entered(EACH * 2).await;
    let (asked, mut answered) = mpsc::unbounded_channel();
    let mut busy = Connection::secure(scene.https, "h2", other, Some(&good)).await;
    let busy = tokio::spawn(async move { while asked.send(busy.get(other, "/").await.status).is_ok() {} });
    assert_eq!(answered.recv().await.unwrap(), 200);
    scene.publish(with(PKI.others.policy()));
    for client in &mut affected {
        assert!(closes(client).await);
    }
    scene.closed("unknown_issuer", EACH as u64).await;
    for client in &mut untouched {
        assert_eq!(client.get(other, "/").await.status, 200);
    }
    while let Ok(status) = answered.try_recv() {
        assert_eq!(status, 200);
    }
    drop(answered);
    busy.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_slips_between_a_handshake_and_a_publication() {
    let host = "live-race.test";
    let with =
        |authority: &Authority| config().tls(host, authority.policy_with(|settings| settings.failure = Failure::Alert));
    let scene = with(&PKI.clients).start_with(patient());
    let client = tls_config("http/1.1", Some(&PKI.clients.client()));
    for round in 0..100 {
        scene.publish(with(&PKI.clients));
        let others = with(&PKI.others);
        let connecting = tokio::spawn(tls(scene.https, host, client.clone()));
        // From before the handshake to after it. The runtime's timers are too coarse, and its workers are other threads.
        std::thread::sleep(Duration::from_micros(round * 100));
        scene.publish(others);
        if let Ok(mut stream) = connecting.await.unwrap() {
            let read = tokio::time::timeout(SOON, stream.read_to_end(&mut Vec::new())).await;
            assert!(read.is_ok(), "round {round}: the connection stays open");
        }
    }
    assert!(scene.metric("portcullis_client_connections_closed_total{reason=\"unknown_issuer\"}") > 0);
}

/// Ten thousand clients, as far as 20,000 open files allow, with certificates of their own; one list revokes half of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "20,000 open files and a minute; run it with --release"]
async fn of_ten_thousand_connections_the_revoked_are_closed_within_a_second() {
    const ALL: usize = 9_900;
    let upstream = hello().await;
    let host = "live-many.test";
    let hour = Duration::from_secs(3600);
    let with = |revoked: &[&Certified]| {
        let policy = PKI.clients.revoking(revoked, hour);
        config().tls(host, policy).route(host, route(&[endpoint(upstream.address)]))
    };
    let scene = with(&[]).start_with(Settings { max_connections_per_source: 0, ..patient() });
    let certificates: Vec<_> = (0..ALL).map(|_| PKI.clients.client()).collect();
    let mut clients = Vec::new();
    for (index, certificate) in certificates.iter().enumerate() {
        clients.push(Connection::secure(scene.https, PROTOCOLS[index % 2], host, Some(certificate)).await);
    }
    scene.entered(ALL).await;
    let revoked = with(&certificates[..ALL / 2].iter().collect::<Vec<_>>());
    let start = Instant::now();
    scene.publish(revoked);
    scene.reviewed().await;
    let reviewed = start.elapsed();
    for client in &mut clients[..ALL / 2] {
        assert!(closes(client).await);
    }
    let closed = start.elapsed();
    println!("{ALL} connections: reviewed after {reviewed:?}, {} closed after {closed:?}", ALL / 2);
    assert!(closed < Duration::from_secs(1));
    assert!(!clients[ALL / 2..].iter().any(Connection::is_closed));
}

#[tokio::test]
async fn a_client_certificate_that_expires_ends_its_connections() {
    let upstream = hello().await;
    let host = "live-expiry.test";
    let scene = config()
        .tls(host, PKI.clients.policy())
        .route(host, route(&[endpoint(upstream.address)]))
        .start_with(patient());
    let brief = PKI.clients.client_for(Duration::from_secs(3));
    let long = PKI.clients.client();
    let mut expiring = Vec::new();
    let mut lasting = Vec::new();
    for alpn in PROTOCOLS {
        let mut client = Connection::secure(scene.https, alpn, host, Some(&brief)).await;
        assert_eq!(client.get(host, "/").await.status, 200, "{alpn}");
        expiring.push(client);
        expiring.push(Connection::secure(scene.https, alpn, host, Some(&brief)).await);
        lasting.push(Connection::secure(scene.https, alpn, host, Some(&long)).await);
    }
    for client in &mut expiring {
        assert!(closes(client).await);
    }
    ERRORS.with(&["certificate has expired", "closing the connection", host]).await;
    for client in &mut lasting {
        assert_eq!(client.get(host, "/").await.status, 200);
    }
    scene.closed("expired", 4).await;
}

#[tokio::test]
async fn a_client_that_is_revoked_loses_its_connections_and_its_session() {
    let upstream = hello().await;
    let host = "live-revoked.test";
    let (good, bad) = (PKI.clients.client(), PKI.clients.client());
    let with = |revoked: &[&Certified], next_update| {
        let policy = PKI.clients.revoking(revoked, next_update);
        config().tls(host, policy).route(host, route(&[endpoint(upstream.address)]))
    };
    let hour = Duration::from_secs(3600);
    for version in [&TLS12, &TLS13] {
        let scene = with(&[], hour).start_with(patient());
        let configs = [&good, &bad].map(|client| tls_config_of("http/1.1", Some(client), &[version]));
        let connect = async |config: &Arc<ClientConfig>| {
            Connection::over(tls(scene.https, host, config.clone()).await.unwrap(), false).await
        };
        let mut clients = [connect(&configs[0]).await, connect(&configs[1]).await];
        for client in &mut clients {
            assert_eq!(client.get(host, "/").await.status, 200);
        }
        scene.publish(with(&[&bad], hour));
        assert!(closes(&mut clients[1]).await, "{version:?}");
        ERRORS.with(&["FAILED:revoked", "closing the connection", host]).await;
        assert_eq!(clients[0].get(host, "/").await.status, 200, "{version:?}");
        // A new list ends no session, and no session lets a revoked client in.
        for (config, expected) in configs.iter().zip([200, 400]) {
            assert_eq!(connect(config).await.get(host, "/").await.status, expected, "{version:?}");
        }
        assert_eq!(scene.metric("portcullis_handshakes_total{result=\"resumed\"}"), 2, "{version:?}");
        scene.closed("revoked", 1).await;
    }
}

#[tokio::test]
async fn a_revocation_list_that_expires_ends_the_connections_that_need_it() {
    let upstream = hello().await;
    let host = "live-list.test";
    let policy = PKI.clients.revoking(&[], Duration::from_secs(3));
    let scene = config().tls(host, policy).route(host, route(&[endpoint(upstream.address)])).start_with(patient());
    let mut client = Connection::secure(scene.https, "h2", host, Some(&PKI.clients.client())).await;
    assert_eq!(client.get(host, "/").await.status, 200);
    assert!(closes(&mut client).await);
    scene.closed("revocation_unknown", 1).await;
}

#[tokio::test]
async fn a_client_without_sni_is_served_as_if_it_had_named_the_fallback() {
    let upstream = hello().await;
    let fallback_sni = portcullis::model::HostName::parse("live-fallback.test");
    let (host, other) = ("live-fallback.test", "live-fallback-other.test");
    let start = |fallback_sni| {
        let hosts = config().tls_of("127.0.0.1", host, PKI.clients.policy()).tls(other, PKI.others.policy());
        let hosts = hosts.route(host, route(&[endpoint(upstream.address)]));
        hosts.route(other, route(&[endpoint(upstream.address)])).start_with(Settings { fallback_sni, ..settings() })
    };
    let scene = start(fallback_sni);
    for alpn in PROTOCOLS {
        // An address is never sent as SNI.
        let mut good = Connection::secure(scene.https, alpn, "127.0.0.1", Some(&PKI.clients.client())).await;
        assert_eq!(good.get(host, "/").await.status, 200, "{alpn}");
        assert_eq!(good.get(other, "/").await.status, 421, "{alpn}: the policy of another host");
        let mut nobody = Connection::secure(scene.https, alpn, "127.0.0.1", None).await;
        assert_eq!(nobody.get(host, "/").await.status, 400, "{alpn}: the policy of the fallback");
        let config = tls_config(alpn, None);
        let unknown = tls(scene.https, "live-fallback-unknown.test", config.clone()).await.unwrap_err();
        assert!(unknown.to_string().contains("UnrecognisedName"), "{unknown}");
        let none = tls(start(None).https, "127.0.0.1", config).await.unwrap_err();
        assert!(none.to_string().contains("UnrecognisedName"), "{none}");
    }
}
