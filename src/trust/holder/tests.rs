use rcgen::SanType;

use super::*;
use crate::trust::testing::{Entity, NOW, at, client, params, requirements};

fn with_names(names: Vec<SanType>) -> Entity {
    let mut params = params("anna, of\0 ops");
    params.serial_number = Some(rcgen::SerialNumber::from(0x00ab_cdef_u64));
    params.subject_alt_names = names;
    Entity::self_signed(params)
}

#[test]
fn everything_a_certificate_says_is_read() {
    let uri = SanType::URI("spiffe://example.org/a".try_into().unwrap());
    let names = vec![
        SanType::DnsName("*.Example.com".try_into().unwrap()),
        SanType::Rfc822Name("a@b.example".try_into().unwrap()),
        uri.clone(),
        SanType::IpAddress("10.1.2.3".parse().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
        uri,
    ];
    let entity = with_names(names);
    let holder = Holder::read(&entity.der).unwrap();
    assert_eq!(holder.subject, r"CN=anna\, of\00 ops");
    assert_eq!(holder.issuer, holder.subject);
    assert_eq!(holder.dns, ["*.Example.com"]);
    assert_eq!(holder.emails, ["a@b.example"]);
    assert_eq!(holder.uris, ["spiffe://example.org/a", "spiffe://example.org/a"], "each, to be counted");
    assert_eq!(holder.ips, ["10.1.2.3".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
    assert_eq!(holder.serial, [0xab, 0xcd, 0xef]);
    assert!(holder.not_before < NOW && NOW < holder.not_after);
    assert_eq!(holder.certificate_sha256, sha256(&entity.der));
    assert_ne!(holder.public_key_sha256, holder.certificate_sha256);
}

#[test]
fn a_name_with_nul_is_kept_as_it_is() {
    let holder =
        Holder::read(&with_names(vec![SanType::DnsName("good.example\0.evil.example".try_into().unwrap())]).der);
    assert_eq!(holder.unwrap().dns, ["good.example\0.evil.example"]);
}

#[test]
fn a_name_that_is_no_ascii_makes_the_rest_unreadable_and_no_rule_match() {
    use crate::model::{IdentityRule, TextMatch};
    let root = Entity::root("root");
    let mut params = client("anna", 1);
    // [6] URI twice: a SPIFFE id, and a byte that is no ASCII.
    let names = [&[0x30, 27, 0x86, 22][..], b"spiffe://example.org/a", &[0x86, 1, 0xff]].concat();
    params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], names));
    let leaf = root.issue(params);
    assert_eq!(Holder::read(&leaf.der), None);
    let mut required = requirements(&[&root], 0);
    crate::trust::judge(std::slice::from_ref(&leaf.der), &required, at(NOW)).unwrap();
    let rule = IdentityRule { spiffe: vec![TextMatch::Regex(".*".into())], ..IdentityRule::default() };
    required.identities = crate::trust::IdentityRules::new(&[rule]).unwrap();
    assert!(crate::trust::judge(std::slice::from_ref(&leaf.der), &required, at(NOW)).is_err());
}

#[test]
fn garbage_is_nobody() {
    let entity = with_names(vec![]);
    let longer = [entity.der.as_ref(), b"x"].concat();
    for der in [b"".to_vec(), b"garbage".to_vec(), longer] {
        assert_eq!(Holder::read(&CertificateDer::from(der)), None);
    }
}
