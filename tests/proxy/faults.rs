//! Upstreams that break off, keep silent, are slow or cannot be reached: what can be sent again is not lost, and what cannot is
//! never sent twice.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use portcullis::snapshot::Route;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Connection;
use crate::scene::{Scene, config, endpoint, route};
use crate::upstream::{hello, nobody, text};

const HEAD: &str = "HTTP/1.1 200 OK\r\nX-Some: field\r\nContent-Length: 5\r\n\r\n";

const BODY: &str = "hello";

/// What a POST carries.
const UPLOAD: &str = "the body";

/// The targets of the requests that were read to their end.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn times(&self, target: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|seen| *seen == target).count()
    }
}

/// An upstream that does what the path says:
/// - `/whole`: answers;
/// - `/break/N/END`: sends the first N bytes of the answer, and closes or resets the connection;
/// - `/once/N/END`: the same for the first request with this target, and answers the next;
/// - `/silent`: nothing at all;
/// - `/slow`: answers byte by byte.
///
/// What follows a `?` tells requests apart.
async fn faulty() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let of_server = seen.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(talk(stream, of_server.clone()));
        }
    });
    (address, seen)
}

/// The target of the next request; `None` at the end of the connection.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = std::str::from_utf8(&bytes).unwrap();
        if text.ends_with(if text.starts_with("POST") { UPLOAD } else { "\r\n\r\n" }) {
            return Some(text.split(' ').nth(1).unwrap().to_owned());
        }
    }
}

async fn talk(mut stream: TcpStream, seen: Seen) {
    let answer = format!("{HEAD}{BODY}");
    while let Some(target) = request(&mut stream).await {
        seen.0.lock().unwrap().push(target.clone());
        let steps: Vec<_> = target.split(['/', '?']).skip(1).collect();
        let ends = match steps[0] {
            "break" => true,
            "once" => seen.times(&target) == 1,
            "silent" => return std::future::pending().await,
            "slow" => {
                for byte in answer.as_bytes() {
                    let _ = stream.write_all(&[*byte]).await;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                continue;
            }
            _ => false,
        };
        if !ends {
            let _ = stream.write_all(answer.as_bytes()).await;
            continue;
        }
        let _ = stream.write_all(&answer.as_bytes()[..steps[1].parse().unwrap()]).await;
        if steps[2] == "reset" {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        return;
    }
}

/// What becomes of a request.
#[derive(Debug, PartialEq)]
enum Outcome {
    Answered,
    BrokenOff,
    Refused(u16),
}

async fn ask(client: &mut Connection, method: &str, target: &str) -> Outcome {
    let body = if method == "POST" { UPLOAD } else { "" };
    let request = client.request(method, "faults.test", target).body(text(body)).unwrap();
    // The head may go down with the body's first piece.
    let Ok(response) = client.send(request).await else { return Outcome::BrokenOff };
    let status = response.status();
    match response.into_body().collect().await {
        Err(_) => Outcome::BrokenOff,
        Ok(body) if status == 200 => {
            assert_eq!(body.to_bytes(), BODY);
            Outcome::Answered
        }
        Ok(_) => Outcome::Refused(status.as_u16()),
    }
}

fn scene(route: Route) -> Scene {
    config().route("faults.test", route).start()
}

/// Every place where an answer can break off, both ways, for a request that may be sent twice and one that may not.
fn everywhere() -> impl Iterator<Item = (usize, &'static str, &'static str)> {
    let places = 0..HEAD.len() + BODY.len();
    places.flat_map(|place| {
        ["close", "reset"].into_iter().flat_map(move |end| ["GET", "POST"].map(|method| (place, end, method)))
    })
}

#[tokio::test]
async fn a_request_that_an_endpoint_has_read_is_not_sent_to_another_wherever_the_answer_breaks_off() {
    let (address, seen) = faulty().await;
    let scene = scene(route(&[endpoint(address), endpoint(address)]));
    for (place, end, method) in everywhere() {
        let target = format!("/break/{place}/{end}?{method}");
        let outcome = ask(&mut Connection::plain(scene.http).await, method, &target).await;
        let expected = if place < HEAD.len() { Outcome::Refused(502) } else { Outcome::BrokenOff };
        assert_eq!((outcome, seen.times(&target)), (expected, 1), "{target}");
    }
}

#[tokio::test]
async fn on_a_connection_that_was_idle_what_may_be_sent_twice_is_and_nothing_else() {
    let (address, seen) = faulty().await;
    let scene = scene(route(&[endpoint(address)]));
    for (place, end, method) in everywhere() {
        let mut client = Connection::plain(scene.http).await;
        assert_eq!(ask(&mut client, "GET", "/whole").await, Outcome::Answered);
        let target = format!("/once/{place}/{end}?{method}");
        let outcome = ask(&mut client, method, &target).await;
        let expected = match method {
            _ if place >= HEAD.len() => (Outcome::BrokenOff, 1),
            "GET" => (Outcome::Answered, 2),
            _ => (Outcome::Refused(502), 1),
        };
        assert_eq!((outcome, seen.times(&target)), expected, "{target}");
    }
}

#[tokio::test]
async fn a_request_that_an_endpoint_keeps_is_not_sent_to_another() {
    let (address, seen) = faulty().await;
    let mut impatient = route(&[endpoint(address), endpoint(address)]);
    impatient.timeouts.read = Duration::from_millis(300);
    let scene = scene(impatient);
    for method in ["GET", "POST"] {
        let target = format!("/silent?{method}");
        let outcome = ask(&mut Connection::plain(scene.http).await, method, &target).await;
        assert_eq!((outcome, seen.times(&target)), (Outcome::Refused(504), 1), "{target}");
    }
}

#[tokio::test]
async fn an_endpoint_that_answers_byte_by_byte_is_waited_for() {
    let (address, seen) = faulty().await;
    let scene = scene(route(&[endpoint(address), endpoint(address)]));
    for method in ["GET", "POST"] {
        let target = format!("/slow?{method}");
        let outcome = ask(&mut Connection::plain(scene.http).await, method, &target).await;
        assert_eq!((outcome, seen.times(&target)), (Outcome::Answered, 1), "{target}");
    }
}

#[tokio::test]
async fn what_no_endpoint_has_read_is_sent_to_the_next_whatever_its_method() {
    let good = hello().await;
    let scene = scene(route(&[endpoint(nobody()), endpoint(good.address), endpoint(nobody())]));
    let mut client = Connection::plain(scene.http).await;
    for round in 0..30 {
        let method = ["GET", "POST"][round % 2];
        assert_eq!(ask(&mut client, method, &format!("/{round}")).await, Outcome::Answered, "{round}");
    }
    let targets: Vec<_> = good.seen().into_iter().map(|seen| seen.target).collect();
    let expected: Vec<_> = (0..30).map(|round| format!("/{round}")).collect();
    assert_eq!(targets, expected, "each arrives once");
}
