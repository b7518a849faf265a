use tokio::io::duplex;
use tokio::time::timeout;

use super::super::Transport;
use super::*;
use crate::model::Keepalive;

/// Longer than any wait of these tests, whose clock stands still while something can be done.
const LONG: Duration = Duration::from_secs(60);

/// An endpoint that keeps `size` connections without requests.
fn endpoint(size: usize) -> Arc<Endpoint> {
    let keepalive = Keepalive { size, ..Keepalive::default() };
    let transport = Transport { http2: true, keepalive, tls: None };
    Arc::new(Endpoint::new(([127, 0, 0, 1], 443).into(), transport))
}

/// A connection whose peer takes one request at a time.
async fn connected() -> Arc<Http2> {
    let (ours, theirs) = duplex(1 << 16);
    tokio::spawn(async move {
        let mut peer = h2::server::Builder::new();
        let mut peer = peer.max_concurrent_streams(1).handshake::<_, bytes::Bytes>(theirs).await.unwrap();
        while peer.accept().await.is_some() {}
    });
    timeout(LONG, Http2::new(Box::new(ours))).await.unwrap().unwrap()
}

/// Room on a connection for `name`; `None` where there is neither, nor a turn to connect.
async fn room(endpoint: &Arc<Endpoint>, name: &str) -> Option<Room> {
    match timeout(LONG, endpoint.http2.as_ref().unwrap().room(endpoint, name)).await {
        Err(_) => None,
        Ok(Ok(room)) => Some(room),
        Ok(Err(turn)) => Some(turn.add(connected().await, endpoint)),
    }
}

fn names(endpoint: &Endpoint) -> usize {
    lock(&endpoint.http2.as_ref().unwrap().0).len()
}

#[tokio::test(start_paused = true)]
async fn a_name_that_takes_every_place_takes_none_of_anothers() {
    let endpoint = endpoint(320);
    let mut rooms = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        rooms.push(room(&endpoint, "a.test").await.unwrap());
    }
    assert!(room(&endpoint, "a.test").await.is_none());
    assert!(!room(&endpoint, "b.test").await.unwrap().reused);
    rooms.pop();
    assert!(room(&endpoint, "a.test").await.unwrap().reused, "where a request has ended there is room");
}

#[tokio::test(start_paused = true)]
async fn a_name_whose_peer_is_silent_holds_up_itself_alone() {
    let endpoint = endpoint(320);
    let turn = endpoint.http2.as_ref().unwrap().room(&endpoint, "a.test").await.unwrap_err();
    assert!(room(&endpoint, "a.test").await.is_none());
    assert!(room(&endpoint, "b.test").await.is_some());
    drop(turn);
    assert!(room(&endpoint, "a.test").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn of_connections_without_requests_the_newest_are_kept() {
    let endpoint = endpoint(2);
    let busy = room(&endpoint, "busy.test").await.unwrap();
    for name in ["a.test", "b.test", "c.test", "d.test"] {
        drop(room(&endpoint, name).await.unwrap());
        std::thread::sleep(Duration::from_millis(2)); // the age is by the system's clock
    }
    assert!(!room(&endpoint, "e.test").await.unwrap().reused);
    assert_eq!(names(&endpoint), 4, "busy, the two newest, and the one just made");
    assert!(room(&endpoint, "d.test").await.unwrap().reused && room(&endpoint, "c.test").await.unwrap().reused);
    assert!(!room(&endpoint, "a.test").await.unwrap().reused);
    endpoint.http2.as_ref().unwrap().sweep(LONG);
    drop(busy);
    assert!(room(&endpoint, "busy.test").await.unwrap().reused);
}
