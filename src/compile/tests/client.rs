//! Client policies of several objects, and what hosts share.

use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, SerialNumber};

use super::*;
use crate::model::{RevocationRef, RevocationSettings};

fn config_map(entries: &[(&str, &str)]) -> Object {
    let entries = entries.iter().map(|(key, value)| (*key, Bytes::copy_from_slice(value.as_bytes())));
    Object::ConfigMap(observed(0, Ok(Data::new(entries))))
}

fn from(kind: Kind, name: &str, field: &str) -> DataRef {
    DataRef { entry: None, field: field.into(), object: ObjectRef { kind, key: key(name) } }
}

/// An ApisixTls with this client.
fn with(host: &str, client: ClientAuthRef) -> Object {
    let Object::ApisixTls(Observed { meta, value: Ok(tls) }) = tls(1, host, None) else { panic!() };
    Object::ApisixTls(Observed { meta, value: Ok(TlsHost { client_auth: Ok(Some(Box::new(client))), ..tls }) })
}

/// The client of `caSecret: ca` with `more` authorities.
fn authorities(more: Vec<DataRef>) -> ClientAuthRef {
    let mut client = client_auth("ca");
    client.authorities.extend(more);
    client
}

fn revocation(lists: Vec<DataRef>, allow_unknown: bool) -> ClientAuthRef {
    let settings = RevocationSettings { allow_unknown, leaf_only: false };
    ClientAuthRef { revocation: Some(RevocationRef { lists, settings }), ..client_auth("ca") }
}

/// A CA called `name` and lists that it has signed, which end when `years` begin.
pub(super) fn ca_with_lists(name: &str, years: &[i32]) -> (String, String) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let list = |year: &i32| {
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(*year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).unwrap().pem().unwrap()
    };
    (certificate, years.iter().map(list).collect())
}

fn required(bench: &Bench) -> Option<&Arc<crate::snapshot::ClientAuth>> {
    match &bench.tls("a.example").policy {
        Policy::Require(auth) => Some(auth),
        _ => None,
    }
}

fn anchors(bench: &Bench) -> usize {
    required(bench).map_or(0, |auth| auth.requirements.anchors.certificates().len())
}

#[test]
fn authorities_of_several_objects_are_one_set_and_what_is_unusable_is_left_out() {
    let mut bench = tls_bench();
    let more = vec![
        from(Kind::ConfigMap, "bundle", "spec.client.caCertificateRefs[0]"),
        from(Kind::Secret, "third", "spec.client.caCertificateRefs[1]"),
    ];
    let bundle = format!("{}{}", ca(), ca());
    bench
        .put("bundle", config_map(&[("ca.crt", &bundle)]))
        .put("third", secret(&[("cert", &ca())]))
        .put("t", with("a.example", authorities(more)))
        .compile();
    assert_eq!((anchors(&bench), bench.tls_problems("t")), (4, vec![]));

    bench.remove(Kind::Secret, "third").put("bundle", config_map(&[("ca.crt", &format!("{}garbage", ca()))])).compile();
    assert_eq!(anchors(&bench), 2);
    let (effect, reason, message) = bench.problems(Kind::ApisixTls, "t").remove(0);
    assert_eq!((effect, reason), (Effect::Unresolved, Reason::RefNotFound));
    assert_eq!(message, "spec.client.caCertificateRefs[1]: Secret ns/third does not exist; it is left out");

    bench.put("bundle", config_map(&[("ca.crt", &format!("{}{}", ca(), broken()))])).compile();
    let messages: Vec<_> = bench.problems(Kind::ApisixTls, "t").into_iter().map(|(_, _, message)| message).collect();
    assert!(
        messages[1].starts_with("spec.client.caCertificateRefs[0]: `ca.crt` of ConfigMap ns/bundle: certificate 2 "),
        "{messages:?}"
    );
    assert_eq!(anchors(&bench), 2, "one bad certificate among good ones is left out");

    bench.remove(Kind::ConfigMap, "bundle").remove(Kind::Secret, "ca").compile();
    assert!(required(&bench).is_none(), "none is left");
    let (effect, _, message) = bench.problems(Kind::ApisixTls, "t").remove(0);
    assert_eq!(effect, Effect::Refused);
    assert_eq!(message, "spec.client.caSecret: Secret ns/ca does not exist; all clients are refused");
}

/// PEM that holds no certificate.
fn broken() -> &'static str {
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
}

#[test]
fn a_named_entry_is_read_and_no_other() {
    let mut bench = tls_bench();
    let named = |entry: &str| {
        let data = from(Kind::ConfigMap, "bundle", "spec.client.caCertificateRefs[0]");
        with(
            "a.example",
            ClientAuthRef { authorities: vec![DataRef { entry: Some(entry.into()), ..data }], ..client_auth("ca") },
        )
    };
    bench.put("bundle", config_map(&[("a.pem", &ca()), ("cert", &format!("{}{}", ca(), ca()))]));
    bench.put("t", named("a.pem")).compile();
    assert_eq!(anchors(&bench), 1);
    bench.put("t", named("b.pem")).compile();
    assert!(required(&bench).is_none());
    let (_, _, message) = bench.problems(Kind::ApisixTls, "t").remove(0);
    assert!(message.contains("ConfigMap ns/bundle has none of the keys `b.pem`; it has: a.pem, cert"), "{message}");
}

#[test]
fn lists_that_are_missing_or_broken_refuse_everyone_unless_unknown_is_allowed() {
    let (certificate, list) = ca_with_lists("ca", &[2090]);
    let lists = || vec![from(Kind::Secret, "one", "crlRefs[0]"), from(Kind::ConfigMap, "two", "crlRefs[1]")];
    let count =
        |bench: &Bench| required(bench).and_then(|auth| Some(auth.requirements.revocation.as_ref()?.iter().count()));
    let mut bench = tls_bench();
    bench
        .put("ca", secret(&[("cert", &certificate)]))
        .put("one", secret(&[("ca.crl", &list), ("crl.pem", &list)]))
        .put("two", config_map(&[("crl", &list)]))
        .put("t", with("a.example", revocation(lists(), false)))
        .compile();
    assert_eq!((count(&bench), bench.tls_problems("t")), (Some(3), vec![]), "every shard is read");
    for (one, reason) in [
        (None, Reason::RefNotFound),
        (Some(secret(&[("cert", "x")])), Reason::InvalidRevocationList),
        (Some(secret(&[("ca.crl", "garbage")])), Reason::InvalidRevocationList),
        (Some(secret(&[("ca.crl", &list.replace("X509", ""))])), Reason::InvalidRevocationList),
    ] {
        bench.remove(Kind::Secret, "one");
        if let Some(one) = one {
            bench.put("one", one);
        }
        bench.put("t", with("a.example", revocation(lists(), false))).compile();
        assert_eq!((count(&bench), bench.tls_problems("t")), (None, vec![(Effect::Refused, reason)]));
        bench.put("t", with("a.example", revocation(lists(), true))).compile();
        assert_eq!((count(&bench), bench.tls_problems("t")), (Some(1), vec![(Effect::Unresolved, reason)]));
    }
}

#[test]
fn a_list_of_a_stranger_is_reported() {
    let (certificate, _) = ca_with_lists("ca", &[2090]);
    let (_, list) = ca_with_lists("stranger", &[2090]);
    let mut client = revocation(vec![from(Kind::Secret, "crl", "crlRefs[0]")], false);
    let mut bench = tls_bench();
    bench.put("ca", secret(&[("cert", &certificate)])).put("crl", secret(&[("ca.crl", &list)]));
    bench.put("t", with("a.example", client.clone())).compile();
    assert_eq!(bench.tls_problems("t"), [], "it may be an intermediate's");
    client.settings.depth = 0;
    bench.put("t", with("a.example", client)).compile();
    assert_eq!(bench.tls_problems("t"), [(Effect::Warning, Reason::InvalidRevocationList)]);
    assert!(required(&bench).is_some());
}

#[test]
fn hosts_of_different_objects_share_what_is_equal() {
    let mut bench = tls_bench();
    bench.put("t", tls(1, "a.example", Some("ca"))).compile();
    bench.put("u", tls(2, "b.example", Some("ca"))).put("v", tls(3, "c.example", None)).compile();
    let (a, b, c) = (bench.tls("a.example"), bench.tls("b.example"), bench.tls("c.example"));
    let (Policy::Require(one), Policy::Require(other)) = (&a.policy, &b.policy) else { panic!() };
    assert!(Arc::ptr_eq(one, other), "one policy");
    let config = |host: &crate::snapshot::HostTls| host.server.as_ref().unwrap().clone();
    assert!(Arc::ptr_eq(&config(a), &config(b)), "one configuration");
    assert!(!Arc::ptr_eq(&config(a), &config(c)), "another policy has its own");
    assert!(Arc::ptr_eq(&a.certificates[0].key, &c.certificates[0].key), "one key");
}

#[test]
fn further_certificates_fail_one_by_one() {
    let several = |secrets: &[&str]| {
        let Object::ApisixTls(Observed { meta, value: Ok(tls) }) = tls(1, "a.example", None) else { panic!() };
        let certificates = Ok(secrets.iter().map(|name| key(name)).collect());
        Object::ApisixTls(Observed { meta, value: Ok(TlsHost { certificates, ..tls }) })
    };
    let (cert, private) = certificate();
    let mut bench = tls_bench();
    bench.put("t", several(&["server", "rsa"])).compile();
    assert_eq!((bench.tls("a.example").certificates.len(), bench.tls("a.example").server.is_ok()), (1, true));
    let (effect, reason, message) = bench.problems(Kind::ApisixTls, "t").remove(0);
    assert_eq!((effect, reason), (Effect::Unresolved, Reason::RefNotFound));
    assert!(message.starts_with("spec.additionalSecrets[0]: Secret ns/rsa does not exist; "), "{message}");
    bench.put("rsa", secret(&[("cert", &cert), ("key", &private)])).compile();
    assert_eq!((bench.tls("a.example").certificates.len(), bench.tls_problems("t")), (2, vec![]));
    bench.remove(Kind::Secret, "server").compile();
    assert_eq!(bench.tls("a.example").certificates.len(), 2, "the last good one is still served");
    assert_eq!(bench.tls_problems("t"), [(Effect::Stale, Reason::RefNotFound)]);
}

#[test]
fn protocols_that_cannot_be_read_refuse_every_handshake() {
    let mut bench = tls_bench();
    bench.put("t", tls(1, "a.example", None)).compile();
    let Object::ApisixTls(Observed { meta, value: Ok(tls) }) = tls(1, "a.example", None) else { panic!() };
    let protocols = Err(Box::new(Invalid::spec("spec.tls.minVersion", "is unknown")));
    bench.put("t", Object::ApisixTls(Observed { meta, value: Ok(TlsHost { protocols, ..tls }) })).compile();
    assert!(bench.tls("a.example").server.is_err());
    assert_eq!(bench.tls_problems("t"), [(Effect::Refused, Reason::InvalidSpec)]);
}
