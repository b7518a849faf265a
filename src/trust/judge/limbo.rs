//! The C2SP x509-limbo vectors, all of them, against this verifier.
//!
//! Cases about clients run as they are. Cases about servers run with the usage serverAuth in the place of clientAuth, and
//! the peer's name is checked by webpki after the judgement: names of servers are no business of ours. Whatever comes out
//! otherwise than the vector says is in [`DIFFERENCES`] with its reason; a difference that appears or goes fails the test.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rustls_pki_types::{ServerName, UnixTime};
use serde::Deserialize;

use super::*;
use crate::model::RevocationSettings;
use crate::trust::{Anchors, IdentityRules, Revocation, certificates, crls};

/// Used where a vector says nothing: deep enough for any.
const DEPTH: u32 = 100;

#[derive(Deserialize)]
struct Limbo {
    testcases: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    crls: Vec<String>,
    expected_peer_name: Option<Name>,
    expected_result: String,
    id: String,
    max_chain_depth: Option<u32>,
    peer_certificate: String,
    trusted_certs: Vec<String>,
    untrusted_intermediates: Vec<String>,
    validation_kind: String,
    validation_time: Option<jiff::Timestamp>,
}

#[derive(Deserialize)]
struct Name {
    kind: String,
    value: String,
}

/// A vector that comes out otherwise, and why.
type Difference = (&'static str, &'static str);

const STRICTER_USAGE: &str = "Stricter: a client's certificate must be allowed to sign, where keyUsage is present.";
const SELF_ISSUED: &str =
    "Stricter: self-issued certificates count as others do, for webpki and for OpenSSL's `-verify_depth`.";
const CONSTRAINTS: &str =
    "Stricter: webpki refuses what is under nameConstraints on e-mail addresses or directory names.";
const LIST_NUMBER: &str = "A list's number is not looked at: every list of an issuer counts, whichever is newer.";
const KEY_IDENTIFIERS: &str = "Key identifiers only help to find issuers; what counts are names and signatures.";
const CRITICALITY: &str = "The extension is obeyed whether its critical flag is as the profile wants or not.";
const NO_ISSUER: &str = "It means something for issuers only, and no path runs through a leaf that is CA:FALSE.";
const EMPTY_CONSTRAINTS: &str = "A nameConstraints without a name constrains nothing.";
const LEADING_PERIOD: &str = "`.example.com` is taken for the names below it, as everywhere.";
const POLICIES: &str = "Certificate policies are not evaluated (critical ones are refused).";
const ENCODING: &str = "A rule on how authorities number, name or size; it opens nothing.";
const NOT_READ: &str = "The extension is not read.";
const WEB_ONLY: &str = "A rule of the public web about names or usages of servers.";

const DIFFERENCES: &[Difference] = &[
    ("pathlen::validation-ignores-pathlen-in-leaf", STRICTER_USAGE),
    ("rfc5280::ca-as-leaf", STRICTER_USAGE),
    ("pathlen::self-issued-certs-pathlen", SELF_ISSUED),
    ("pathlen::max-chain-depth-1-self-issued", SELF_ISSUED),
    ("rfc5280::nc::permitted-self-issued", SELF_ISSUED),
    ("rfc5280::nc::permitted-dn-match", CONSTRAINTS),
    ("rfc5280::nc::nc-permits-email-exact", CONSTRAINTS),
    ("rfc5280::nc::nc-permits-email-domain", CONSTRAINTS),
    ("rfc5280::nc::nc-permits-email-literal-asterisk-exact-match", CONSTRAINTS),
    ("rfc5280::nc::nc-permits-email-literal-double-asterisk", CONSTRAINTS),
    ("rfc5280::nc::nc-permits-email-literal-mid-asterisk", CONSTRAINTS),
    ("crl::crlnumber-missing", LIST_NUMBER),
    ("crl::crlnumber-critical", LIST_NUMBER),
    ("rfc5280::aki::leaf-missing-aki", KEY_IDENTIFIERS),
    ("rfc5280::aki::intermediate-missing-aki", KEY_IDENTIFIERS),
    ("rfc5280::aki::cross-signed-root-missing-aki", KEY_IDENTIFIERS),
    ("rfc5280::ski::root-missing-ski", KEY_IDENTIFIERS),
    ("rfc5280::ski::intermediate-missing-ski", KEY_IDENTIFIERS),
    ("webpki::aki::root-with-aki-missing-keyidentifier", KEY_IDENTIFIERS),
    ("webpki::aki::root-with-aki-authoritycertissuer", KEY_IDENTIFIERS),
    ("webpki::aki::root-with-aki-authoritycertserialnumber", KEY_IDENTIFIERS),
    ("webpki::aki::root-with-aki-all-fields", KEY_IDENTIFIERS),
    ("webpki::aki::root-with-aki-ski-mismatch", KEY_IDENTIFIERS),
    ("rfc5280::nc::permitted-dns-match-noncritical", CRITICALITY),
    ("rfc5280::root-non-critical-basic-constraints", CRITICALITY),
    ("rfc5280::san::noncritical-with-empty-subject", CRITICALITY),
    ("webpki::eku::ee-critical-eku", CRITICALITY),
    ("webpki::san::san-critical-with-nonempty-subject", CRITICALITY),
    ("rfc5280::nc::not-allowed-in-ee-noncritical", NO_ISSUER),
    ("rfc5280::nc::not-allowed-in-ee-critical", NO_ISSUER),
    ("rfc5280::leaf-ku-keycertsign", NO_ISSUER),
    ("webpki::nc::intermediate-permitted-excluded-subtrees-both-null", EMPTY_CONSTRAINTS),
    ("webpki::nc::intermediate-permitted-excluded-subtrees-both-empty-sequences", EMPTY_CONSTRAINTS),
    ("rfc5280::nc::invalid-dnsname-leading-period", LEADING_PERIOD),
    ("rfc5280::pc::ica-noncritical-pc", POLICIES),
    ("rfc5280::serial::too-long", ENCODING),
    ("rfc5280::serial::zero", ENCODING),
    ("rfc5280::serial::negative", ENCODING),
    ("rfc5280::ca-empty-subject", ENCODING),
    ("webpki::forbidden-rsa-not-divisible-by-8-in-root", ENCODING),
    ("webpki::forbidden-rsa-key-not-divisible-by-8-in-leaf", ENCODING),
    ("webpki::malformed-aia", NOT_READ),
    ("rfc5280::san::underscore-dns", WEB_ONLY),
    ("webpki::cn::ipv4-hex-mismatch", WEB_ONLY),
    ("webpki::cn::ipv4-leading-zeros-mismatch", WEB_ONLY),
    ("webpki::cn::ipv6-uppercase-mismatch", WEB_ONLY),
    ("webpki::cn::ipv6-uncompressed-mismatch", WEB_ONLY),
    ("webpki::cn::ipv6-non-rfc5952-mismatch", WEB_ONLY),
    ("webpki::cn::punycode-not-in-san", WEB_ONLY),
    ("webpki::cn::utf8-vs-punycode-mismatch", WEB_ONLY),
    ("webpki::cn::not-in-san", WEB_ONLY),
    ("webpki::cn::case-mismatch", WEB_ONLY),
    ("webpki::eku::ee-anyeku", WEB_ONLY),
    ("webpki::eku::ee-without-eku", WEB_ONLY),
    ("webpki::san::public-suffix-multi-label-wildcard-san", WEB_ONLY),
    ("webpki::san::public-suffix-private-namespace-wildcard-san", WEB_ONLY),
];

/// `Ok` where the certificate is accepted, the reason otherwise.
fn run(vector: &Vector) -> Result<(), String> {
    let (anchors, left_out) = Anchors::read(vector.trusted_certs.iter().map(String::as_bytes));
    let anchors = anchors.map_err(|why| format!("anchor: {why} ({} left out)", left_out.len()))?;
    let revocation = if vector.crls.is_empty() {
        None
    } else {
        let lists = vector.crls.iter().flat_map(|list| crls(list.as_bytes()).unwrap()).collect();
        Some(Revocation::new(lists, RevocationSettings::default())?)
    };
    let depth = vector.max_chain_depth.unwrap_or(DEPTH);
    let requirements = Requirements { anchors, depth, identities: IdentityRules::default(), revocation };
    let pem = std::iter::once(&vector.peer_certificate).chain(&vector.untrusted_intermediates);
    let chain: Vec<_> = pem.flat_map(|pem| certificates(pem.as_bytes()).unwrap()).collect();
    // The vectors without a time were made to be valid on the day that they are run.
    let seconds = vector.validation_time.map_or(1_780_000_000, jiff::Timestamp::as_second);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap()));
    let purpose = if vector.validation_kind == "CLIENT" { Purpose::Client } else { Purpose::Server };
    judge_for(purpose, &chain, &requirements, now).map_err(|refusal| refusal.to_string())?;
    match &vector.expected_peer_name {
        Some(name) if purpose == Purpose::Server && name.kind != "RFC822" => {
            let name = ServerName::try_from(name.value.as_str()).map_err(|error| format!("name: {error}"))?;
            let leaf = EndEntityCert::try_from(&chain[0]).map_err(|error| format!("name: {error}"))?;
            leaf.verify_is_valid_for_subject_name(&name).map_err(|error| format!("name: {error}"))
        }
        _ => Ok(()),
    }
}

#[test]
fn every_vector_comes_out_as_it_says_or_is_listed() {
    let file = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/x509-limbo.json")).unwrap();
    let limbo: Limbo = serde_json::from_slice(&file).unwrap();
    assert_eq!(limbo.testcases.len(), 208);
    let mut listed: BTreeMap<_, _> = DIFFERENCES.iter().copied().collect();
    assert_eq!(listed.len(), DIFFERENCES.len());
    let mut wrong = Vec::new();
    for vector in &limbo.testcases {
        let outcome = run(vector);
        let expected = vector.expected_result == "SUCCESS";
        let differs = outcome.is_ok() != expected;
        if differs != listed.remove(vector.id.as_str()).is_some() {
            wrong.push(format!("{}: expected {}, got {outcome:?}", vector.id, vector.expected_result));
        }
    }
    assert!(wrong.is_empty(), "{} differ from the table:\n{}", wrong.len(), wrong.join("\n"));
    assert!(listed.is_empty(), "no such vectors: {listed:?}");
}
