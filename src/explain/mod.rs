//! Which objects decide about a request, and how: the answer to "why was this client refused?".
//!
//! The steps describe what the proxy looks at, with its own functions; the verdict is a [`Trial`]'s, which is the proxy's.

mod client;
mod identity;
mod route;
mod step;
mod stream;
mod time;
mod tls;

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderName, HeaderValue, Method, Uri};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};

pub use step::{Step, Verdict};

use crate::compile::Report;
use crate::model::{HostName, Kind, ObjectKey, ObjectRef, Problem, StreamPorts, normal_path};
use crate::proxy::{Outcome, Settings, Trial, TrialTls};
use crate::snapshot::{Carrier, Snapshot};
use crate::trust;

/// Whom a question is from that says nothing about it.
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The client's address; 127.0.0.1 where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The time that is asked about, in seconds since the epoch; now where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// The chain that the client sends as PEM, its own certificate first; none where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The request's headers, as `name: value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// The request's method; GET where it is left out.
    #[serde(default = "get")]
    pub method: String,
    /// The host that the client names in the handshake: that of the URL where it is left out, none where it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// `https://host[:port]/path`; with `http` the plaintext port is meant. A stream is `tcp://:port`, `tls://host:port` or
    /// `udp://:port`.
    pub url: String,
}

fn get() -> String {
    Method::GET.to_string()
}

/// The answer: each step that decides, and what comes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whether the request would be sent to an upstream.
    pub served: bool,
    /// The status that the proxy would answer by itself; absent where the upstream or a failed handshake answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The steps in the order in which the proxy takes them.
    pub steps: Vec<Step>,
    /// The outcome in a sentence.
    pub summary: String,
}

/// What the answer is made from.
#[derive(Clone, Copy, Debug)]
pub struct Configuration<'a> {
    /// What became of the objects.
    pub report: &'a Report,
    /// What requests are held to.
    pub settings: &'a Settings,
    /// What is served.
    pub snapshot: &'a Snapshot,
}

/// A [`Question`] that was understood.
struct Asked {
    host: HostName,
    now: UnixTime,
    /// In the form that skip rules and routes see.
    path: String,
    trial: Trial,
}

impl Configuration<'_> {
    /// Answers `question`; `now` is the time where the question names none.
    ///
    /// # Errors
    /// A sentence, when the question cannot be understood.
    pub fn explain(&self, question: &Question, now: UnixTime) -> Result<Explanation, String> {
        if let Some(asked) = stream::read(question, now)? {
            return Ok(stream::explain(self, &asked));
        }
        let asked = self.read(question, now)?;
        let mut steps = vec![asked.step(question)];
        if let Some(connection) = &asked.trial.tls {
            steps.extend(tls::steps(self, connection, asked.now));
        }
        steps.extend(client::steps(self, &asked));
        steps.extend(route::steps(self, &asked));
        let (served, status, summary) = match asked.trial.decide(self.snapshot, self.settings, asked.now) {
            Outcome::Forward(route) => (true, None, format!("served by {}", rule(&route.name))),
            Outcome::Answer { status, why } => (false, Some(status.as_u16()), format!("refused with {status}: {why}")),
            Outcome::Handshake(why) => (false, None, format!("refused in the TLS handshake: {why}")),
        };
        Ok(Explanation { served, status, steps, summary })
    }

    fn read(&self, question: &Question, now: UnixTime) -> Result<Asked, String> {
        let Question { address, at, certificate, headers, method, sni, url } = question;
        let uri: Uri = url.parse().map_err(|error| format!("`{url}` is no URL: {error}"))?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("`{url}` must start with `https://`, `http://`, `tls://`, `tcp://` or `udp://`")),
        };
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let host = HostName::parse(authority).ok_or_else(|| format!("`{authority}` is no host name"))?;
        let method = method.parse().map_err(|_| format!("`{method}` is no method"))?;
        let headers = headers.iter().map(|text| header(text)).collect::<Result<_, _>>()?;
        let peer = address.unwrap_or(LOCALHOST);
        let chain = chain(certificate.as_deref())?;
        let tls = encrypted.then(|| connection(&host, sni.as_deref(), chain)).transpose()?;
        let now = at.map_or(now, |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)));
        // What has no normal form is refused, whatever else there is to say.
        let path = normal_path(uri.path()).unwrap_or(uri.path().into()).into_owned();
        let listeners = if encrypted { &self.settings.https } else { &self.settings.http };
        let port = listeners.first().map(|address| address.port().to_string()).unwrap_or_default();
        Ok(Asked { host, now, path, trial: Trial { headers, method, peer, port, tls, uri } })
    }

    /// What is wrong with an object.
    fn problems(&self, kind: Kind, key: &ObjectKey) -> &[Problem] {
        let object = ObjectRef { kind, key: key.clone() };
        self.report.objects.get(&object).map_or(&[], |report| &report.problems)
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let pair = text.split_once(':').and_then(|(name, value)| Some((name.parse().ok()?, value.trim().parse().ok()?)));
    pair.ok_or_else(|| format!("`{text}` is no header: write `name: value`"))
}

/// The chain that a client sends.
fn chain(pem: Option<&str>) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = |pem: &str| trust::certificates(pem.as_bytes());
    pem.map_or(Ok(Vec::new()), read).map_err(|why| format!("the client certificate {why}"))
}

/// The ports that a question about a stream takes for opened; `None` where it is about a request.
pub fn stream_ports(url: &str) -> Option<StreamPorts> {
    let (carrier, authority) = stream::carrier(url)?;
    let port: Option<u16> = authority.trim_end_matches('/').rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let mut ports = StreamPorts::default();
    match carrier {
        Carrier::Tcp => ports.tcp.extend(port),
        Carrier::Tls => ports.tls.extend(port),
        Carrier::Udp => ports.udp.extend(port),
    }
    Some(ports)
}

/// The connection that a client opens for `host`. Clients name no host in the handshake where it is an address (RFC 6066
/// section 3).
fn connection(host: &HostName, sni: Option<&str>, chain: Vec<CertificateDer<'static>>) -> Result<TrialTls, String> {
    let is_address = host.as_str().starts_with('[') || host.as_str().parse::<std::net::IpAddr>().is_ok();
    let sni = match sni {
        Some("") => None,
        Some(name) => Some(HostName::parse(name).ok_or_else(|| format!("`{name}` is no host name"))?),
        None => (!is_address).then(|| host.clone()),
    };
    Ok(TrialTls { chain, sni })
}

impl Asked {
    fn step(&self, question: &Question) -> Step {
        let Trial { method, tls, uri, .. } = &self.trial;
        let how = match tls {
            None => "without TLS".to_owned(),
            Some(TrialTls { sni: Some(sni), .. }) => format!("over TLS with SNI {sni}"),
            Some(_) => "over TLS without SNI".to_owned(),
        };
        let message = format!("{method} {} at {}, {how}", uri.path(), self.host);
        let from = question.address.map(|address| format!("from {address}"));
        let at = question.at.map(|_| format!("as of {}", time::date(self.now)));
        let normal = (self.path != uri.path()).then(|| format!("the path is read as {}", self.path));
        Step::ok("request", message).notes(from).notes(at).notes(normal)
    }
}

/// `namespace/object/rule` as an object with its rule.
fn rule(name: &str) -> String {
    match split_rule(name) {
        (object, "") => shown(object),
        (object, rule) => format!("{}, rule `{rule}`", shown(object)),
    }
}

/// The object of a rule: `ApisixRoute namespace/name`, or the key of a resource.
fn shown(object: &str) -> String {
    key_of(object).map_or_else(|| object.to_owned(), |key| ObjectRef { kind: Kind::ApisixRoute, key }.to_string())
}

/// The key of the object of a rule.
fn key_of(object: &str) -> Option<ObjectKey> {
    // A store's prefix may have slashes, `routes/1` has one.
    let slash =
        if object.starts_with('/') { object.rmatch_indices('/').nth(1) } else { object.match_indices('/').next() };
    slash.map(|(at, _)| ObjectKey::new(&object[..at], &object[at + 1..]))
}

fn split_rule(name: &str) -> (&str, &str) {
    // A route of the Admin API is one rule: `/apisix/routes/1`.
    if name.starts_with('/') {
        return (name, "");
    }
    // Rule names may hold a slash; those of namespaces and objects do not.
    let second = name.match_indices('/').nth(1).map(|(at, _)| at);
    second.map_or((name, ""), |at| (&name[..at], &name[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(url: &str) -> Question {
        let (address, at, certificate, headers, sni) = Default::default();
        Question { address, at, certificate, headers, method: get(), sni, url: url.into() }
    }

    fn ask(url: &str) -> Result<Explanation, String> {
        let question = question(url);
        let (report, settings, snapshot) = Default::default();
        let configuration = Configuration { report: &report, settings: &settings, snapshot: &snapshot };
        configuration.explain(&question, UnixTime::now())
    }

    #[test]
    fn a_question_that_is_none_is_refused_with_what_is_wrong() {
        for (url, expected) in [
            ("shop.test", "must start with"),
            ("ftp://shop.test/", "must start with"),
            ("tcp://", "is no stream"),
            ("tls://shop.test", "is no stream"),
            ("tcp://:0", "is no stream"),
            ("udp://:x", "is no stream"),
            ("tls://a..test:9200", "is no host name"),
            ("https://u@shop.test/", "is no host name"),
            ("https://a..test/", "is no host name"),
            ("https://a b/", "is no URL"),
        ] {
            let why = ask(url).unwrap_err();
            assert!(why.contains(expected), "{url}: {why}");
        }
    }

    #[test]
    fn an_address_is_not_named_in_the_handshake() {
        for url in ["https://192.0.2.1/", "https://[2001:db8::1]:9443/"] {
            assert!(ask(url).unwrap().summary.contains("the client named no host"), "{url}");
        }
        assert!(ask("https://shop.test/").unwrap().summary.contains("no TLS is configured"));
        assert_eq!(ask("http://shop.test/").unwrap().status, Some(404));
    }

    #[test]
    fn a_rule_name_may_hold_a_slash() {
        assert_eq!(split_rule("default/shop/a/b"), ("default/shop", "a/b"));
        assert_eq!(rule("default/shop/all"), "ApisixRoute default/shop, rule `all`");
        assert_eq!(rule("/apisix/routes/1"), "/apisix/routes/1");
        assert_eq!(key_of("/my/prefix/routes/1"), Some(ObjectKey::new("/my/prefix", "routes/1")));
    }
}
