//! `ClientHello`s cut into pieces of the attacker's choice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection};

/// The records of the first flight for `sni`, and the connection that they begin.
pub(crate) fn first_flight(config: &Arc<ClientConfig>, sni: &str) -> (Vec<u8>, ClientConnection) {
    let mut connection = ClientConnection::new(config.clone(), sni.to_owned().try_into().unwrap()).unwrap();
    let mut flight = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut flight).unwrap();
    }
    (flight, connection)
}

/// The handshake message in `records`, without the records' headers.
pub(crate) fn message(mut records: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = records {
        let (fragment, next) = rest.split_at(usize::from(*high) << 8 | usize::from(*low));
        message.extend_from_slice(fragment);
        records = next;
    }
    message
}

/// The message as handshake records, one for each piece.
pub(crate) fn records<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut records = Vec::new();
    for piece in pieces {
        records.extend_from_slice(&[22, 3, 1]);
        records.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
        records.extend_from_slice(piece);
    }
    records
}

/// A socket that does not wait for more to send, or for ever.
pub(crate) fn socket(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// Sends the first flight in `segments`, goes on with the handshake, and sends a request. Returns the answer's first line;
/// or the error that ended it.
pub(crate) fn request(
    address: SocketAddr,
    mut connection: ClientConnection,
    segments: &[&[u8]],
    host: &str,
) -> Result<String, std::io::Error> {
    let mut socket = socket(address);
    for segment in segments {
        socket.write_all(segment)?;
    }
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
