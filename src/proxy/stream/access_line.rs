//! One line per stream, when it has ended.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::session::Session;
use crate::log::{Format, Log};
use crate::proxy::access_log::{Token, number, seconds, with_stamp};
use crate::snapshot::Carrier;

/// Writes the line of `session`, which took `duration`.
pub(super) fn write(log: &Log, session: &Session, duration: Duration) {
    with_stamp(log.format, |out, stamp, millis| {
        match log.format {
            Format::Text => text(out, session, stamp, duration),
            Format::Json => json(out, session, &format!("{stamp}.{millis:03}Z"), duration),
        }
        log.line(out);
    });
}

/// APISIX's line, `remote [time] protocol status bytes_sent bytes_received session_time`, and after it `port sni upstream end`.
fn text(out: &mut Vec<u8>, session: &Session, stamp: &str, duration: Duration) {
    out.extend_from_slice(session.downstream.ip.as_bytes());
    out.extend_from_slice(b" [");
    out.extend_from_slice(stamp.as_bytes());
    out.extend_from_slice(b"] ");
    out.extend_from_slice(protocol(session).as_bytes());
    for count in [u64::from(session.end.status()), session.moved.sent, session.moved.received] {
        out.push(b' ');
        number(out, count);
    }
    out.push(b' ');
    seconds(out, duration);
    out.push(b' ');
    number(out, session.port);
    let sni = session.downstream.tls.as_ref().map_or("", |tls| tls.sni.as_str());
    let upstream = session.endpoint.as_ref().map_or("", |endpoint| &endpoint.text);
    for token in [sni, upstream, session.end.as_str()] {
        out.push(b' ');
        Token(token.as_bytes()).push(out);
    }
    out.push(b'\n');
}

fn json(out: &mut Vec<u8>, session: &Session, stamp: &str, duration: Duration) {
    #[derive(Serialize)]
    struct Line<'a> {
        ts: &'a str,
        client: IpAddr,
        protocol: &'static str,
        port: u16,
        status: u16,
        end: &'static str,
        bytes_sent: u64,
        bytes_received: u64,
        duration: f64,
        route: Option<&'a str>,
        upstream: Option<&'a str>,
        sni: Option<&'a str>,
        tls: Option<&'static str>,
    }
    let tls = session.downstream.tls.as_ref();
    let line = Line {
        ts: stamp,
        client: session.downstream.peer.ip(),
        protocol: protocol(session),
        port: session.port,
        status: session.end.status(),
        end: session.end.as_str(),
        bytes_sent: session.moved.sent,
        bytes_received: session.moved.received,
        duration: duration.as_secs_f64(),
        route: session.route.as_ref().map(|route| &*route.name),
        upstream: session.endpoint.as_ref().map(|endpoint| &*endpoint.text),
        sni: tls.map(|tls| tls.sni.as_str()),
        tls: tls.map(|tls| tls.version),
    };
    // Text and numbers, written to a Vec: neither fails.
    let _ = serde_json::to_writer(&mut *out, &line);
    out.push(b'\n');
}

/// The protocol as nginx has it: that of the transport.
fn protocol(session: &Session) -> &'static str {
    match session.carrier {
        Carrier::Tcp | Carrier::Tls => "TCP",
        Carrier::Udp => "UDP",
    }
}
