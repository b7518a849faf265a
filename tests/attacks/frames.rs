//! HTTP/2 frames of the attacker's choice.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame (RFC 9113 section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A field of a header block (RFC 7541: a literal one with a new name).
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| vec![u8::try_from(text.len()).unwrap()];
    [vec![0], length(name), name.into(), length(value), value.into()].concat()
}

/// What a client sends before its first frame, and that frame.
pub(crate) fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// Sends a request of one header block; returns the kind of the frame that answers it: `HEADERS`, `RST_STREAM` or `GOAWAY`.
pub(crate) async fn answered<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, block: &[u8]) -> u8 {
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, block);
    stream.write_all(&[preface(), request].concat()).await.unwrap();
    let reading = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.unwrap();
            if [HEADERS, RST_STREAM, GOAWAY].contains(&head[3]) {
                return head[3];
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), reading).await.expect("no answer")
}
