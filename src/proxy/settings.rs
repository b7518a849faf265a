//! What an operator may set.

use std::net::SocketAddr;
use std::time::Duration;

use crate::model::HostName;

/// Listeners, limits and deadlines toward the downstream. (Deadlines toward an upstream belong to its route.)
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether a host that requires a client certificate is also served without TLS, and so without client
    /// authentication. For migrations; off by default.
    pub allow_plaintext_client_auth: bool,
    /// Between two pieces of a request body; default 60 s (nginx `client_body_timeout`).
    pub body_timeout: Duration,
    /// How long idle HTTP/1 connections stay open once the drain has begun, so that a request that is already on its way
    /// is answered (with `Connection: close`); default 3 s.
    pub drain_idle: Duration,
    /// The host that a client without SNI is taken to have named (APISIX `ssl.fallback_sni`); by default it is refused.
    pub fallback_sni: Option<HostName>,
    /// From the accepted (and, on TLS listeners, secured) connection to its first byte; default 10 s.
    pub first_byte_timeout: Duration,
    /// Between accepting a connection and the end of its TLS handshake; default 10 s.
    pub handshake_timeout: Duration,
    /// Plaintext listeners: HTTP/1.1.
    pub http: Vec<SocketAddr>,
    /// TLS listeners: HTTP/1.1 and HTTP/2 by ALPN.
    pub https: Vec<SocketAddr>,
    /// From the end of a response to the end of the next request's head; default 60 s (APISIX `keepalive_timeout`). HTTP/2
    /// connections without a stream are closed after as long.
    pub idle_timeout: Duration,
    /// Connections per listener; default 16,384. More wait in the listener's backlog.
    pub max_connections: usize,
    /// Between two writes to a downstream that takes nothing; default 60 s (nginx `send_timeout`).
    pub send_timeout: Duration,
    /// Listeners for plain TCP streams.
    pub stream_tcp: Vec<SocketAddr>,
    /// Listeners for TLS streams: TLS ends here.
    pub stream_tls: Vec<SocketAddr>,
    /// Listeners for UDP.
    pub stream_udp: Vec<SocketAddr>,
    /// How long what is under way may take to finish on a connection whose client is not let in any more; default 10 s.
    pub trust_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            allow_plaintext_client_auth: false,
            body_timeout: minute,
            drain_idle: Duration::from_secs(3),
            fallback_sni: None,
            first_byte_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            http: Vec::new(),
            https: Vec::new(),
            idle_timeout: minute,
            max_connections: 16_384,
            send_timeout: minute,
            stream_tcp: Vec::new(),
            stream_tls: Vec::new(),
            stream_udp: Vec::new(),
            trust_grace: Duration::from_secs(10),
        }
    }
}
