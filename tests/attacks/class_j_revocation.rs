//! Classes I and J: what a revocation list means (rustls-webpki RUSTSEC-2026-0049, nginx CVE-2026-28755): every combination of
//! what the lists say of the client's certificate and of its intermediate, with every setting.

use serde_json::json;

use crate::attacker::{Attacker, ways};
use crate::forger::Forger;
use crate::objects::{client_tls, reference, secret};
use crate::pki::Certified;
use crate::stage::Stage;

const HOST: &str = "mtls.test";

/// The serial number of whatever may be revoked here.
const SERIAL: u64 = 0x4711;

const HOUR: i64 = 3600;

/// What the lists say about one certificate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum List {
    Absent,
    /// Of the issuer's name, but signed by somebody else, and it names the certificate.
    Forged,
    FreshClean,
    FreshRevoking,
    StaleClean,
    StaleRevoking,
}

use List::{Absent, Forged, FreshClean, FreshRevoking, StaleClean, StaleRevoking};

impl List {
    const ALL: [Self; 6] = [Absent, Forged, FreshClean, FreshRevoking, StaleClean, StaleRevoking];

    fn pem(self, issuer: &Forger, forger: &Forger) -> String {
        match self {
            Absent => String::new(),
            Forged => forger.crl(&[SERIAL], HOUR),
            FreshClean => issuer.crl(&[1], HOUR),
            FreshRevoking => issuer.crl(&[1, SERIAL], HOUR),
            StaleClean => issuer.crl(&[1], -HOUR),
            StaleRevoking => issuer.crl(&[1, SERIAL], -HOUR),
        }
    }

    /// Whether the certificate may pass as far as revocation is concerned.
    fn passes(self, allow_unknown: bool) -> bool {
        match self {
            FreshClean => true,
            FreshRevoking | StaleRevoking => false, // a certificate does not come back when the list gets old
            Absent | Forged | StaleClean => allow_unknown,
        }
    }
}

struct Chain {
    client: Certified,
    forger: [Forger; 2],
    intermediate: Forger,
    root: Forger,
}

fn chain() -> Chain {
    let root = Forger::root("crl root");
    let intermediate = root.intermediate_with("crl intermediate", |params| params.serial_number = Some(SERIAL.into()));
    let client = intermediate.client(|params| params.serial_number = Some(SERIAL.into()));
    let forger = [Forger::root("crl root"), Forger::root("crl intermediate")];
    Chain { client, forger, intermediate, root }
}

fn policy(scope: &str, unknown: &str) -> serde_json::Value {
    let revocation = json!({"crlRefs": [{"name": "crls"}], "scope": scope, "unknown": unknown});
    client_tls("mtls", &[HOST], json!({"caSecret": reference("ca"), "revocation": revocation}))
}

#[tokio::test]
async fn class_j_every_combination_of_lists_and_settings() {
    let Chain { client, forger, intermediate, root } = chain();
    let stage = Stage::new([secret("ca", &[("cert", &root.pem)])]).await;
    let attacker = Attacker::new(&rustls::version::TLS13, "h2", Some(&client));
    let unrelated = Forger::root("unrelated").crl(&[SERIAL], HOUR);
    for of_client in List::ALL {
        for of_intermediate in List::ALL {
            let lists =
                [unrelated.clone(), of_client.pem(&intermediate, &forger[1]), of_intermediate.pem(&root, &forger[0])];
            stage.apply([secret("crls", &[("ca.crl", &lists.concat())])]);
            for (scope, unknown) in [("Chain", "Refuse"), ("Chain", "Allow"), ("Leaf", "Refuse"), ("Leaf", "Allow")] {
                stage.apply([policy(scope, unknown)]);
                let allow = unknown == "Allow";
                let passes = of_client.passes(allow) && (scope == "Leaf" || of_intermediate.passes(allow));
                let before = stage.passed();
                let status = attacker.status(stage.https, HOST, HOST).await;
                let expected = if passes { 200 } else { 400 };
                let what = format!("client {of_client:?}, intermediate {of_intermediate:?}, {scope} {unknown}");
                assert_eq!(status, Some(expected), "{what}: {:?}", stage.problems("mtls"));
                assert_eq!(stage.passed() - before, usize::from(passes), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn class_j_the_revoking_list_counts_among_all_that_there_are() {
    let Chain { client, forger, intermediate, root } = chain();
    let stage = Stage::new([secret("ca", &[("cert", &root.pem)]), policy("Chain", "Refuse")]).await;
    let of_root = root.crl(&[], HOUR);
    let (clean, revoking) = (intermediate.crl(&[], HOUR), intermediate.crl(&[SERIAL], HOUR));
    let forged = forger[1].crl(&[], HOUR);
    for (lists, expected) in [
        (vec![&clean], 200),
        (vec![&clean, &forged], 200),
        (vec![&clean, &revoking], 400),
        (vec![&revoking, &clean], 400),
        (vec![&forged, &revoking], 400),
        (vec![&forged], 400),
    ] {
        let text: String = std::iter::once(&of_root).chain(lists).map(String::as_str).collect();
        stage.apply([secret("crls", &[("ca.crl", &text)])]);
        for (version, alpn) in ways() {
            let status = Attacker::new(version, alpn, Some(&client)).status(stage.https, HOST, HOST).await;
            assert_eq!(status, Some(expected), "{version:?} {alpn} {:?}", stage.problems("mtls"));
        }
    }
}

#[tokio::test]
async fn class_j_a_list_that_cannot_be_read_counts_as_unknown_and_is_named() {
    let Chain { client, root, .. } = chain();
    let stage = Stage::new([secret("ca", &[("cert", &root.pem)])]).await;
    let attacker = Attacker::new(&rustls::version::TLS13, "h2", Some(&client));
    let garbage = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    for entries in [
        None,
        Some(vec![("ca.crl", "")]),
        Some(vec![("ca.crl", garbage)]),
        Some(vec![("ca.crl", &root.pem)]),
        Some(vec![("other", "")]),
    ] {
        if let Some(entries) = &entries {
            stage.apply([secret("crls", entries)]);
        }
        for (unknown, passes) in [("Refuse", false), ("Allow", true)] {
            stage.apply([policy("Chain", unknown)]);
            for _ in 0..2 {
                let before = stage.passed();
                let status = attacker.status(stage.https, HOST, HOST).await;
                let expected = if passes { status == Some(200) } else { matches!(status, None | Some(400)) };
                assert!(expected, "{entries:?} {unknown}: {status:?}");
                assert_eq!(stage.passed() - before, usize::from(passes));
                let problems = stage.problems("mtls");
                let named = |text: &String| {
                    text.starts_with("spec.client.revocation.crlRefs[0]: ") && text.contains("default/crls")
                };
                assert!(problems.iter().any(named), "{entries:?} {unknown}: {problems:?}");
                stage.restart();
            }
        }
    }
}
