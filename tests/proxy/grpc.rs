//! Upstreams of HTTP/2, gRPC among them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::model::{ActiveCheck, Criteria, HealthCheck, Invalid, Keepalive, Thresholds, Timeouts};
use portcullis::proxy::Settings;
use portcullis::snapshot::{Backends, CheckId, Endpoint, Node, Policy, Route, Transport, Upstream, Watched};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use crate::client::{Connection, answer, tls, tls_config};
use crate::objects::{reference, route_for_everything, secret};
use crate::pki::PKI;
use crate::scene::{Config, Scene, config, route, settings};
use crate::stage::Stage;
use crate::tls_upstream::{certificate, serve as serve_tls, server_tls};
use crate::upstream::{AnyBody, nobody, text};

const PATIENCE: Duration = Duration::from_secs(30);

/// An endpoint that is spoken to in HTTP/2 without TLS.
fn endpoint(address: SocketAddr) -> Arc<Endpoint> {
    Arc::new(Endpoint::new(address, Transport { http2: true, ..Transport::default() }))
}

/// Serves HTTP/2 on `stream`.
async fn speak<F, A>(stream: TcpStream, streams: u32, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let service = hyper::service::service_fn(move |request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let _ = builder.max_concurrent_streams(streams).serve_connection(TokioIo::new(stream), service).await;
}

/// An upstream that takes `streams` requests per connection, and the number of its connections.
async fn serve<F, A>(streams: u32, answer: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(speak(stream, streams, answer.clone()));
        }
    });
    (address, connections)
}

/// An upstream that answers with what it is sent, trailers included, while it is sent.
async fn echo(request: Request<Incoming>) -> Response<AnyBody> {
    let mut response = Response::builder().header("content-type", "application/grpc");
    for name in ["te", "content-type", "x-forwarded-proto"] {
        if let Some(value) = request.headers().get(name) {
            response = response.header(format!("x-seen-{name}"), value);
        }
    }
    response = response.header("x-seen-uri", request.uri().to_string());
    response.body(request.into_body().boxed()).unwrap()
}

fn scene(host: &str, endpoint: Arc<Endpoint>) -> Scene {
    secured(host).route(host, route(&[endpoint])).start()
}

fn secured(host: &str) -> Config {
    config().tls(host, Policy::Open)
}

fn streamed(frames: Vec<Frame<Bytes>>) -> AnyBody {
    BodyExt::boxed(StreamBody::new(futures::stream::iter(frames.into_iter().map(Ok))))
}

fn call(client: &Connection, host: &str, path: &str, body: AnyBody) -> Request<AnyBody> {
    let request = client.request("POST", host, path).header("content-type", "application/grpc");
    request.header("te", "trailers").body(body).unwrap()
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (upstream, _) = serve(100, echo).await;
    let scene = scene("grpc.test", endpoint(upstream));
    let mut client = Connection::secure(scene.https, "h2", "grpc.test", None).await;
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let body = streamed(vec![Frame::data("ping".into()), Frame::trailers(trailers)]);
    let response = client.send(call(&client, "grpc.test", "/a.B/C?d=e", body)).await.unwrap();
    let seen = response.headers();
    assert_eq!(seen["x-seen-te"], "trailers");
    assert_eq!(seen["x-seen-content-type"], "application/grpc");
    assert_eq!(seen["x-seen-uri"], "http://grpc.test/a.B/C?d=e");
    assert_eq!(seen["x-seen-x-forwarded-proto"], "https");
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "ping");

    let mut old = Connection::secure(scene.https, "http/1.1", "grpc.test", None).await;
    let request = old.request("POST", "grpc.test", "/").body(text("from HTTP/1.1")).unwrap();
    assert_eq!(answer(old.send(request).await.unwrap()).await.body, "from HTTP/1.1");
    assert_eq!(old.get("grpc.test", "/").await.status, 200);
}

#[tokio::test]
async fn a_websocket_is_an_ordinary_request_to_an_upstream_of_http2() {
    let (upstream, _) = serve(100, echo).await;
    let mut websocket = route(&[endpoint(upstream)]);
    websocket.websocket = true;
    let scene = secured("ws2.test").route("ws2.test", websocket).start();
    let mut client = Connection::secure(scene.https, "http/1.1", "ws2.test", None).await;
    let request = client.request("GET", "ws2.test", "/chat").header("connection", "upgrade");
    let request = request.header("upgrade", "websocket").header("sec-websocket-key", "k").body(text("")).unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-seen-uri"], "http://ws2.test/chat");
}

#[tokio::test]
async fn both_directions_stream_at_once() {
    let (upstream, _) = serve(100, echo).await;
    let scene = scene("bidi.test", endpoint(upstream));
    let mut client = Connection::secure(scene.https, "h2", "bidi.test", None).await;
    let (sender, receiver) = mpsc::unbounded_channel();
    let frames = futures::stream::unfold(receiver, |mut receiver: mpsc::UnboundedReceiver<Bytes>| async move {
        Some((Ok(Frame::data(receiver.recv().await?)), receiver))
    });
    let body = BodyExt::boxed(StreamBody::new(frames));
    let mut response = client.send(call(&client, "bidi.test", "/", body)).await.unwrap();
    for piece in ["one", "two", "three"] {
        sender.send(Bytes::from_static(piece.as_bytes())).unwrap();
        let frame = tokio::time::timeout(PATIENCE, response.body_mut().frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(sender);
    let rest = tokio::time::timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap();
    assert_eq!(rest.to_bytes(), "");
}

#[tokio::test]
async fn bodies_are_larger_than_any_window() {
    let (upstream, _) = serve(100, echo).await;
    let scene = scene("large.test", endpoint(upstream));
    let chunk = Bytes::from(vec![b'x'; 64 << 10]);
    for alpn in ["http/1.1", "h2"] {
        let mut client = Connection::secure(scene.https, alpn, "large.test", None).await;
        let body = streamed((0..256).map(|_| Frame::data(chunk.clone())).collect());
        let request = client.request("POST", "large.test", "/").body(body).unwrap();
        let echoed = answer(client.send(request).await.unwrap()).await;
        assert_eq!(echoed.body.len(), 256 * chunk.len(), "{alpn}");
    }
}

#[tokio::test]
async fn requests_share_a_connection_until_the_peer_takes_no_more() {
    let go = Arc::new(Semaphore::new(0));
    let (entered, mut entries) = mpsc::unbounded_channel();
    let held = go.clone();
    let (upstream, connections) = serve(2, move |_| {
        let (held, entered) = (held.clone(), entered.clone());
        async move {
            entered.send(()).unwrap();
            held.acquire().await.unwrap().forget();
            Response::new(text("hello"))
        }
    })
    .await;
    let scene = scene("many.test", endpoint(upstream));
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let address = scene.https;
            tokio::spawn(async move {
                let mut client = Connection::secure(address, "h2", "many.test", None).await;
                client.get("many.test", "/").await.status
            })
        })
        .collect();
    for _ in 0..5 {
        tokio::time::timeout(PATIENCE, entries.recv()).await.expect("all are served at once").unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3);
    go.add_permits(10);
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    let mut client = Connection::secure(scene.https, "h2", "many.test", None).await;
    assert_eq!(client.get("many.test", "/").await.status, 200);
    assert_eq!(connections.load(Ordering::Relaxed), 3, "they are used again");
}

/// An upstream each connection of which does what `play` says, which gets its number.
async fn scripted<F, A>(play: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(play(stream, number));
        }
    });
    address
}

async fn collected(request: Request<Incoming>) -> Response<AnyBody> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Response::new(Full::new(body).map_err(|never| match never {}).boxed())
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Reads frames until one of `kind`, and returns its stream.
async fn read_until(stream: &mut TcpStream, kind: u8) -> u32 {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        tokio::io::copy(&mut (&mut *stream).take(length.into()), &mut tokio::io::sink()).await.unwrap();
        if head[3] == kind {
            return u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        }
    }
}

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// The upstream's side of a connection up to the first request's `frame`; returns its stream.
async fn begin(stream: &mut TcpStream, kind: u8) -> u32 {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    read_until(stream, kind).await
}

#[tokio::test]
async fn what_was_not_processed_is_sent_again() {
    const NO_ERROR: [u8; 4] = [0; 4];
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    for (what, answer_to_request) in [
        ("GOAWAY", frame(GOAWAY, 0, 0, &[[0; 4], NO_ERROR].concat())),
        ("refused", frame(RST_STREAM, 0, 1, &REFUSED_STREAM)),
    ] {
        let upstream = scripted(move |mut stream, number| {
            let bytes = answer_to_request.clone();
            async move {
                if number > 0 {
                    return speak(stream, 100, collected).await;
                }
                let id = begin(&mut stream, DATA).await;
                assert_eq!(id, 1);
                stream.write_all(&bytes).await.unwrap();
                if bytes[3] == RST_STREAM {
                    // The connection goes on, and takes what comes next.
                    stream.write_all(&frame(GOAWAY, 0, 0, &[[0, 0, 0, 1], NO_ERROR].concat())).await.unwrap();
                }
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        let scene = scene("again.test", endpoint(upstream));
        let mut client = Connection::secure(scene.https, "h2", "again.test", None).await;
        let body = streamed(vec![Frame::data("one,".into()), Frame::data("two".into())]);
        let response = client.send(call(&client, "again.test", "/", body)).await.unwrap();
        let answer = answer(response).await;
        assert_eq!((answer.body.as_ref(), answer.headers.get("grpc-status")), (&b"one,two"[..], None), "{what}");
        assert!(scene.metric("portcullis_upstream_retries_total") >= 1, "{what}");
    }
}

#[tokio::test]
async fn what_may_have_been_processed_is_not_sent_again() {
    const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];
    for (what, bytes) in [
        ("reset", frame(RST_STREAM, 0, 1, &INTERNAL_ERROR)),
        ("closed", vec![]),
        ("no HTTP/2", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    ] {
        let connections = Arc::new(Mutex::new(0));
        let counted = connections.clone();
        let upstream = scripted(move |mut stream, number| {
            *counted.lock().unwrap() = number + 1;
            let bytes = bytes.clone();
            async move {
                begin(&mut stream, HEADERS).await;
                stream.write_all(&bytes).await.unwrap();
                if bytes.is_empty() {
                    return;
                }
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        let scene = scene("once.test", endpoint(upstream));
        let mut client = Connection::secure(scene.https, "h2", "once.test", None).await;
        let request = client.request("POST", "once.test", "/").body(text("")).unwrap();
        assert_eq!(client.send(request).await.unwrap().status(), 502, "{what}");
        assert_eq!(*connections.lock().unwrap(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_connection_that_has_gone_is_replaced() {
    // The second connection stays; the first one ends after a request.
    let upstream = scripted(|stream, number| async move {
        if number > 0 {
            return speak(stream, 100, collected).await;
        }
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_response(Response::new(()), true).unwrap();
        connection.graceful_shutdown();
        while connection.accept().await.is_some() {}
    })
    .await;
    let scene = scene("gone.test", endpoint(upstream));
    let mut client = Connection::secure(scene.https, "h2", "gone.test", None).await;
    for _ in 0..3 {
        let body = streamed(vec![Frame::data("body".into())]);
        let answer = answer(client.send(call(&client, "gone.test", "/", body)).await.unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.headers.get("grpc-status")), (200, None));
    }
}

#[tokio::test]
async fn every_wait_has_a_deadline() {
    // Nobody's preface is answered; and a request is taken, but not answered.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deaf = scripted(|mut stream, _| async move {
        begin(&mut stream, HEADERS).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    for address in [silent.local_addr().unwrap(), deaf] {
        let mut slow = route(&[endpoint(address)]);
        slow.timeouts.connect = Duration::from_millis(300);
        slow.timeouts.read = Duration::from_millis(300);
        let scene = secured("slow.test").route("slow.test", slow).start();
        let mut client = Connection::secure(scene.https, "h2", "slow.test", None).await;
        assert_eq!(client.get("slow.test", "/").await.status, 504);
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_any_more_is_not_used_again() {
    let address = scripted(|mut stream, number| async move {
        if number > 0 {
            return speak(stream, 100, echo).await;
        }
        begin(&mut stream, HEADERS).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut slow = route(&[endpoint(address)]);
    slow.timeouts.read = Duration::from_secs(1);
    let scene = secured("dead.test").route("dead.test", slow).start();
    let mut client = Connection::secure(scene.https, "h2", "dead.test", None).await;
    assert_eq!(client.get("dead.test", "/").await.status, 504);
    assert_eq!(client.get("dead.test", "/").await.status, 200);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_stream_and_no_other() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let (upstream, connections) = serve(100, move |request| {
        let ended = ended.clone();
        async move {
            if request.uri().path() == "/short" {
                return Response::new(text("hello"));
            }
            let (sender, receiver) = mpsc::unbounded_channel();
            sender.send(Bytes::from_static(b"first")).unwrap();
            tokio::spawn(async move {
                let end = request.into_body().collect().await;
                ended.send(end.is_err()).unwrap();
                drop(sender);
            });
            let frames = futures::stream::unfold(receiver, |mut receiver: mpsc::UnboundedReceiver<Bytes>| async move {
                Some((Ok(Frame::data(receiver.recv().await?)), receiver))
            });
            Response::new(BodyExt::boxed(StreamBody::new(frames)))
        }
    })
    .await;
    let scene = scene("leave.test", endpoint(upstream));
    let stream = tls(scene.https, "leave.test", tls_config("h2", None)).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://leave.test/long").body(()).unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"x"), false).unwrap();
    let mut response = response.await.unwrap().into_body();
    assert_eq!(response.data().await.unwrap().unwrap(), "first");
    let mut other = Connection::secure(scene.https, "h2", "leave.test", None).await;
    assert_eq!(other.get("leave.test", "/short").await.status, 200);
    body.send_reset(h2::Reason::CANCEL);
    let broken = tokio::time::timeout(PATIENCE, ends.recv()).await.expect("the stream is not ended").unwrap();
    assert!(broken, "the upstream must not take the body for whole");
    assert_eq!(other.get("leave.test", "/short").await.status, 200);
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn our_own_answers_are_statuses_of_grpc() {
    let silent = scripted(|mut stream, _| async move {
        begin(&mut stream, HEADERS).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut slow = route(&[endpoint(silent)]);
    slow.timeouts.read = Duration::from_millis(300);
    let refuse = Policy::Refuse(Arc::new(Invalid::spec("spec.client", "broken")));
    let scene = secured("errors.test")
        .routes("errors.test", vec![("/502", route(&[endpoint(nobody())])), ("/503", route(&[])), ("/504", slow)])
        .tls("mtls.test", PKI.clients.policy())
        .route("mtls.test", route(&[]))
        .tls("broken.test", refuse)
        .start();
    for (host, path, code, message, status) in [
        ("errors.test", "/404", "12", "404 Not Found", 404),
        ("errors.test", "/502", "14", "502 Bad Gateway", 502),
        ("errors.test", "/503", "14", "503 Service Unavailable", 503),
        ("errors.test", "/504", "14", "504 Gateway Timeout", 504),
        ("mtls.test", "/", "16", "400 Bad Request", 400),
    ] {
        let mut client = Connection::secure(scene.https, "h2", host, None).await;
        let request = call(&client, host, path, text("x"));
        let answer = answer(client.send(request).await.unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0), "{path}");
        assert_eq!(answer.headers["grpc-status"], code, "{path}");
        assert_eq!(answer.headers["grpc-message"], message, "{path}");
        assert_eq!(answer.headers["content-type"], "application/grpc", "{path}");
        // Who does not speak gRPC is answered as ever.
        for (alpn, kind) in [("h2", "application/grpc-web"), ("http/1.1", "application/grpc")] {
            let mut client = Connection::secure(scene.https, alpn, host, None).await;
            let request = client.request("POST", host, path).header("content-type", kind).body(text("x")).unwrap();
            let answer = self::answer(client.send(request).await.unwrap()).await;
            assert_eq!((answer.status.as_u16(), answer.headers.get("grpc-status")), (status, None), "{path} {kind}");
        }
    }
}

/// Requests that wait for room wait for others, and not for the endpoint.
#[tokio::test]
async fn an_endpoint_without_room_is_not_taken_for_a_bad_one() {
    let go = Arc::new(Semaphore::new(0));
    let (entered, mut entries) = mpsc::unbounded_channel();
    let held = go.clone();
    let (upstream, _) = serve(1, move |_| {
        let (held, entered) = (held.clone(), entered.clone());
        async move {
            entered.send(()).unwrap();
            held.acquire().await.unwrap().forget();
            Response::new(text("hello"))
        }
    })
    .await;
    let endpoint = endpoint(upstream);
    let thresholds = Thresholds { http_failures: 1, successes: 1, tcp_failures: 1, timeouts: 1 };
    let passive = Some(Criteria { thresholds, ..Criteria::passive() });
    let check = Arc::new(HealthCheck { active: ActiveCheck::default(), passive });
    let id = CheckId { check, host: None, tls: None, upstream: "ns/full:80".into() };
    let mut watched = Watched::new(&id, None);
    let target = watched.watch(&endpoint, HeaderValue::from_static("full.test"), None);
    let to = |connect| {
        let node = Node { health: Some(target.clone()), ..endpoint.clone().into() };
        let mut upstream = Upstream::new("ns/full:80".into(), [node]);
        upstream.timeouts = Some(Timeouts { connect, ..Timeouts::default() });
        Route { backends: Backends::new([(upstream, 1)]), ..route(&[]) }
    };
    let scene = config().route("full.test", to(PATIENCE)).start();
    let ask = |address| async move { Connection::plain(address).await.get("full.test", "/").await.status };
    let held: Vec<_> = (0..64).map(|_| tokio::spawn(ask(scene.http))).collect();
    for _ in 0..64 {
        tokio::time::timeout(PATIENCE, entries.recv()).await.expect("all are served at once").unwrap();
    }
    scene.publish(config().route("full.test", to(Duration::from_millis(100))));
    assert_eq!(ask(scene.http).await, 503);
    assert!(target.is_healthy());
    assert_eq!(scene.metric("portcullis_upstream_connect_failures_total"), 0);
    go.add_permits(65);
    for request in held {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(ask(scene.http).await, 200);
}

/// Class O, with connections that many requests use at once.
#[tokio::test]
async fn class_o_a_shared_connection_is_of_one_name_and_one_identity() {
    let tls = server_tls(&["a.test", "b.test"], &["h2"], Some(&PKI.clients));
    let upstream = serve_tls(tls, |_| async { Response::new(text("hello")) }).await;
    let (one, two) = (PKI.clients.client(), PKI.clients.client());
    let spec = json!({
        "scheme": "grpcs", "tlsSecret": reference("mine"), "tlsVerify": {"caSecret": reference("servers")},
    });
    let settings = json!({
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixUpstream",
        "metadata": {"name": "upstream", "namespace": "default"}, "spec": spec,
    });
    let stage = Stage::new([secret("servers", &[("ca.crt", &PKI.servers.certificate.pem())])]).await;
    stage.apply(route_for_everything(upstream.address).into_iter().chain([settings, certificate("mine", &one)]));
    let ask = async |host: &str| Connection::plain(stage.http).await.get(host, "/").await.status.as_u16();
    for _ in 0..3 {
        for host in ["a.test", "b.test"] {
            assert_eq!(ask(host).await, 200);
        }
    }
    assert_eq!(upstream.accepted(), 2);
    stage.apply([certificate("mine", &two)]);
    assert_eq!(ask("a.test").await, 200);
    assert_eq!(upstream.accepted(), 3);
    for (at, seen) in upstream.seen().into_iter().enumerate() {
        assert_eq!(seen.sni.as_deref(), Some(&*seen.host));
        let identity = if at < 6 { &one } else { &two };
        assert_eq!(seen.client.as_ref(), identity.chain.first());
    }
    assert_eq!(ask("other.name").await, 502, "the certificate is for another name");
}

/// APISIX's `keepalive_pool.requests`.
#[tokio::test]
async fn a_connection_carries_so_many_requests_and_no_more() {
    let keepalive = Keepalive { requests: 2, ..Keepalive::default() };
    let one = crate::upstream::hello().await;
    let (two, connections) = serve(100, echo).await;
    let endpoint =
        |address, http2| Arc::new(Endpoint::new(address, Transport { http2, keepalive, ..Transport::default() }));
    let routes = vec![("/1", route(&[endpoint(one.address, false)])), ("/2", route(&[endpoint(two, true)]))];
    let scene = config().routes("keep.test", routes).start();
    let mut client = Connection::plain(scene.http).await;
    for path in ["/1", "/2"].repeat(5) {
        assert_eq!(client.get("keep.test", path).await.status, 200, "{path}");
    }
    assert_eq!((one.connections(), connections.load(Ordering::Relaxed)), (3, 3), "of 5 requests each");
}

/// The Admin API's `retry_timeout`.
#[tokio::test]
async fn another_endpoint_is_tried_only_for_so_long() {
    // No SETTINGS ever come: connecting takes as long as it may.
    let silent = scripted(|mut stream, _| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let (good, _) = serve(100, echo).await;
    let upstream = |retry_timeout| {
        let nodes =
            [silent, good].map(|address| Node { priority: i32::from(address == silent), ..endpoint(address).into() });
        let mut upstream = Upstream::new("default/test:80".into(), nodes);
        upstream.timeouts = Some(Timeouts { connect: Duration::from_millis(500), ..Timeouts::default() });
        upstream.retry_timeout = retry_timeout;
        Route { backends: Backends::new([(upstream, 1)]), ..route(&[]) }
    };
    for (retry_timeout, status) in [(None, 200), (Some(PATIENCE), 200), (Some(Duration::from_millis(1)), 504)] {
        let scene = config().route("retry.test", upstream(retry_timeout)).start();
        let answer = Connection::plain(scene.http).await.get("retry.test", "/").await;
        assert_eq!(answer.status, status, "{retry_timeout:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_reaches_no_upstream_of_http2_as_a_whole() {
    let (told, mut bodies) = mpsc::unbounded_channel();
    let (upstream, _) = serve(100, move |request: Request<Incoming>| {
        let told = told.clone();
        async move {
            told.send(request.into_body().collect().await.map(|body| body.to_bytes().len()).ok()).unwrap();
            Response::new(text("hello"))
        }
    })
    .await;
    let settings = Settings { max_body_size: Some(100), ..settings() };
    let scene = secured("size.test").route("size.test", route(&[endpoint(upstream)])).start_with(settings);
    for alpn in ["http/1.1", "h2"] {
        let post = async |body: AnyBody| {
            let mut client = Connection::secure(scene.https, alpn, "size.test", None).await;
            let request = client.request("POST", "size.test", "/").body(body).unwrap();
            tokio::time::timeout(PATIENCE, client.send(request)).await.unwrap().unwrap().status().as_u16()
        };
        let pieces = |count| streamed((0..count).map(|_| Frame::data(Bytes::from_static(&[7; 50]))).collect());
        assert_eq!(post(pieces(2)).await, 200, "{alpn}");
        assert_eq!(tokio::time::timeout(PATIENCE, bodies.recv()).await.unwrap(), Some(Some(100)));
        assert_eq!(post(text(vec![7; 101])).await, 413, "{alpn}: the length is announced");
        assert_eq!(post(pieces(3)).await, 413, "{alpn}");
        // The upstream need not have seen any of it, but if it did, it broke off.
        while let Ok(body) = bodies.try_recv() {
            assert_eq!(body, None, "{alpn}");
        }
    }
}
