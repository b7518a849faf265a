//! Class H: certificates of a trusted authority whose holder is somebody else than they seem to say (Envoy CVE-2022-21656,
//! CVE-2022-21657 and CVE-2026-47778).

use rcgen::{CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, KeyPair, SanType, string::Ia5String};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::attacker::{Attacker, ways};
use crate::forger::Forger;
use crate::objects::{client_tls, reference, secret};
use crate::pki::Certified;
use crate::stage::Stage;

const HOST: &str = "mtls.test";

fn ia5(text: &str) -> Ia5String {
    Ia5String::try_from(text).unwrap()
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(ia5(text))
}

fn uri(text: &str) -> SanType {
    SanType::URI(ia5(text))
}

fn email(text: &str) -> SanType {
    SanType::Rfc822Name(ia5(text))
}

/// Sets the common name, and these subject alternative names.
fn named(cn: &str, names: Vec<SanType>) -> impl FnOnce(&mut CertificateParams) {
    let cn = DnValue::Utf8String(cn.to_owned());
    move |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, cn);
        params.subject_alt_names = names;
    }
}

async fn stage(root: &Forger, client: Value) -> Stage {
    let mut section = json!({"caSecret": reference("ca")});
    section.as_object_mut().unwrap().extend(client.as_object().unwrap().clone());
    let stage = Stage::new([secret("ca", &[("cert", &root.pem)]), client_tls("mtls", &[HOST], section)]).await;
    assert!(stage.problems("mtls").is_empty(), "{:?}", stage.problems("mtls"));
    stage
}

/// Only the holders of `good` get in under `rule`.
async fn rule(rule: Value, good: Vec<(&str, Vec<SanType>)>, bad: Vec<(&str, Vec<SanType>)>) {
    let root = Forger::root("root");
    let stage = stage(&root, json!({"identities": [rule]})).await;
    for (expected, holders) in [(200, good), (400, bad)] {
        for (cn, names) in holders {
            let what = format!("{rule}: CN={cn:?} {names:?}");
            let certificate = root.client(named(cn, names));
            let before = stage.passed();
            let attacker = Attacker::new(&rustls::version::TLS13, "h2", Some(&certificate));
            assert_eq!(attacker.status(stage.https, HOST, HOST).await, Some(expected), "{what}");
            assert_eq!(stage.passed() - before, usize::from(expected == 200), "{what}");
        }
    }
}

#[tokio::test]
async fn class_h_a_dns_name_is_one_of_type_dns_and_no_other() {
    let good = || vec![("x", vec![dns("shop.test")]), ("x", vec![dns("other.test"), dns("shop.test")])];
    let look_alikes = || {
        vec![
            ("shop.test", vec![]),
            ("shop.test", vec![dns("other.test")]),
            ("x", vec![uri("shop.test")]),
            ("x", vec![uri("dns:shop.test")]),
            ("x", vec![email("shop.test")]),
            ("x", vec![dns("shop.test.evil.test")]),
            ("x", vec![dns("evilshop.test")]),
            ("x", vec![dns("shop.test\0.evil.test")]),
            ("x", vec![dns("evil.test\0shop.test")]),
            ("x", vec![dns("*.test")]),
            ("x", vec![dns("shopxtest")]),
            ("x", vec![dns("evil.test,shop.test")]),
            ("x", vec![dns("evil.test\nshop.test")]),
        ]
    };
    rule(json!({"dns": [{"exact": "shop.test"}]}), good(), look_alikes()).await;
    // A regular expression is one over the whole name.
    rule(json!({"dns": [{"regex": "shop\\.test"}]}), good(), look_alikes()).await;
    rule(json!({"dns": [{"regex": "(?m)^shop\\.test$"}]}), good(), look_alikes()).await;
    rule(json!({"dns": [{"regex": "never|shop\\.test"}]}), good(), look_alikes()).await;
}

#[tokio::test]
async fn class_h_a_spiffe_id_is_the_only_uri_and_has_its_form() {
    let id = "spiffe://shop.test/web";
    rule(
        json!({"spiffe": [{"exact": id}]}),
        vec![("x", vec![uri(id)])],
        vec![
            (id, vec![]),
            ("x", vec![dns(id)]),
            ("x", vec![uri("spiffe://shop.test/web/more")]),
            ("x", vec![uri("spiffe://shop.test.evil.test/web")]),
            ("x", vec![uri("spiffe://evil@shop.test/web")]),
            ("x", vec![uri("spiffe://shop.test/evil/../web")]),
            ("x", vec![uri(id), uri("spiffe://evil.test/web")]),
            ("x", vec![uri("https://evil.test"), uri(id)]),
            ("x", vec![uri("https://shop.test/web")]),
        ],
    )
    .await;
}

#[tokio::test]
async fn class_h_a_subject_cannot_be_completed_from_within_a_value() {
    rule(
        json!({"subject": [{"exact": "CN=shop"}]}),
        vec![("shop", vec![dns("x.test")])],
        vec![
            ("shop,O=evil", vec![]),
            ("evil,CN=shop", vec![]),
            ("shop\0", vec![]),
            ("shop\n", vec![]),
            (" shop", vec![]),
            ("SHOP\u{212a}", vec![]),
            ("evil", vec![dns("CN=shop")]),
        ],
    )
    .await;
    rule(
        json!({"subject": [{"suffix": ",O=Shop"}]}),
        vec![],
        vec![("evil,O=Shop", vec![]), ("evil\\,O=Shop", vec![]), ("O=Shop", vec![])],
    )
    .await;
    rule(
        json!({"subject": [{"regex": "CN=[^,]+,O=Shop"}, {"regex": "CN=.*,O=Shop"}, {"regex": "CN=a\\\\2Cb"}]}),
        vec![("a,b", vec![])],
        vec![("evil,O=Shop", vec![]), ("evil\\,O=Shop", vec![]), ("evil+O=Shop", vec![]), ("a2Cb", vec![])],
    )
    .await;
}

#[tokio::test]
async fn class_h_a_rule_with_several_fields_wants_all_of_them() {
    rule(
        json!({"dns": [{"exact": "shop.test"}], "email": [{"suffix": "@shop.test"}], "ip": ["192.0.2.0/24"]}),
        vec![("x", vec![dns("shop.test"), email("a@shop.test"), SanType::IpAddress([192, 0, 2, 9].into())])],
        vec![
            ("x", vec![dns("shop.test"), email("a@shop.test")]),
            ("x", vec![dns("shop.test"), email("a@evil.test"), SanType::IpAddress([192, 0, 2, 9].into())]),
            ("x", vec![dns("shop.test"), email("a@shop.test"), SanType::IpAddress([192, 0, 3, 9].into())]),
            ("x", vec![dns("shop.test"), email("a@shop.test"), dns("192.0.2.9")]),
            ("x", vec![dns("shop.test"), email("a@shop.test\0@evil.test"), SanType::IpAddress([192, 0, 2, 9].into())]),
        ],
    )
    .await;
}

#[tokio::test]
async fn class_h_a_certificate_for_another_use_is_refused() {
    let root = Forger::root("root");
    let stage = stage(&root, json!({})).await;
    let usages = |usages: Vec<ExtendedKeyUsagePurpose>| {
        root.client(|params: &mut CertificateParams| params.extended_key_usages = usages)
    };
    for (certificate, expected) in [
        (usages(vec![ExtendedKeyUsagePurpose::ClientAuth]), 200),
        (usages(vec![]), 200), // not restricted
        (usages(vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]), 200),
        (usages(vec![ExtendedKeyUsagePurpose::ServerAuth]), 400),
        (usages(vec![ExtendedKeyUsagePurpose::CodeSigning]), 400),
        (usages(vec![ExtendedKeyUsagePurpose::Any]), 400),
        (root.client(|params| params.key_usages = vec![rcgen::KeyUsagePurpose::KeyEncipherment]), 400),
    ] {
        for (version, alpn) in ways() {
            let status = Attacker::new(version, alpn, Some(&certificate)).status(stage.https, HOST, HOST).await;
            assert_eq!(status, Some(expected), "{version:?} {alpn}");
        }
    }
    assert_eq!(stage.passed(), 12);
}

#[tokio::test]
async fn class_h_a_name_adds_no_header_and_no_field_to_one() {
    let root = Forger::root("root");
    let headers: Vec<_> = ["Subject", "DnsNames", "Emails", "Uris", "Issuer", "Serial", "Fingerprint", "Verify"]
        .map(|value| json!({"name": format!("X-Client-{value}"), "value": value}))
        .into();
    let stage = stage(&root, json!({"forward": {"xForwardedClientCert": true, "headers": headers}})).await;
    for (cn, names) in [
        ("x\r\nX-Admin: 1", vec![]),
        ("x\nX-Admin: 1\n\n", vec![dns("a.test")]),
        ("x\";URI=spiffe://admin", vec![]),
        ("x,Hash=0;Subject=\"CN=admin\"", vec![uri("spiffe://a/b;Subject=\"CN=admin\",By=x")]),
        ("\\\"", vec![uri("https://a.test/\",Subject=\"CN=admin")]),
        ("x", vec![dns("a.test\r\nX-Admin: 1"), email("a@b.test,admin@b.test"), dns("a.test,admin.test")]),
        ("\u{0}\u{1}\u{7f}\u{80}\u{2028}", vec![]),
        ("\u{fc}\u{4e2d}\u{1f980}", vec![]),
    ] {
        let certificate = root.client(named(cn, names));
        for (version, alpn) in ways() {
            let before = stage.passed();
            let attacker = Attacker::new(version, alpn, Some(&certificate));
            let status = attacker.status(stage.https, HOST, HOST).await;
            if stage.passed() == before {
                assert_eq!(status, Some(400), "{cn:?}: refused, then");
                continue;
            }
            let seen = stage.upstream.seen().last().unwrap().clone();
            assert!(!seen.headers.contains_key("x-admin"), "{cn:?}");
            for (name, value) in seen.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-")) {
                assert!(value.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)), "{cn:?}: {name}: {value:?}");
            }
            let xfcc = seen.header("x-forwarded-client-cert").unwrap();
            assert_eq!(elements(xfcc), 1, "{cn:?}: {xfcc}");
            let listed = seen.headers.get_all("x-client-subject").iter().count();
            assert_eq!(listed, 1, "{cn:?}");
        }
    }
    assert!(stage.passed() > 0);
}

#[tokio::test]
async fn class_h_a_certificate_without_its_key_proves_nothing() {
    let root = Forger::root("root");
    let stage = stage(&root, json!({})).await;
    let stolen = || Certified { key: KeyPair::generate().unwrap(), ..root.client(|_| ()) };
    for more in
        [json!({}), json!({"mode": "Optional"}), json!({"mode": "Observe"}), json!({"skip_mtls_uri_regex": ["^/"]})]
    {
        let mut client = json!({"caSecret": reference("ca")});
        client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stage.apply([client_tls("mtls", &[HOST], client)]);
        for (version, alpn) in ways() {
            let status = Attacker::new(version, alpn, Some(&stolen())).status(stage.https, HOST, HOST).await;
            assert_eq!(status, None, "{version:?} {alpn} {more}");
        }
    }
    assert_eq!(stage.passed(), 0);
}

#[tokio::test]
async fn class_h_only_the_authority_vouches_for_others() {
    let (root, namesake) = (Forger::root("root"), Forger::root("root"));
    let pinned = Forger::pinned();
    let stage = stage(&root, json!({})).await;
    stage.apply([secret("ca", &[("cert", &format!("{}{}", root.pem, pinned.pem))])]);
    assert!(stage.problems("mtls").is_empty(), "{:?}", stage.problems("mtls"));
    let client = root.no_authority("client");
    let with = |chain: &Certified, more: &[CertificateDer<'static>]| {
        let key = KeyPair::try_from(chain.key.serialize_der()).unwrap();
        Certified { chain: [&chain.chain[..1], more].concat(), key, pem: String::new() }
    };
    let [of_client, of_pinned, of_namesake] = [&client, &pinned, &namesake].map(|forger| forger.client(|_| ()));
    let real = CertificateDer::from_pem_slice(root.pem.as_bytes()).unwrap();
    let forged = CertificateDer::from_pem_slice(namesake.pem.as_bytes()).unwrap();
    for (what, certificate) in [
        ("signed by a client", &of_client),
        ("signed by a client, which is not shown", &with(&of_client, &[])),
        ("signed by a certificate that is let in itself", &of_pinned),
        ("the same with it", &with(&of_pinned, &[CertificateDer::from_pem_slice(pinned.pem.as_bytes()).unwrap()])),
        ("signed by another authority of the same name", &of_namesake),
        ("the same with the real one", &with(&of_namesake, &[real])),
        ("the same with the forged one", &with(&of_namesake, &[forged])),
    ] {
        for (version, alpn) in ways() {
            let status = Attacker::new(version, alpn, Some(certificate)).status(stage.https, HOST, HOST).await;
            assert_eq!(status, Some(400), "{version:?} {alpn} {what}");
        }
    }
    assert_eq!(stage.passed(), 0);
    let good = root.client(|_| ());
    let status = Attacker::new(&rustls::version::TLS13, "h2", Some(&good)).status(stage.https, HOST, HOST).await;
    assert_eq!(status, Some(200));
}

/// The elements of an `X-Forwarded-Client-Cert`, with quotes read as Envoy reads them; none of its keys stands twice but `DNS`
/// and `URI`.
fn elements(xfcc: &str) -> usize {
    let (mut elements, mut keys, mut quoted, mut escaped) = (1, vec![String::new()], false, false);
    let mut in_key = true;
    for letter in xfcc.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => elements += 1,
            ';' if !quoted => {
                keys.push(String::new());
                in_key = true;
            }
            '=' if !quoted => in_key = false,
            other if in_key => keys.last_mut().unwrap().push(other),
            _ => {}
        }
    }
    for key in keys.iter().filter(|key| !["DNS", "URI"].contains(&key.as_str())) {
        assert_eq!(keys.iter().filter(|other| *other == key).count(), 1, "{key} stands twice in {xfcc}");
    }
    elements
}
