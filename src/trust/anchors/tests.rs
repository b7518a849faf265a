use rcgen::{BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use super::*;
use crate::trust::testing::{DAY, Entity, NOW, at, authority, client, params, requirements, verdict, why};

const LONG_KEY: &str = "RSA key of 16384 bits is too long";

/// An RSA key of so many bits, without its private half.
struct Rsa(Vec<u8>);
impl Rsa {
    fn new(bits: usize) -> Self {
        let mut modulus = vec![0xc5; bits / 8 + 1];
        modulus[0] = 0;
        Self(sequence(0x30, &[sequence(0x02, &modulus), vec![0x02, 3, 1, 0, 1]].concat()))
    }
}

/// DER with a length of two bytes.
fn sequence(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], content].concat()
}

impl rcgen::PublicKeyData for Rsa {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

#[test]
fn good_certificates_are_taken_and_the_others_named() {
    let (one, two) = (Entity::root("one"), Entity::root("two"));
    let leaf = one.issue(client("anna", 1));
    let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
    let first = [one.pem.as_str(), broken, &leaf.pem].concat();
    let (anchors, left_out) = Anchors::read([first.as_bytes(), two.pem.as_bytes(), b"", one.pem.as_bytes()]);
    let subjects: Vec<_> = anchors.as_ref().unwrap().iter().map(Anchor::subject).collect();
    assert_eq!(subjects.len(), 2);
    assert!(subjects.contains(&"CN=one") && subjects.contains(&"CN=two"));
    let why: Vec<_> = left_out.iter().map(|(bundle, why)| (*bundle, why.as_str())).collect();
    assert_eq!(why[0].0, 0);
    assert!(why[0].1.starts_with("holds no readable PEM"), "{}", why[0].1);
    let no_authority = "certificate 3 (CN=anna) is no certificate authority: basicConstraints is not CA:TRUE";
    assert_eq!(why[1], (0, no_authority));
    assert_eq!(why[2].0, 2);
    assert!(why[2].1.starts_with("holds no PEM certificate"));
    assert_eq!(why.len(), 3);

    let (none, left_out) = Anchors::read([leaf.pem.as_bytes()]);
    assert_eq!(none.unwrap_err(), left_out[0].1);
    assert!(Anchors::read([]).0.is_err());
    assert_eq!(Anchors::from_pem([one.pem, leaf.pem].concat().as_bytes()).unwrap_err(), no_authority.replace('3', "2"));
}

#[test]
fn unusable_authorities_are_left_out_with_the_reason() {
    let root = Entity::root("root");
    let mut critical = authority("x");
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    critical.custom_extensions.push(extension);
    let mut no_signing = authority("x");
    no_signing.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let mut servers = authority("x");
    servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let pem = |key: &dyn Fn() -> rcgen::Certificate| key().pem();
    let issuer = KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(authority("root"), issuer);
    let cases = [
        (root.issue(critical).pem, "has a critical extension that is not known: 1.2.3.4"),
        (root.issue(no_signing).pem, "may not sign certificates: keyUsage lacks keyCertSign"),
        (root.issue(servers).pem, "may not vouch for clients: extendedKeyUsage lacks clientAuth"),
        (pem(&|| authority("x").signed_by(&Rsa::new(1024), &issuer).unwrap()), "RSA key of 1024 bits is too short"),
        (pem(&|| authority("x").signed_by(&Rsa::new(16_384), &issuer).unwrap()), LONG_KEY),
    ];
    for (pem, reason) in cases {
        let error = Anchors::from_pem(pem.as_bytes()).unwrap_err();
        assert!(error.starts_with("certificate 1 (CN=x) ") && error.ends_with(reason), "{error}");
    }
}

#[test]
fn weak_and_oversized_client_keys_are_refused_before_any_arithmetic() {
    let key = KeyPair::generate().unwrap();
    let root_params = authority("root");
    let pem = root_params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(root_params, key);
    let mut required = requirements(&[&Entity::root("x")], 10);
    required.anchors = Anchors::from_pem(pem.as_bytes()).unwrap();
    for (bits, reason) in [(1024, "weak: RSA key of 1024 bits is too short"), (16_384, &format!("weak: {LONG_KEY}"))] {
        let leaf = client("anna", 1).signed_by(&Rsa::new(bits), &issuer).unwrap();
        assert_eq!(why(super::super::judge(&[leaf.der().clone()], &required, at(NOW))), reason);
    }
    let leaf = client("anna", 1).signed_by(&Rsa::new(4096), &issuer).unwrap();
    super::super::judge(&[leaf.der().clone()], &required, at(NOW)).unwrap();
    // As an intermediate: neither verifier uses the key.
    let weak = authority("weak").signed_by(&Rsa::new(16_384), &issuer).unwrap().der().clone();
    let other = Entity::root("weak");
    for extra in [0, 7] {
        let mut chain = vec![other.issue(client("anna", 1)).der, weak.clone()];
        chain.extend(Entity::root("y").intermediates(extra).into_iter().map(|entity| entity.der));
        assert!(super::super::judge(&chain, &required, at(NOW)).is_err());
    }
}

#[test]
fn a_self_signed_certificate_is_a_pin_of_itself_whether_authority_or_not() {
    // What `openssl req -x509` makes says CA:TRUE and has no keyUsage.
    let mut plain = params("anna");
    plain.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for pinned in [plain, params("anna"), client("anna", 1)] {
        let pin = Entity::self_signed(pinned);
        let required = requirements(&[&pin], 0);
        let verified = verdict(&[&pin], &required).unwrap();
        assert_eq!(verified.anchor(), required.anchors.iter().next().unwrap().certificate_sha256());
        let chain = [pin.der.clone()];
        assert!(super::super::judge(&chain, &required, at(NOW + 365 * DAY)).is_err(), "expired");
        let other = requirements(&[&Entity::root("anna")], 0);
        assert!(verdict(&[&pin], &other).is_err(), "another certificate of that name");
    }
}

#[test]
fn a_pin_that_is_no_authority_vouches_for_nobody_else() {
    let pin = Entity::self_signed(params("anna"));
    let leaf = pin.issue(client("mallory", 1));
    let ca = pin.issue(authority("mallory's"));
    let required = requirements(&[&pin], 10);
    assert!(verdict(&[&leaf], &required).is_err());
    assert!(verdict(&[&leaf, &pin], &required).is_err());
    let below = ca.intermediates(7);
    let deep = below[0].issue(client("mallory", 2));
    let chain: Vec<_> = [&deep].into_iter().chain(&below).chain([&ca, &pin]).collect();
    assert!(verdict(&chain, &required).is_err(), "nor for AWS-LC");
    let both = requirements(&[&pin, &Entity::root("root")], 10);
    assert!(verdict(&chain, &both).is_err());
}

#[test]
fn a_pin_keeps_to_its_usages() {
    let mut signing = authority("anna");
    signing.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let mut server = params("anna");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for (params, reason) in [
        (signing, "usage: keyUsage does not allow digitalSignature"),
        (server, "usage: extendedKeyUsage does not allow clientAuth"),
    ] {
        let pin = Entity::self_signed(params);
        assert_eq!(why(verdict(&[&pin], &requirements(&[&pin], 0))), reason);
    }
}

#[test]
fn the_path_length_of_an_anchor_counts_for_both_verifiers() {
    for length in [2_u8, 7] {
        let mut bounded = authority("root");
        bounded.is_ca = IsCa::Ca(BasicConstraints::Constrained(length - 1));
        let root = Entity::self_signed(bounded);
        let chain = root.intermediates(usize::from(length));
        let leaf = chain[0].issue(client("anna", 1));
        let path: Vec<_> = [&leaf].into_iter().chain(&chain).collect();
        assert!(why(verdict(&path, &requirements(&[&root], 10))).contains("pathLenConstraint"), "{length}");
        let fits = chain[1].issue(client("anna", 2));
        let path: Vec<_> = [&fits].into_iter().chain(&chain[1..]).collect();
        verdict(&path, &requirements(&[&root], 10)).unwrap_or_else(|why| panic!("{length}: {why}"));
    }
}
