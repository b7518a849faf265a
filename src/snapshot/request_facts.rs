//! What routes may look at in a request.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::COOKIE;

use super::FormBody;
use crate::model::{HostName, Subject, Variable};

/// A request as routes see it, borrowed from the real one or from one that is only asked about.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// Its body.
    pub body: &'a FormBody,
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its host.
    pub host: &'a HostName,
    /// Its method.
    pub method: &'a str,
    /// The path of its target in normal form.
    pub path: &'a str,
    /// The client's address; an IPv4-mapped one as IPv4.
    pub peer: IpAddr,
    /// The port of the listener, as text.
    pub port: &'a [u8],
    /// The query of its target, if there is one.
    pub query: Option<&'a str>,
    /// Path and query as they were sent.
    pub target: &'a str,
}

impl<'a> RequestFacts<'a> {
    /// The value of `subject`; `None` where the request has none.
    pub fn value(&self, subject: &Subject) -> Option<Cow<'a, [u8]>> {
        match subject {
            Subject::Body(argument) => self.body.argument(argument),
            Subject::Cookie(name) => self.cookie(name).map(Cow::Borrowed),
            Subject::Header(name) => self.header(name),
            Subject::Query(name) => {
                let mut arguments = form_urlencoded::parse(self.query?.as_bytes());
                let (_, value) = arguments.find(|(argument, _)| *argument == **name)?;
                Some(match value {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                })
            }
            Subject::Variable(variable) => self.variable(*variable),
        }
    }

    fn cookie(&self, name: &str) -> Option<&'a [u8]> {
        let fields = self.headers.get_all(COOKIE).into_iter(); // HTTP/2 may send one each (RFC 9113 section 8.2.3)
        let mut cookies = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
        cookies.find_map(|cookie| cookie.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    fn header(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let mut values = self.headers.get_all(name).into_iter().map(http::HeaderValue::as_bytes);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
        let all: Vec<_> = [first, second].into_iter().chain(values).collect();
        Some(Cow::Owned(all.join(&b", "[..])))
    }

    fn variable(&self, variable: Variable) -> Option<Cow<'a, [u8]>> {
        let text = match variable {
            Variable::Host => self.host.as_str(),
            Variable::Method => self.method,
            Variable::Query => self.query?,
            Variable::RemoteAddr => return Some(Cow::Owned(self.peer.to_string().into_bytes())),
            Variable::RequestUri => self.target,
            Variable::Scheme if self.encrypted => "https",
            Variable::Scheme => "http",
            Variable::ServerPort => return Some(Cow::Borrowed(self.port)),
            Variable::Uri => self.path,
        };
        Some(Cow::Borrowed(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn every_subject_is_found_or_missing() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-one", "1"),
            ("x-two", "a"),
            ("x-two", "b"),
            ("cookie", "a=1; ab=2; a=3"),
            ("cookie", "c=\"4\""),
            ("x-empty", ""),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let host = HostName::parse("a.test").unwrap();
        let query = "a=1+2%33&a=4&b&=5&A=6&c=%zz";
        let facts = RequestFacts {
            body: &FormBody::None,
            encrypted: true,
            headers: &headers,
            host: &host,
            method: "GET",
            path: "/p",
            peer: "192.0.2.1".parse().unwrap(),
            port: b"9443",
            query: Some(query),
            target: "/x/../p?a",
        };
        let value =
            |subject: Subject| facts.value(&subject).map(|value| String::from_utf8(value.into_owned()).unwrap());
        let found = |name: &str, of: fn(std::sync::Arc<str>) -> Subject| value(of(name.into()));
        for (name, expected) in [("x-one", Some("1")), ("x-two", Some("a, b")), ("x-empty", Some("")), ("x-none", None)]
        {
            assert_eq!(found(name, Subject::Header).as_deref(), expected, "{name}");
        }
        for (name, expected) in [("a", Some("1")), ("ab", Some("2")), ("c", Some("\"4\"")), ("b", None), ("A", None)] {
            assert_eq!(found(name, Subject::Cookie).as_deref(), expected, "{name}");
        }
        for (name, expected) in
            [("a", Some("1 23")), ("b", Some("")), ("", Some("5")), ("A", Some("6")), ("c", Some("%zz")), ("d", None)]
        {
            assert_eq!(found(name, Subject::Query).as_deref(), expected, "{name}");
        }
        for (name, variable) in Variable::NAMES {
            let expected = match name {
                "args" | "query_string" => query,
                "document_uri" | "uri" => "/p",
                "host" => "a.test",
                "method" | "request_method" => "GET",
                "remote_addr" => "192.0.2.1",
                "request_uri" => "/x/../p?a",
                "scheme" => "https",
                "server_port" => "9443",
                _ => panic!("{name} is not tested"),
            };
            assert_eq!(value(Subject::Variable(variable)).as_deref(), Some(expected), "{name}");
        }
        let bare = RequestFacts { query: None, ..facts };
        assert_eq!(bare.value(&Subject::Query("a".into())), None);
        assert_eq!(bare.value(&Subject::Variable(Variable::Query)), None);
    }
}
