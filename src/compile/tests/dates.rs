//! What time makes of certificates and lists.

use super::client::ca_with_lists;
use super::*;
use crate::model::{RevocationRef, RevocationSettings};

const DAY: i64 = 86_400;
/// The first of January 2030.
const Y2030: i64 = 1_893_456_000;

/// The certificate of a CA that ends with the year 2029.
fn ca_until_2030() -> String {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// Compiles at `now`; the problems of `t` and whether its conditions are all true.
fn at(bench: &mut Bench, now: i64) -> (Vec<(Effect, Reason)>, bool) {
    bench.now = now;
    bench.compile();
    let object = ObjectRef { kind: Kind::ApisixTls, key: key("t") };
    let conditions = bench.report.objects[&object].conditions();
    (bench.tls_problems("t"), conditions.iter().all(|condition| condition.status))
}

#[test]
fn an_authority_that_expires_is_reported_in_time_and_refuses_when_it_was_the_last() {
    let mut bench = tls_bench();
    bench.put("ca", secret(&[("cert", &ca_until_2030())])).put("t", tls(1, "a.example", Some("ca")));
    assert_eq!(at(&mut bench, NOW), (vec![], true));
    let host = bench.tls("a.example").clone();
    assert_eq!(bench.next, Some(Y2030 - 30 * DAY), "the report changes then");
    assert_eq!(at(&mut bench, Y2030 - 30 * DAY), (vec![(Effect::Warning, Reason::ExpiresSoon)], true));
    assert_eq!(bench.next, Some(Y2030 + 1));
    let (_, _, message) = bench.problems(Kind::ApisixTls, "t").remove(0);
    assert!(
        message.starts_with("spec.client.caSecret: the authority ") && message.contains("2030-01-01T00:00:00Z"),
        "{message}"
    );
    let gone = vec![(Effect::Refused, Reason::InvalidCaCertificate), (Effect::Warning, Reason::Expired)];
    assert_eq!(at(&mut bench, Y2030 + 1), (gone, false));
    assert!(Arc::ptr_eq(&host, bench.tls("a.example")), "time alone makes nothing again");
    bench.put("ca", secret(&[("cert", &format!("{}{}", ca_until_2030(), ca()))]));
    assert_eq!(at(&mut bench, Y2030 + 1), (vec![(Effect::Warning, Reason::Expired)], true), "another one is left");
}

#[test]
fn a_list_that_has_expired_refuses_where_it_is_needed() {
    for (years, allow_unknown, expected) in [
        (&[2030][..], false, (vec![(Effect::Refused, Reason::Expired)], false)),
        (&[2030], true, (vec![(Effect::Warning, Reason::Expired)], true)),
        (&[2030, 2031], false, (vec![], true)),
    ] {
        let (certificate, list) = ca_with_lists("ca", years);
        let mut bench = tls_bench();
        let from = DataRef {
            entry: None,
            field: "spec.client.revocation.crlRefs[0]".into(),
            object: ObjectRef { kind: Kind::Secret, key: key("crl") },
        };
        let settings = RevocationSettings { allow_unknown, leaf_only: false };
        let client =
            ClientAuthRef { revocation: Some(RevocationRef { lists: vec![from], settings }), ..client_auth("ca") };
        let Object::ApisixTls(Observed { meta, value: Ok(tls) }) = tls(1, "a.example", None) else { panic!() };
        let tls = TlsHost { client_auth: Ok(Some(Box::new(client))), ..tls };
        bench
            .put("ca", secret(&[("cert", &certificate)]))
            .put("crl", secret(&[("ca.crl", &list)]))
            .put("t", Object::ApisixTls(Observed { meta, value: Ok(tls) }));
        assert_eq!(at(&mut bench, Y2030), (vec![], true));
        assert_eq!(bench.next.is_some_and(|next| next == Y2030 + 1), years.len() == 1);
        assert_eq!(at(&mut bench, Y2030 + 1), expected, "{years:?}");
    }
}

#[test]
fn a_server_certificate_that_expires_is_reported() {
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2029, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let private = KeyPair::generate().unwrap();
    let cert = params.self_signed(&private).unwrap().pem();
    let mut bench = tls_bench();
    bench
        .put("server", secret(&[("cert", &cert), ("key", &private.serialize_pem())]))
        .put("t", tls(1, "a.example", None));
    for (now, reason) in [
        (Y2030 - 400 * DAY, Some(Reason::NotYetValid)),
        (Y2030 - 100 * DAY, None),
        (Y2030 - DAY, Some(Reason::ExpiresSoon)),
        (Y2030 + DAY, Some(Reason::Expired)),
    ] {
        let expected = reason.map(|reason| (Effect::Warning, reason)).into_iter().collect();
        assert_eq!(at(&mut bench, now), (expected, true));
        assert!(bench.tls("a.example").server.is_ok(), "it is shown all the same");
    }
    assert_eq!(bench.next, None);
}
