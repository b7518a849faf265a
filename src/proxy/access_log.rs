//! One line per request, when its response has ended.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde::Serialize;

use super::downstream::Downstream;
use super::exchange::Exchange;
use crate::log::{Format, Log};

/// Bytes of user input as nginx writes them to logs: quotes, backslashes, control bytes and what is not ASCII become `\xHH`,
/// so that no input can end a field or a line.
pub(super) struct Escaped<'a>(pub(super) &'a [u8]);

impl Escaped<'_> {
    /// Writes it without the price of formatting.
    fn push(&self, out: &mut Vec<u8>) {
        escape(self.0, |b| matches!(b, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'), out);
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(f, |out| self.push(out))
    }
}

/// [`Escaped`] for a field without quotes: a space would end it.
pub(super) struct Token<'a>(pub(super) &'a [u8]);

impl Token<'_> {
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            out.push(b'-');
        }
        escape(self.0, |b| matches!(b, b'!' | b'#'..=b'[' | b']'..=b'~'), out);
    }
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(f, |out| self.push(out))
    }
}

fn display(f: &mut fmt::Formatter<'_>, push: impl Fn(&mut Vec<u8>)) -> fmt::Result {
    let mut out = Vec::new();
    push(&mut out);
    f.write_str(std::str::from_utf8(&out).unwrap_or_default()) // always ASCII
}

fn escape(bytes: &[u8], plain: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    // Nearly always; without a way out of the loop, many bytes are looked at in one instruction.
    if bytes.iter().fold(true, |all, b| all & plain(*b)) {
        out.extend_from_slice(bytes);
        return;
    }
    for byte in bytes {
        if plain(*byte) {
            out.push(*byte);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// What a thread keeps between lines.
#[derive(Default)]
struct Scratch {
    /// Lines that are due by the share of requests that are told of, less those that were written.
    due: f64,
    line: Vec<u8>,
    /// The second that `stamp` tells.
    second: u64,
    stamp: String,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Writes the line of `exchange`, which took `duration`; of those that an upstream has answered without an error of its own,
/// the share `sample`.
pub(super) fn write(log: &Log, exchange: &Exchange, duration: Duration, sample: f64) {
    if sample < 1.0 && exchange.upstream_status.is_some_and(|status| !status.is_server_error()) && !is_due(sample) {
        return;
    }
    with_stamp(log.format, |line, stamp, millis| {
        match log.format {
            Format::Text => text(line, exchange, stamp, duration),
            Format::Json => json(line, exchange, stamp, millis, duration),
        }
        log.line(line);
    });
}

/// Whether it is the turn of a request to be told of, where a share of them is.
fn is_due(sample: f64) -> bool {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.due += sample;
        let due = scratch.due >= 1.0;
        if due {
            scratch.due -= 1.0;
        }
        due
    })
}

/// Writes the line of a request that could not be read, and was answered with `status`.
pub(super) fn unread(log: &Log, downstream: &Downstream, status: StatusCode) {
    with_stamp(log.format, |line, stamp, millis| {
        // Text and numbers, written to a Vec: nothing fails.
        let _ = match log.format {
            Format::Text => {
                let client = downstream.peer.ip();
                writeln!(line, "{client} - - [{stamp}] - \"\" {} 0 0.000 \"-\" \"-\" - - - \"-\"", status.as_u16())
            }
            Format::Json => {
                let unread = serde_json::json!({
                    "ts": format_args!("{stamp}.{millis:03}Z"),
                    "client": downstream.peer.ip(),
                    "scheme": downstream.scheme(),
                    "status": status.as_u16(),
                    "sni": downstream.tls.as_ref().map(|tls| tls.sni.as_str()),
                });
                writeln!(line, "{unread}")
            }
        };
        log.line(line);
    });
}

/// Calls `write` with an empty line, the time to the second as `format` has it, and the milliseconds after it.
pub(super) fn with_stamp(format: Format, write: impl FnOnce(&mut Vec<u8>, &str, u32)) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SCRATCH.with_borrow_mut(|scratch| {
        let Scratch { line, second, stamp, .. } = scratch;
        line.clear();
        if *second != now.as_secs() || stamp.is_empty() {
            *second = now.as_secs();
            stamp.clear();
            time(now.as_secs(), format, stamp);
        }
        write(line, stamp, now.subsec_millis());
    });
}

fn time(seconds: u64, format: Format, out: &mut String) {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let format = match format {
        Format::Text => "%d/%b/%Y:%H:%M:%S +0000",
        Format::Json => "%Y-%m-%dT%H:%M:%S",
    };
    if let Some(time) = time {
        let _ = write!(out, "{}", time.strftime(format));
    }
}

/// nginx's and APISIX's line: `remote - - [time] host "request" status bytes time "referer" "agent" upstream upstream_status
/// upstream_time "scheme://host"`.
///
/// Every part is pushed as it is: through `write!` the line would cost a tenth of a small request.
fn text(out: &mut Vec<u8>, exchange: &Exchange, stamp: &str, duration: Duration) {
    let host = Token(exchange.host_sent());
    out.extend_from_slice(exchange.client_text().as_bytes());
    out.extend_from_slice(b" - - [");
    out.extend_from_slice(stamp.as_bytes());
    out.extend_from_slice(b"] ");
    host.push(out);
    out.extend_from_slice(b" \"");
    Escaped(exchange.method.as_str().as_bytes()).push(out);
    out.push(b' ');
    Escaped(exchange.path().as_bytes()).push(out);
    out.push(b' ');
    out.extend_from_slice(exchange.protocol().as_bytes());
    out.extend_from_slice(b"\" ");
    number(out, exchange.logged_status());
    out.push(b' ');
    number(out, exchange.bytes);
    out.push(b' ');
    seconds(out, duration);
    for value in [&exchange.referer, &exchange.user_agent] {
        out.extend_from_slice(b" \"");
        match value {
            Some(value) => Escaped(value.as_bytes()).push(out),
            None => out.push(b'-'),
        }
        out.push(b'"');
    }
    out.push(b' ');
    Token(exchange.endpoint.as_ref().map_or("", |endpoint| &endpoint.text).as_bytes()).push(out);
    out.push(b' ');
    match exchange.upstream_status {
        Some(status) => out.extend_from_slice(status.as_str().as_bytes()),
        None => out.push(b'-'),
    }
    out.push(b' ');
    match exchange.upstream_started {
        Some(started) => seconds(out, (exchange.started + duration).saturating_duration_since(started)),
        None => out.push(b'-'),
    }
    // The scheme toward the upstream, as in APISIX: TLS ends here.
    out.extend_from_slice(b" \"http://");
    host.push(out);
    out.extend_from_slice(b"\"\n");
}

/// Writes a number in decimal.
pub(super) fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a duration as nginx does: seconds with milliseconds.
pub(super) fn seconds(out: &mut Vec<u8>, duration: Duration) {
    number(out, duration.as_secs());
    let with_zeros = duration.subsec_millis() + 1000; // the first digit gives way to the point
    let mut digits = itoa::Buffer::new();
    out.push(b'.');
    out.extend_from_slice(&digits.format(with_zeros).as_bytes()[1..]);
}

fn json(out: &mut Vec<u8>, exchange: &Exchange, stamp: &str, millis: u32, duration: Duration) {
    #[derive(Serialize)]
    struct Line<'a> {
        ts: &'a Display<'a>,
        client: std::net::IpAddr,
        host: &'a Display<'a>,
        method: &'a str,
        path: &'a str,
        protocol: &'static str,
        scheme: &'static str,
        status: u16,
        bytes: u64,
        duration: f64,
        referer: Option<&'a Display<'a>>,
        user_agent: Option<&'a Display<'a>>,
        route: Option<&'a str>,
        upstream: Option<&'a Display<'a>>,
        upstream_status: Option<u16>,
        upstream_duration: Option<f64>,
        sni: Option<&'a str>,
        tls: Option<&'static str>,
        aborted: bool,
    }
    let tls = exchange.downstream.tls.as_ref();
    let escaped = |value: &'_ http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let (referer, agent) = (exchange.referer.as_ref().map(escaped), exchange.user_agent.as_ref().map(escaped));
    let (referer, agent) = (referer.as_ref().map(|v| Display(v)), agent.as_ref().map(|v| Display(v)));
    let upstream = exchange.endpoint.as_ref().map(|endpoint| Token(endpoint.text.as_bytes()));
    let upstream = upstream.as_ref().map(|text| Display(text));
    let line = Line {
        ts: &Display(&format_args!("{stamp}.{millis:03}Z")),
        client: exchange.client(),
        host: &Display(&Escaped(exchange.host_sent())),
        method: exchange.method.as_str(),
        path: exchange.path(),
        protocol: exchange.protocol(),
        scheme: exchange.downstream.scheme(),
        status: exchange.logged_status(),
        bytes: exchange.bytes,
        duration: duration.as_secs_f64(),
        referer: referer.as_ref(),
        user_agent: agent.as_ref(),
        route: exchange.route.as_ref().map(|route| &*route.name),
        upstream: upstream.as_ref(),
        upstream_status: exchange.upstream_status.map(|status| status.as_u16()),
        upstream_duration: exchange.upstream_started.map(|started| started.elapsed().as_secs_f64()),
        sni: tls.map(|tls| tls.sni.as_str()),
        tls: tls.map(|tls| tls.version),
        aborted: !exchange.complete,
    };
    // Text and numbers, written to a Vec: neither fails.
    let _ = serde_json::to_writer(&mut *out, &line);
    out.push(b'\n');
}

/// Serializes what can be displayed, as a string.
struct Display<'a>(&'a dyn fmt::Display);

impl Serialize for Display<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_can_end_neither_a_field_nor_a_line() {
        assert_eq!(Escaped(b"/a b?\"\\\n\x1b\x7f\xc3\xa4").to_string(), "/a b?\\x22\\x5C\\x0A\\x1B\\x7F\\xC3\\xA4");
        assert_eq!(Token(b"a b\"").to_string(), "a\\x20b\\x22");
        assert_eq!(Token(b"").to_string(), "-");
    }

    #[test]
    fn times_are_spelled_as_nginx_does() {
        let mut out = String::new();
        time(1_622_136_054, Format::Text, &mut out);
        assert_eq!(out, "27/May/2021:17:20:54 +0000");
        let mut out = Vec::new();
        seconds(&mut out, Duration::from_micros(61_002_900));
        assert_eq!(out, b"61.002");
    }
}
