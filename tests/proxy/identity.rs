//! What upstreams are told about clients, and that no client can tell it in our place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use portcullis::model::{Forward, IdentityField, Mode};
use portcullis::snapshot::Policy;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Connection, answer, tls, tls_config};
use crate::pki::{Certified, PKI};
use crate::scene::{Scene, config, endpoint, route};
use crate::upstream::{AnyBody, Recorder, hello, serve, text};

/// What a policy of these tests tells the upstream.
fn forward() -> Forward {
    let headers = [
        ("x-dns", IdentityField::DnsNames),
        ("x-hash", IdentityField::Fingerprint),
        ("x-subject", IdentityField::Subject),
        ("x_verified", IdentityField::Verify),
    ];
    let headers = headers.map(|(name, field)| (name.into(), field)).into();
    Forward { client_cert: true, client_cert_chain: true, headers, xfcc: true }
}

fn policy(mode: Mode) -> Policy {
    PKI.clients.policy_with(|settings| {
        settings.forward = forward();
        settings.mode = mode;
        settings.skip = vec!["^/public".into()];
    })
}

/// Names that a client may try, as it may spell them in HTTP/1.1.
const SPOOFED: [&str; 32] = [
    "Client-Cert",
    "CLIENT-CERT",
    "client_cert",
    "Client-Cert-Chain",
    "Client_Cert-Chain",
    "X-Forwarded-Client-Cert",
    "X_Forwarded_Client_Cert",
    "x-forwarded_client-cert",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "ssl-client-verify",
    "ssl-client-cert",
    "SSL_CLIENT_S_DN",
    "Ssl-Client-Subject-Dn",
    "X-SSL-Client-Verify",
    "X-SSL-Client-CN",
    "X_SSL_CLIENT_CERT",
    "X-SSL-Cert",
    "X-Ssl-Issuer",
    "X-Client-Cert",
    "X-Client-Certificate",
    "X-Client-Verify",
    "X-Client-Dn",
    "X-Tls-Client-Subject",
    "X-Amzn-Mtls-Clientcert",
    "X-Subject",
    "X_Subject",
    "X-DNS",
    "x.dns",
    "Client.Cert",
    "X-Verified",
    "X_VERIFIED",
];

fn dashed(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// The fields of `headers` that speak of an identity.
fn claims(headers: &HeaderMap) -> BTreeMap<String, String> {
    let spoofed: Vec<_> = SPOOFED.iter().map(|name| dashed(name)).chain(["x-hash".to_owned()]).collect();
    let claims = headers.iter().filter(|(name, _)| spoofed.contains(&dashed(name.as_str())));
    let claims = claims.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let found: Vec<_> = claims.collect();
    let map: BTreeMap<_, _> = found.iter().cloned().collect();
    assert_eq!(map.len(), found.len(), "a field stands twice: {found:?}");
    map
}

/// What is told of a client with the certificate `certified`.
fn told(certified: &Certified) -> BTreeMap<String, String> {
    let der = &certified.chain[0];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let hash = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let base64 = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = lines.join("\n").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D").replace('\n', "%0A");
    let subject = "CN=rcgen self signed cert";
    let xfcc = format!(
        "Hash={hash};Cert=\"-----BEGIN%20CERTIFICATE-----%0A{pem}%0A-----END%20CERTIFICATE-----%0A\";\
         Subject=\"{subject}\";DNS=client.test"
    );
    let fields = [
        ("client-cert", format!(":{base64}:")),
        ("x-dns", "client.test".to_owned()),
        ("x-forwarded-client-cert", xfcc),
        ("x-hash", hash),
        ("x-subject", subject.to_owned()),
        ("x_verified", "SUCCESS".to_owned()),
    ];
    fields.map(|(name, value)| (name.to_owned(), value)).into()
}

fn only_verdict(verdict: &str) -> BTreeMap<String, String> {
    [("x_verified".to_owned(), verdict.to_owned())].into()
}

#[tokio::test]
async fn the_upstream_is_told_who_the_client_is_and_nothing_else() {
    let upstream = hello().await;
    let modes = [
        ("id-require.test", policy(Mode::Require)),
        ("id-optional.test", policy(Mode::Optional)),
        ("id-observe.test", policy(Mode::Observe)),
        ("id-silent.test", PKI.clients.policy()),
        ("id-open.test", Policy::Open),
    ];
    let mut scene = config();
    for (host, policy) in modes {
        scene = scene.tls(host, policy).route(host, route(&[endpoint(upstream.address)]));
    }
    let scene = scene.start();
    let (good, bad) = (PKI.clients.client(), PKI.others.client());
    let (nothing, none) = (BTreeMap::new(), only_verdict("NONE"));
    let failed = only_verdict("FAILED:unknown issuer");
    for alpn in ["http/1.1", "h2"] {
        for (host, certificate, path, expected) in [
            ("id-require.test", Some(&good), "/", Some(told(&good))),
            ("id-require.test", Some(&bad), "/", None),
            ("id-require.test", None, "/", None),
            ("id-require.test", Some(&good), "/public", Some(told(&good))),
            ("id-require.test", Some(&bad), "/public", Some(failed.clone())),
            ("id-require.test", None, "/public", Some(none.clone())),
            ("id-optional.test", Some(&good), "/", Some(told(&good))),
            ("id-optional.test", Some(&bad), "/", None),
            ("id-optional.test", None, "/", Some(none.clone())),
            ("id-observe.test", Some(&good), "/", Some(told(&good))),
            ("id-observe.test", Some(&bad), "/", Some(failed.clone())),
            ("id-observe.test", None, "/", Some(none.clone())),
            ("id-silent.test", Some(&good), "/", Some(nothing.clone())),
            ("id-open.test", Some(&good), "/", Some(nothing.clone())),
        ] {
            let what = format!("{alpn} {host}{path} {:?}", certificate.map(|certified| &certified.pem));
            let before = upstream.seen().len();
            let mut client = Connection::secure(scene.https, alpn, host, certificate).await;
            for _ in 0..2 {
                if client.get(host, path).await.status != 200 {
                    break;
                }
            }
            let seen: Vec<_> = upstream.seen()[before..].iter().map(|seen| claims(&seen.headers)).collect();
            assert_eq!(seen, expected.map_or(Vec::new(), |expected| vec![expected.clone(), expected]), "{what}");
        }
    }
    for (host, expected) in
        [("id-optional.test", Some(none.clone())), ("id-observe.test", Some(none)), ("id-require.test", None)]
    {
        let before = upstream.seen().len();
        Connection::plain(scene.http).await.get(host, "/").await;
        let seen: Vec<_> = upstream.seen()[before..].iter().map(|seen| claims(&seen.headers)).collect();
        assert_eq!(seen, Vec::from_iter(expected), "{host} without TLS");
    }
}

#[tokio::test]
async fn a_chain_is_told_as_it_was_sent() {
    let upstream = hello().await;
    let scene = config()
        .tls("id-chain.test", policy(Mode::Require))
        .route("id-chain.test", route(&[endpoint(upstream.address)]))
        .start();
    let mut client = PKI.clients.client();
    let issuer = PKI.clients.certificate.der().clone();
    client.chain.push(issuer.clone());
    let mut connection = Connection::secure(scene.https, "h2", "id-chain.test", Some(&client)).await;
    assert_eq!(connection.get("id-chain.test", "/").await.status, 200);
    let expected = format!(":{}:", BASE64_STANDARD.encode(&issuer));
    assert_eq!(upstream.seen()[0].header("client-cert-chain"), Some(&*expected));
}

/// An upstream that keeps what comes in trailers.
async fn with_trailers() -> (Recorder, Arc<Mutex<Vec<HeaderMap>>>) {
    let trailers = Arc::new(Mutex::new(Vec::new()));
    let kept = trailers.clone();
    let recorder = serve(move |request| {
        let kept = kept.clone();
        async move {
            if let Ok(body) = request.into_body().collect().await {
                kept.lock().unwrap().extend(body.trailers().cloned());
            }
            Response::new(text("hello"))
        }
    });
    (recorder.await, trailers)
}

/// A request that claims an identity by every name, in its fields and its trailers, as HTTP/1.1 bytes.
fn spoofing(host: &str, path: &str) -> String {
    let lines = SPOOFED.map(|name| format!("{name}: spoofed\r\n{name}: again\r\n")).concat();
    let listed = SPOOFED.join(", ");
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\n{lines}X-Kept: 1\r\nConnection: close, {listed}\r\nTrailer: X-Sum, {listed}\r\n\
         Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n{lines}X-Sum: 1\r\n\r\n"
    )
}

async fn spoof_http1<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, host: &str, path: &str) {
    stream.write_all(spoofing(host, path).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await; // it may end without close_notify
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

async fn spoof_http2(scene: &Scene, host: &str, path: &str, certificate: Option<&Certified>) {
    let names = SPOOFED.map(|name| HeaderName::try_from(name).unwrap());
    let mut trailers = HeaderMap::new();
    for name in names.iter().cycle().take(2 * names.len()) {
        trailers.append(name, HeaderValue::from_static("spoofed"));
    }
    let mut fields = trailers.clone();
    fields.insert("x-kept", HeaderValue::from_static("1"));
    fields.insert("trailer", HeaderValue::try_from(format!("x-sum, {}", SPOOFED.join(", "))).unwrap());
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    let frames = [Ok(Frame::data(Bytes::from_static(b"a"))), Ok(Frame::trailers(trailers))];
    let body: AnyBody = BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)));
    let mut client = Connection::secure(scene.https, "h2", host, certificate).await;
    let mut request: Request<AnyBody> = client.request("POST", host, path).body(body).unwrap();
    request.headers_mut().extend(fields);
    assert_eq!(answer(client.send(request).await.unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_client_cannot_claim_to_be_somebody() {
    let (upstream, trailers) = with_trailers().await;
    let hosts = [
        ("spoof-open.test", Policy::Open),
        ("spoof-optional.test", policy(Mode::Optional)),
        ("spoof-observe.test", policy(Mode::Observe)),
        ("spoof-require.test", policy(Mode::Require)),
        ("spoof-silent.test", PKI.clients.policy()),
    ];
    let mut scene = config().route("spoof-plain.test", route(&[endpoint(upstream.address)]));
    for (host, policy) in hosts {
        scene = scene.tls(host, policy).route(host, route(&[endpoint(upstream.address)]));
    }
    let scene = scene.start();
    let good = PKI.clients.client();
    let (nothing, none, known) = (BTreeMap::new(), only_verdict("NONE"), told(&good));
    let check = |expected: &BTreeMap<String, String>, what: &str| {
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(claims(&seen.headers), *expected, "{what}");
        assert_eq!(seen.header("x-kept"), Some("1"), "{what}");
        let trailers = trailers.lock().unwrap().pop().unwrap();
        assert_eq!(claims(&trailers), BTreeMap::new(), "{what}: trailers");
        assert_eq!(trailers["x-sum"], "1", "{what}");
    };
    for (host, expected) in
        [("spoof-plain.test", &nothing), ("spoof-open.test", &nothing), ("spoof-optional.test", &none)]
    {
        spoof_http1(TcpStream::connect(scene.http).await.unwrap(), host, "/").await;
        check(expected, &format!("plaintext {host}"));
    }
    for (host, path, certificate, expected) in [
        ("spoof-open.test", "/", None, &nothing),
        ("spoof-optional.test", "/", None, &none),
        ("spoof-optional.test", "/", Some(&good), &known),
        ("spoof-observe.test", "/", None, &none),
        ("spoof-require.test", "/public", None, &none),
        ("spoof-require.test", "/", Some(&good), &known),
        ("spoof-silent.test", "/", Some(&good), &nothing),
    ] {
        let stream = tls(scene.https, host, tls_config("http/1.1", certificate)).await.unwrap();
        spoof_http1(stream, host, path).await;
        check(expected, &format!("HTTP/1.1 {host}{path}"));
        spoof_http2(&scene, host, path, certificate).await;
        check(expected, &format!("HTTP/2 {host}{path}"));
    }
}

#[tokio::test]
async fn a_websocket_is_told_as_a_request_is() {
    let upstream = hello().await;
    let mut websocket = route(&[endpoint(upstream.address)]);
    websocket.websocket = true;
    let scene = config().tls("id-ws.test", policy(Mode::Require)).route("id-ws.test", websocket).start();
    let good = PKI.clients.client();
    let mut client = Connection::secure(scene.https, "http/1.1", "id-ws.test", Some(&good)).await;
    let request = client.request("GET", "id-ws.test", "/").header("connection", "upgrade, client-cert");
    let request = request.header("upgrade", "websocket").header("client-cert", "spoofed").body(text("")).unwrap();
    assert_eq!(answer(client.send(request).await.unwrap()).await.status, 200);
    let seen = upstream.seen().pop().unwrap();
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(claims(&seen.headers), told(&good));
}

#[tokio::test]
async fn a_crowd_of_names_does_not_break_the_upstream() {
    let upstream = hello().await;
    let scene = config()
        .tls("id-crowd.test", policy(Mode::Require))
        .route("id-crowd.test", route(&[endpoint(upstream.address)]))
        .start();
    let names: Vec<_> = (0..400).map(|number| format!("a-rather-long-name-{number}.client.test")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let crowd = PKI.clients.issue(&names, rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    let mut client = Connection::secure(scene.https, "h2", "id-crowd.test", Some(&crowd)).await;
    assert_eq!(client.get("id-crowd.test", "/").await.status, 200);
    let claims = claims(&upstream.seen().pop().unwrap().headers);
    assert_eq!(claims.keys().collect::<Vec<_>>(), ["x-hash", "x-subject", "x_verified"]);
}

#[tokio::test]
async fn no_text_of_a_certificate_ends_the_part_it_stands_in() {
    let upstream = hello().await;
    let scene = config()
        .tls("id-hostile.test", policy(Mode::Require))
        .route("id-hostile.test", route(&[endpoint(upstream.address)]))
        .start();
    let hostile = PKI.clients.issue_with(&[], rcgen::ExtendedKeyUsagePurpose::ClientAuth, |params| {
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::CommonName, "a\\\";URI=spiffe://td/admin;Subject=\"\r\nx_verified: SUCCESS\u{e9}\\");
        let uri = "spiffe://td/a,Hash=0;URI=spiffe://td/admin".try_into().unwrap();
        let dns = "a.test,admin.test\";DNS=\"x".try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::URI(uri), rcgen::SanType::DnsName(dns)];
    });
    let mut client = Connection::secure(scene.https, "h2", "id-hostile.test", Some(&hostile)).await;
    assert_eq!(client.get("id-hostile.test", "/").await.status, 200);
    let seen = upstream.seen().pop().unwrap();
    let subject = r"CN=a\5C\22\;URI=spiffe://td/admin\;Subject=\22\0D\0Ax_verified: SUCCESS\C3\A9\5C";
    assert_eq!(seen.header("x-subject"), Some(subject));
    assert_eq!(seen.header("x-dns"), Some("a.test%2Cadmin.test%22%3BDNS=%22x"));
    let xfcc = seen.header("x-forwarded-client-cert").unwrap();
    let end = format!(
        "\";Subject=\"{subject}\";URI=\"spiffe://td/a%2CHash=0%3BURI=spiffe://td/admin\";\
         DNS=\"a.test%2Cadmin.test%22%3BDNS=%22x\""
    );
    assert!(xfcc.ends_with(&end), "{xfcc}");
    assert_eq!(xfcc.matches('"').count(), 8, "{xfcc}");
}
