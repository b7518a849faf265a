//! What an operator may set.

use std::net::SocketAddr;
use std::time::Duration;

use crate::model::{HostName, Network};

/// Listeners, limits and deadlines toward the downstream. (Deadlines toward an upstream belong to its route.)
#[derive(Clone, Debug)]
pub struct Settings {
    /// The share of requests that the access log tells of, 0 to 1; default 1. Those that we refuse or that fail are always in it.
    pub access_log_sample: f64,
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
    /// As `http`, where every connection begins with a header of the PROXY protocol (APISIX
    /// `proxy_protocol.listen_http_port`).
    pub http_proxy_protocol: Vec<SocketAddr>,
    /// TLS listeners: HTTP/1.1 and HTTP/2 by ALPN.
    pub https: Vec<SocketAddr>,
    /// As `https`, where every connection begins with a header of the PROXY protocol (APISIX
    /// `proxy_protocol.listen_https_port`).
    pub https_proxy_protocol: Vec<SocketAddr>,
    /// From the end of a response to the end of the next request's head; default 60 s (APISIX `keepalive_timeout`). HTTP/2
    /// connections without a stream are closed after as long.
    pub idle_timeout: Duration,
    /// Bytes of a request's body, else 413; default any number (APISIX `client_max_body_size`).
    pub max_body_size: Option<u64>,
    /// Connections per listener; default 16,384. More wait in the listener's backlog.
    pub max_connections: usize,
    /// Connections per source, which is an IPv4 address or a /64 of IPv6, on all listeners together; others are closed at
    /// once. Those of `trusted_addresses` are not counted: many clients are behind them. Default 8,192: one source cannot take
    /// all places of a listener.
    pub max_connections_per_source: usize,
    /// Bytes of memory that the process may use. Near them, load is shed: connections are closed, and requests answered with
    /// 503; default none.
    pub memory_limit: Option<u64>,
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
    /// Proxies in front of us (APISIX `apisix.trusted_addresses`). They are believed about who their clients are, and
    /// only they may use the PROXY protocol; where there are none, nobody is believed, and whoever reaches a listener with
    /// PROXY protocol may use it.
    pub trusted_addresses: Vec<Network>,
}

impl Default for Settings {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            access_log_sample: 1.0,
            allow_plaintext_client_auth: false,
            body_timeout: minute,
            drain_idle: Duration::from_secs(3),
            fallback_sni: None,
            first_byte_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            http: Vec::new(),
            http_proxy_protocol: Vec::new(),
            https: Vec::new(),
            https_proxy_protocol: Vec::new(),
            idle_timeout: minute,
            max_body_size: None,
            max_connections: 16_384,
            max_connections_per_source: 8_192,
            memory_limit: None,
            send_timeout: minute,
            stream_tcp: Vec::new(),
            stream_tls: Vec::new(),
            stream_udp: Vec::new(),
            trust_grace: Duration::from_secs(10),
            trusted_addresses: Vec::new(),
        }
    }
}
