//! The corpus of AWS's http-desync-guardian (tests/data/desync).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::range::{HOST, Range, Way};
use crate::recorder::{OK, essence};

#[derive(Deserialize)]
struct Case {
    name: String,
    uri: String,
    method: String,
    version: String,
    #[serde(default)]
    headers: Vec<Field>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    value: Value,
}

impl Field {
    fn value(&self) -> String {
        self.value.as_str().map_or_else(|| self.value.to_string(), str::to_owned)
    }
}

#[derive(Deserialize)]
struct Expected {
    tier: String,
}

impl Case {
    /// Whether the body has a coding besides `chunked`, which nobody needs and servers read differently, or there is no target.
    fn is_refused_on_purpose(&self) -> bool {
        let mut codings = self.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("transfer-encoding"));
        self.uri.is_empty() || codings.any(|field| !field.value().trim().eq_ignore_ascii_case("chunked"))
    }

    /// The request: what is not the case's matter is valid. A body comes with it where its length is not in doubt.
    fn request(&self) -> String {
        let mut request = format!("{} {} {}\r\n", self.method, self.uri, self.version);
        for field in &self.headers {
            write!(request, "{}: {}\r\n", field.name, field.value()).unwrap();
        }
        let has = |name: &str| self.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        if has("host").is_none() {
            write!(request, "Host: {HOST}\r\n").unwrap();
        }
        request += "Connection: close\r\n\r\n";
        if has("transfer-encoding").is_some() {
            request += "0\r\n\r\n";
        } else if let Some(length) = has("content-length").and_then(|field| field.value().trim().parse().ok()) {
            request += &"x".repeat(std::cmp::min(length, 8 << 20));
        }
        request
    }
}

fn corpus() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/desync");
    let mut cases = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            cases.extend(serde_saphyr::from_str::<Vec<Case>>(&text).unwrap());
        }
    }
    cases
}

#[tokio::test]
async fn no_severe_request_is_accepted_and_no_compliant_one_is_refused() {
    let mut range = Range::new(OK).await;
    let mut tiers = BTreeMap::<_, usize>::new();
    for case in corpus() {
        *tiers.entry(case.expected.tier.clone()).or_default() += 1;
        let request = case.request();
        // `\xa0` may be meant as a byte or as a character.
        let latin: Option<Vec<u8>> = request.chars().map(|c| u8::try_from(c).ok()).collect();
        let encodings = [("utf-8", Some(request.as_bytes())), ("latin-1", latin.as_deref())];
        for (encoding, bytes) in encodings.into_iter().filter_map(|(name, bytes)| Some((name, bytes?))) {
            let before = range.upstream.connections();
            let answer = range.send(Way::Plaintext, bytes).await;
            let accepted = range.upstream.connections() > before;
            let shown: String = request.chars().take(1000).collect();
            let what = format!("{} ({}, {encoding}): {shown:?} -> {answer:?}", case.name, case.expected.tier);
            match &*case.expected.tier {
                "Compliant" if case.is_refused_on_purpose() => assert!(!accepted, "{what}"),
                "Compliant" => assert!(accepted && answer.starts_with("HTTP/1.1 200 "), "{what}"),
                "Severe" => assert!(!accepted && answer.starts_with("HTTP/1.1 4"), "{what}"),
                _ => {}
            }
            if accepted {
                let received = essence(&range.upstream.next().await);
                let framing =
                    |line: &&str| line.starts_with("content-length:") || line.starts_with("transfer-encoding:");
                assert!(
                    received.split("\n\n").next().unwrap().lines().filter(framing).count() <= 1,
                    "{what}: {received}"
                );
            }
        }
    }
    let counted: Vec<_> = tiers.iter().map(|(tier, count)| (&**tier, *count)).collect();
    assert_eq!(counted, [("Acceptable", 15), ("Ambiguous", 57), ("Compliant", 28), ("Severe", 58)]);
}
