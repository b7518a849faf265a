use std::sync::Arc;

use super::*;

fn holder() -> Holder {
    Holder {
        certificate_sha256: [1; 32],
        dns: vec!["Client.Example.com".to_owned()],
        emails: vec!["Anna@Example.com".to_owned()],
        ips: vec!["10.1.2.3".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        issuer: "CN=ca".to_owned(),
        not_after: 0,
        not_before: 0,
        public_key_sha256: [2; 32],
        serial: vec![1],
        subject: r"CN=anna,OU=ops\, eu,O=Example".to_owned(),
        uris: vec!["spiffe://example.org/ns/a/sa/b".to_owned()],
    }
}

fn exact(text: &str) -> Vec<TextMatch> {
    vec![TextMatch::Exact(Arc::from(text))]
}

fn regex(text: &str) -> Vec<TextMatch> {
    vec![TextMatch::Regex(Arc::from(text))]
}

fn matches(rule: IdentityRule, holder: &Holder) -> bool {
    IdentityRules::new(&[rule]).unwrap().check(holder).is_ok()
}

#[test]
fn every_field_must_match_by_one_value_and_one_rule_is_enough() {
    let anna = IdentityRule { dns: exact("client.example.com"), ..IdentityRule::default() };
    let wrong = IdentityRule { dns: exact("other.example.com"), ..IdentityRule::default() };
    let both = IdentityRule { subject: exact("CN=bob"), ..anna.clone() };
    let either = IdentityRule { dns: [exact("x"), exact("client.example.com")].concat(), ..IdentityRule::default() };
    let check = |rules: &[IdentityRule]| IdentityRules::new(rules).unwrap().check(&holder()).is_ok();
    assert!(check(&[]));
    assert!(check(std::slice::from_ref(&anna)));
    assert!(!check(std::slice::from_ref(&wrong)));
    assert!(!check(std::slice::from_ref(&both)), "all fields");
    assert!(check(&[either]), "any value");
    assert!(check(&[wrong, both, anna]), "any rule");
}

#[test]
fn a_refusal_names_the_subject_escaped() {
    let rules = IdentityRules::new(&[IdentityRule { dns: exact("x"), ..IdentityRule::default() }]).unwrap();
    let refusal = rules.check(&holder()).unwrap_err();
    assert_eq!(refusal, Refusal::new(Cause::Identity, r"subject not allowed: CN=anna,OU=ops\, eu,O=Example"));
}

#[test]
fn case_counts_as_the_kind_of_name_says() {
    let cases = [
        (IdentityRule { dns: exact("CLIENT.example.COM"), ..IdentityRule::default() }, true),
        (IdentityRule { dns: regex(r"client\.EXAMPLE\.com"), ..IdentityRule::default() }, true),
        (IdentityRule { email: exact("Anna@EXAMPLE.com"), ..IdentityRule::default() }, true),
        (IdentityRule { email: exact("anna@example.com"), ..IdentityRule::default() }, false),
        (IdentityRule { email: vec![TextMatch::Suffix("@Example.COM".into())], ..IdentityRule::default() }, true),
        (IdentityRule { email: vec![TextMatch::Prefix("Anna@".into())], ..IdentityRule::default() }, true),
        (IdentityRule { uri: exact("SPIFFE://example.org/ns/a/sa/b"), ..IdentityRule::default() }, false),
        (IdentityRule { subject: exact(r"CN=Anna,OU=ops\, eu,O=Example"), ..IdentityRule::default() }, false),
        (IdentityRule { subject: vec![TextMatch::Prefix("CN=anna,".into())], ..IdentityRule::default() }, true),
    ];
    for (rule, expected) in cases {
        assert_eq!(matches(rule.clone(), &holder()), expected, "{rule:?}");
    }
}

#[test]
fn a_regular_expression_matches_the_whole_text() {
    let dns = |text: &str| IdentityRule { dns: regex(text), ..IdentityRule::default() };
    assert!(matches(dns("client.*"), &holder()));
    for part in ["client", "example", "x|client", "(?m)client$", "^client"] {
        assert!(!matches(dns(part), &holder()), "{part}");
    }
    for broken in ["a)|(b", "(", "[", r"\p{Nope}", "(?:x{1000}){1000}"] {
        let error = IdentityRules::new(&[dns(broken)]).unwrap_err();
        assert!(error.starts_with(&format!("the regular expression `{broken}` is not usable: ")), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn control_characters_match_nothing() {
    let anything = || regex("(?s).*");
    for evil in ["good.example.com\0.evil.com", "good.example.com\n", "\u{85}"] {
        let holder = Holder {
            dns: vec![evil.to_owned()],
            emails: vec![evil.to_owned()],
            uris: vec![evil.to_owned()],
            subject: r"CN=good.example.com\00.evil.com".to_owned(),
            ..holder()
        };
        assert!(!matches(IdentityRule { dns: anything(), ..IdentityRule::default() }, &holder));
        assert!(!matches(IdentityRule { email: anything(), ..IdentityRule::default() }, &holder));
        assert!(!matches(IdentityRule { uri: anything(), ..IdentityRule::default() }, &holder));
        assert!(!matches(IdentityRule { subject: anything(), ..IdentityRule::default() }, &holder));
    }
    let backslash = Holder { subject: r"CN=a\\00".to_owned(), ..holder() };
    assert!(matches(IdentityRule { subject: anything(), ..IdentityRule::default() }, &backslash), "a real backslash");
}

#[test]
fn networks_contain_addresses_of_their_own_family() {
    let network = |block: &str| IdentityRule { ip: vec![Network::parse(block).unwrap()], ..IdentityRule::default() };
    for (block, expected) in [
        ("10.1.0.0/16", true),
        ("10.1.2.3/32", true),
        ("10.1.2.4/32", false),
        ("10.2.0.0/16", false),
        ("0.0.0.0/0", true),
        ("2001:db8::/32", true),
        ("2001:db9::/32", false),
        ("::/0", true),
        ("::ffff:10.1.2.3/128", false),
    ] {
        assert_eq!(matches(network(block), &holder()), expected, "{block}");
    }
}

#[test]
fn pins_compare_the_whole_hash() {
    let certificate = |byte| IdentityRule { certificate_sha256: vec![[byte; 32]], ..IdentityRule::default() };
    let key = |byte| IdentityRule { public_key_sha256: vec![[byte; 32]], ..IdentityRule::default() };
    assert!(matches(certificate(1), &holder()) && !matches(certificate(2), &holder()));
    assert!(matches(key(2), &holder()) && !matches(key(1), &holder()));
}

#[test]
fn a_spiffe_id_is_the_only_uri_and_well_formed() {
    let rule = || IdentityRule { spiffe: regex(".*"), ..IdentityRule::default() };
    let with = |uris: &[&str]| Holder { uris: uris.iter().map(|uri| (*uri).to_owned()).collect(), ..holder() };
    for good in ["spiffe://example.org", "spiffe://a-b_c.1/x/Y.z", "spiffe://d/.../x"] {
        assert!(matches(rule(), &with(&[good])), "{good}");
    }
    let long = format!("spiffe://example.org/{}", "a".repeat(2048));
    for bad in [
        "spiffe://",
        "spiffe:///x",
        "spiffe://example.org/",
        "spiffe://example.org//x",
        "spiffe://example.org/./x",
        "spiffe://example.org/../x",
        "spiffe://example.org/x/",
        "spiffe://Example.org/x",
        "SPIFFE://example.org/x",
        "spiffe://example.org:80/x",
        "spiffe://user@example.org/x",
        "spiffe://example.org/x?y",
        "spiffe://example.org/x#y",
        "spiffe://example.org/%41",
        "https://example.org/x",
        &long,
    ] {
        assert!(!matches(rule(), &with(&[bad])), "{bad}");
    }
    assert!(!matches(rule(), &with(&[])));
    assert!(!matches(rule(), &with(&["spiffe://example.org/a", "https://example.org"])), "two URIs");
}
