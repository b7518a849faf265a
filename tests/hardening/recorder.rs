//! An upstream that keeps every byte that it receives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Ends the connection, so that each request has one of its own.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    received: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Recorder {
    /// An upstream that answers every complete request with `answer`.
    pub(crate) async fn new(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (sender, received) = mpsc::unbounded_channel();
        let recorder = Self { address, connections: connections.clone(), received };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                let sender = sender.clone();
                tokio::spawn(async move {
                    let _ = sender.send(record(stream, answer).await);
                });
            }
        });
        recorder
    }

    /// How many connections were made to it. What the proxy refuses makes none.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// All that came on the connection that ended next.
    pub(crate) async fn next(&mut self) -> String {
        let received = tokio::time::timeout(Duration::from_secs(5), self.received.recv()).await;
        String::from_utf8_lossy(&received.expect("the upstream received nothing").unwrap()).into_owned()
    }
}

async fn record(mut stream: TcpStream, answer: &str) -> Vec<u8> {
    let mut received = Vec::new();
    let mut answered = false;
    while let Ok(1..) = stream.read_buf(&mut received).await {
        if !answered && is_complete(&received) {
            answered = true;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
    received
}

/// Whether `message` holds a request with the whole of its body.
pub(crate) fn is_complete(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let field = |name| head.split("\r\n").find_map(|line| line.strip_prefix(name));
    if field("transfer-encoding: ").is_some() {
        return body.ends_with("\r\n\r\n") && (body.starts_with("0\r\n") || body.contains("\r\n0\r\n"));
    }
    body.len() >= field("content-length: ").map_or(0, |length| length.parse().unwrap())
}

/// A request without what the proxy adds to each: its first line, its other fields in order, an empty line, its body.
pub(crate) fn essence(message: &str) -> String {
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    for text in head.split("\r\n") {
        assert!(!text.contains(['\r', '\n', '\0']), "{message:?}");
    }
    let (first, fields) = head.split_once("\r\n").unwrap();
    let added = ["host: ", "via: ", "x-forwarded-", "x-real-ip: "];
    let mut fields: Vec<_> =
        fields.split("\r\n").filter(|field| !added.iter().any(|added| field.starts_with(added))).collect();
    fields.sort_unstable();
    format!("{first}\n{}\n\n{body}", fields.join("\n"))
}
