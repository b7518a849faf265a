use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

fn written(parts: &[(DnType, DnValue)]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in parts {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    rfc4514(X509Certificate::from_der(certificate.der()).unwrap().1.subject())
}

fn cn(text: &str) -> String {
    written(&[(DnType::CommonName, text.into())])
}

#[test]
fn the_last_part_comes_first() {
    let name = written(&[
        (DnType::CountryName, "DE".into()),
        (DnType::OrganizationName, "Example".into()),
        (DnType::OrganizationalUnitName, "ops".into()),
        (DnType::CommonName, "anna".into()),
    ]);
    assert_eq!(name, "CN=anna,OU=ops,O=Example,C=DE");
    assert_eq!(written(&[]), "");
    assert_eq!(
        written(&[(DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]), "a@b.c".into())]),
        "emailAddress=a@b.c"
    );
    assert_eq!(written(&[(DnType::CustomDnType(vec![1, 2, 3, 4]), "x".into())]), "1.2.3.4=x");
}

#[test]
fn special_characters_are_escaped_so_that_a_value_cannot_look_like_a_part() {
    for (value, text) in [
        ("a,O=Evil", r"CN=a\,O=Evil"),
        ("a+b;c<d>e\"f\\g=h", r#"CN=a\+b\;c\<d\>e\"f\\g=h"#),
        ("#a#", r"CN=\#a#"),
        (" a b ", r"CN=\ a b\ "),
        (" ", r"CN=\ "),
        ("zoë", "CN=zoë"),
        ("", "CN="),
    ] {
        assert_eq!(cn(value), text);
        assert!(!has_control(text), "{text}");
    }
}

#[test]
fn control_characters_are_hexadecimal_and_found_again() {
    for (value, text) in [
        ("a\0b", r"CN=a\00b"),
        ("a\r\nb", r"CN=a\0D\0Ab"),
        ("\u{7f}", r"CN=\7F"),
        ("\u{85}", r"CN=\C2\85"),
        ("\\\n", r"CN=\\\0A"),
    ] {
        assert_eq!(cn(value), text);
        assert!(has_control(text), "{text}");
    }
}

#[test]
fn every_kind_of_text_is_read_and_what_is_none_is_hexadecimal() {
    let bmp = DnValue::BmpString("zoë".try_into().unwrap());
    assert_eq!(written(&[(DnType::CommonName, bmp)]), "CN=zoë");
    let printable = DnValue::PrintableString("a b".try_into().unwrap());
    assert_eq!(written(&[(DnType::CommonName, printable)]), "CN=a b");
    let universal = DnValue::UniversalString("a".try_into().unwrap());
    assert_eq!(written(&[(DnType::CommonName, universal)]), "CN=#1c0400000061");
}
