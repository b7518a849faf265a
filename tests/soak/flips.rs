//! Routes, weights, endpoints, hosts and certificates change ten times a second beside 5,000 routes: every answer is of one state as a
//! whole, the old one or the new one, and nobody sees an older state after a newer one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::client::Resumption;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, timeout};

use crate::client::{Connection, answer, tls, tls_config};
use crate::objects::{secret, tls as tls_object};
use crate::pki::PKI;
use crate::program::Program;
use crate::upstream::text;
use crate::{ALONE, setting};

const HOST: &str = "flip.test";

/// Routes that never change.
const OTHERS: usize = 5_000;

/// Between two changes.
const PACE: Duration = Duration::from_millis(100);

/// A hang, not a goal.
const PATIENCE: Duration = Duration::from_secs(30);

/// What decides where requests for the path of its name go.
const FLIPPED: [&str; 3] = ["route", "weight", "endpoint"];

/// How many requests a connection carries.
const REQUESTS: usize = 32;

/// An upstream that answers with its name and the host that it was asked for.
async fn named(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let host = request.headers().get("host").map_or("", |host| host.to_str().unwrap());
                let response = Response::new(text(format!("{name} {host}")));
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// A Service and its endpoint.
fn service(name: &str, endpoint: SocketAddr) -> [Value; 2] {
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
            "spec": {"clusterIP": "None", "ports": [{"port": 80}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("{name}-1"), "namespace": "default", "labels": {"kubernetes.io/service-name": name},
            },
            "endpoints": [{"addresses": [endpoint.ip().to_string()]}],
            "ports": [{"port": endpoint.port()}],
        }),
    ]
}

/// An ApisixRoute with one rule.
fn route(name: &str, host: &str, path: &str, backends: &[(&str, u32)]) -> Value {
    let backend =
        |(service, weight): &(&str, u32)| json!({"serviceName": service, "servicePort": 80, "weight": weight});
    json!({
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute", "metadata": {"name": name, "namespace": "default"},
        "spec": {"http": [{
            "name": "rule", "match": {"hosts": [host], "paths": [path]},
            "backends": backends.iter().map(backend).collect::<Vec<_>>(),
        }]},
    })
}

/// Where state `number` leads: every flip goes the other way.
fn leads_to(number: usize) -> &'static str {
    ["even", "odd"][number % 2]
}

struct Flips {
    /// The states by their server certificates.
    certificates: Mutex<HashMap<Vec<u8>, usize>>,
    https: SocketAddr,
    newest: AtomicUsize,
    /// The newest state that somebody has seen in force.
    oldest: AtomicUsize,
    over: AtomicBool,
    answers: AtomicU64,
    /// How many states were seen in force.
    seen: AtomicU64,
    upstreams: [SocketAddr; 2],
}

impl Flips {
    /// The objects of state `number`.
    fn state(&self, number: usize) -> Vec<Value> {
        let server = PKI.servers.issue(&[HOST], ExtendedKeyUsagePurpose::ServerAuth);
        self.certificates.lock().unwrap().insert(server.chain[0].to_vec(), number);
        let mut objects = objects_of(number, self.upstreams);
        objects.push(secret("server", &[("cert", &server.pem), ("key", &server.key.serialize_pem())]));
        objects
    }

    /// Asserts that an answer to a request begun in state `since` is of one state that was in force.
    fn holds(&self, what: &str, body: &str, since: usize) {
        let newest = self.newest.load(Ordering::SeqCst);
        let (name, host) = body.split_once(' ').unwrap_or_else(|| panic!("{what}: {body}"));
        let number = host.strip_prefix('n').and_then(|host| host.strip_suffix(".test")).and_then(|n| n.parse().ok());
        let number: usize = number.unwrap_or_else(|| panic!("{what}: {body}"));
        assert!((since..=newest).contains(&number), "{what}: {body}, while {since} to {newest} are in force");
        assert!(!FLIPPED.contains(&what) || name == leads_to(number), "{what}: {body}");
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.saw(number);
    }

    /// Takes note that state `number` is in force: no older one is, from now on.
    fn saw(&self, number: usize) {
        if self.oldest.fetch_max(number, Ordering::SeqCst) < number {
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens connections and asks on them until it is over.
    async fn ask(&self, alpn: &str, seed: usize) {
        // A session that is resumed shows no certificate.
        let mut config = (*tls_config(alpn, None)).clone();
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        while !self.over.load(Ordering::SeqCst) {
            let since = self.oldest.load(Ordering::SeqCst);
            let stream = timeout(PATIENCE, tls(self.https, HOST, config.clone())).await.expect("a handshake").unwrap();
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            let shown = self.certificates.lock().unwrap()[&shown];
            let newest = self.newest.load(Ordering::SeqCst);
            assert!((since..=newest).contains(&shown), "certificate {shown} while {since} to {newest} are in force");
            self.saw(shown);
            let mut client = Connection::over(stream, alpn == "h2").await;
            for index in 0..REQUESTS {
                let since = self.oldest.load(Ordering::SeqCst);
                let other = (seed + index * 977) % OTHERS;
                let (host, what) = match FLIPPED.get(index % 4) {
                    Some(what) => (HOST.to_owned(), (*what).to_owned()),
                    None => (format!("other-{other}.test"), format!("other-{other}")),
                };
                let request = client.request("GET", &host, &format!("/{what}")).body(text("")).unwrap();
                let asking = async { answer(client.send(request).await.unwrap()).await };
                let answer = timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{what}: no answer"));
                let body = String::from_utf8(answer.body.to_vec()).unwrap();
                assert_eq!(answer.status, 200, "{what}: {body}");
                self.holds(&what, &body, since);
            }
        }
    }
}

fn objects_of(number: usize, upstreams: [SocketAddr; 2]) -> Vec<Value> {
    let to = leads_to(number);
    let weights = [("even", u32::from(to == "even")), ("odd", u32::from(to == "odd"))];
    let mut objects = vec![route("route", HOST, "/route", &[(to, 100)]), route("weight", HOST, "/weight", &weights)];
    objects.extend(service("moving", upstreams[number % 2]));
    // Every answer says of which state it is.
    objects.extend(["even", "odd", "moving"].map(|name| {
        json!({
            "apiVersion": "apisix.apache.org/v2", "kind": "ApisixUpstream",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"passHost": "rewrite", "upstreamHost": format!("n{number}.test")},
        })
    }));
    objects
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_of_the_old_or_the_new_state_while_everything_flips() {
    let _alone = ALONE.lock().await;
    let upstreams = [named("even").await, named("odd").await];
    let mut staying = vec![route("endpoint", HOST, "/endpoint", &[("moving", 100)]), tls_object("flip", &[HOST])];
    staying.extend(service("even", upstreams[0]).into_iter().chain(service("odd", upstreams[1])));
    staying.extend((0..OTHERS).map(|number| {
        let name = format!("other-{number}");
        route(&name, &format!("{name}.test"), "/*", &[("even", 100)])
    }));
    let mut flips = Flips {
        certificates: Mutex::default(),
        https: SocketAddr::from(([127, 0, 0, 1], 0)),
        newest: AtomicUsize::new(0),
        oldest: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        answers: AtomicU64::new(0),
        seen: AtomicU64::new(0),
        upstreams,
    };
    let program = Program::start(&staying, &flips.state(0)).await;
    flips.https = program.https;
    let flips = Arc::new(flips);
    let clients: Vec<_> = ["h2", "http/1.1", "h2", "http/1.1"]
        .into_iter()
        .enumerate()
        .map(|(seed, alpn)| {
            let flips = flips.clone();
            tokio::spawn(async move { flips.ask(alpn, seed * 1_231).await })
        })
        .collect();

    let time = Duration::from_secs(setting("PORTCULLIS_SOAK_FLIP_SECONDS", 10));
    let mut tick = tokio::time::interval(PACE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (start, mut number) = (Instant::now(), 0);
    while start.elapsed() < time && !clients.iter().any(tokio::task::JoinHandle::is_finished) {
        tick.tick().await;
        number += 1;
        let objects = flips.state(number);
        flips.newest.store(number, Ordering::SeqCst);
        program.rotate(&objects);
    }
    let took = start.elapsed();
    let is_last = async {
        while flips.oldest.load(Ordering::SeqCst) < number && !clients.iter().any(tokio::task::JoinHandle::is_finished)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, is_last).await.is_ok(), "the last change is not put in force");
    flips.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let answers = flips.answers.load(Ordering::Relaxed);
    let seen = flips.seen.load(Ordering::Relaxed);
    println!(
        "flips: {number} changes in {took:?} beside {OTHERS} routes, {seen} of them seen; {answers} answers, none wrong"
    );
    assert!(answers > 0 && number > 0);
    program.stop();
}
