use rcgen::{CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, KeyUsagePurpose, date_time_ymd};

use super::*;
use crate::trust::crls;
use crate::trust::testing::{DAY, Entity, NOW, at, authority, client, params, requirements, revocation, verdict, why};

/// Both verifiers must give the same answers: webpki judges a chain with two intermediates, AWS-LC one with seven.
const LENGTHS: [usize; 2] = [2, 7];

#[test]
fn a_revoked_leaf_and_a_revoked_intermediate_are_refused_with_the_date() {
    let root = Entity::root("root");
    for length in LENGTHS {
        let chain = root.intermediates(length);
        let issue = |serial| chain[0].issue(client("anna", serial));
        let path = |leaf| std::iter::once(leaf).chain(&chain).collect::<Vec<_>>();
        let (good, bad) = (issue(7), issue(8));
        let mut lists: Vec<_> = chain[1..].iter().chain([&root]).map(|issuer| issuer.list(&[], 12)).collect();
        lists.push(chain[0].list(&[8, 9], 12));
        let mut required = requirements(&[&root], 10);
        required.revocation = Some(revocation(&lists, false, false));
        verdict(&path(&good), &required).unwrap();
        assert_eq!(why(verdict(&path(&bad), &required)), "revoked: revoked 2030-05-20 (keyCompromise)", "{length}");

        let (_, lowest) = X509Certificate::from_der(&chain[0].der).unwrap();
        let above = chain[1].list_with(&[], 12, |list| {
            list.revoked_certs.push(rcgen::RevokedCertParams {
                invalidity_date: None,
                reason_code: None,
                revocation_time: date_time_ymd(2030, 5, 1),
                serial_number: lowest.raw_serial().to_vec().into(),
            });
        });
        lists.push(above);
        required.revocation = Some(revocation(&lists, false, false));
        let name = rfc4514(lowest.subject());
        assert_eq!(why(verdict(&path(&good), &required)), format!("revoked: intermediate {name}: revoked 2030-05-01"));
        required.revocation = Some(revocation(&lists, false, true));
        verdict(&path(&good), &required).unwrap_or_else(|why| panic!("leaf only, {length}: {why}"));
    }
}

#[test]
fn without_a_valid_list_a_certificate_is_refused_unless_unknown_is_allowed() {
    let (root, other) = (Entity::root("root"), Entity::root("other"));
    let impostor = Entity::root("root");
    let leaf = root.issue(client("anna", 7));
    let cases = [
        ("no list", vec![], "no valid revocation list of issuer CN=root"),
        ("another issuer's", vec![other.list(&[], 12)], "no valid revocation list of issuer CN=root"),
        ("expired", vec![root.list(&[], 5)], "the revocation list of CN=root has expired 31d ago"),
        (
            "another key's",
            vec![impostor.list(&[7], 12)],
            "the revocation list of CN=root is not signed by the issuer's key",
        ),
    ];
    let mut required = requirements(&[&root], 0);
    for (name, lists, reason) in cases {
        required.revocation = Some(revocation(&lists, false, false));
        assert_eq!(why(verdict(&[&leaf], &required)), format!("revocation_unknown: {reason}"), "{name}");
        required.revocation = Some(revocation(&lists, true, false));
        let until = verdict(&[&leaf], &required).unwrap_or_else(|why| panic!("{name}: {why}")).valid_until;
        assert!(until > at(NOW + 200 * DAY), "{name}: bounded by the certificate only");
    }
}

#[test]
fn what_an_expired_list_revokes_stays_revoked() {
    let root = Entity::root("root");
    let leaf = root.issue(client("anna", 7));
    let mut required = requirements(&[&root], 0);
    for allow_unknown in [true, false] {
        required.revocation = Some(revocation(&[root.list(&[7], 2)], allow_unknown, false));
        assert!(why(verdict(&[&leaf], &required)).starts_with("revoked: "));
    }
}

#[test]
fn every_list_of_an_issuer_counts_whatever_their_order() {
    let (root, impostor) = (Entity::root("root"), Entity::root("root"));
    let (good, bad) = (root.issue(client("good", 1)), root.issue(client("bad", 2)));
    let mut lists = vec![impostor.list(&[1], 12), root.list(&[], 2), root.list(&[2], 9), root.list(&[], 12)];
    let mut required = requirements(&[&root], 0);
    for _ in 0..lists.len() {
        lists.rotate_left(1);
        required.revocation = Some(revocation(&lists, false, false));
        let until = verdict(&[&good], &required).unwrap().valid_until;
        let december = date_time_ymd(2030, 12, 1).unix_timestamp();
        assert_eq!(until, at(december), "until the last list that counts ends");
        assert!(why(verdict(&[&bad], &required)).starts_with("revoked: "));
    }
}

#[test]
fn a_verdict_ends_with_the_list_it_needs() {
    let root = Entity::root("root");
    let leaf = root.issue(client("anna", 7));
    let mut required = requirements(&[&root], 0);
    required.revocation = Some(revocation(&[root.list(&[], 7)], false, false));
    let july = date_time_ymd(2030, 7, 1).unix_timestamp();
    assert_eq!(verdict(&[&leaf], &required).unwrap().valid_until, at(july));
    let chain = [leaf.der.clone()];
    super::super::judge(&chain, &required, at(july)).unwrap();
    let late = super::super::judge(&chain, &required, at(july + 1));
    assert!(why(late).contains("has expired 0d ago"));
}

#[test]
fn a_shard_covers_the_certificates_that_name_it() {
    let root = Entity::root("root");
    let point = |uri: &str| CrlDistributionPoint { uris: vec![uri.to_owned()] };
    let shard = |uri: &str, scope, revoked: &[u64]| {
        root.list_with(revoked, 12, |list| {
            list.issuing_distribution_point =
                Some(CrlIssuingDistributionPoint { distribution_point: point(uri), scope });
        })
    };
    let leaf = |serial, uri: Option<&str>| {
        let mut params = client("anna", serial);
        params.crl_distribution_points.extend(uri.map(point));
        root.issue(params)
    };
    let (in_one, in_two, nowhere) = (leaf(1, Some("http://crl/1")), leaf(2, Some("http://crl/2")), leaf(3, None));
    let mut required = requirements(&[&root], 0);
    let shards = [shard("http://crl/1", None, &[]), shard("http://crl/2", None, &[2])];
    required.revocation = Some(revocation(&shards, false, false));
    verdict(&[&in_one], &required).unwrap();
    assert!(why(verdict(&[&in_two], &required)).starts_with("revoked: "));
    let uncovered = "revocation_unknown: the revocation list of CN=root does not cover the certificate";
    assert_eq!(why(verdict(&[&nowhere], &required)), uncovered);
    required.revocation = Some(revocation(&[shard("http://crl/1", Some(CrlScope::CaCertsOnly), &[])], false, false));
    assert_eq!(why(verdict(&[&in_one], &required)), uncovered);
    required.revocation = Some(revocation(&[shard("http://crl/1", Some(CrlScope::UserCertsOnly), &[])], false, false));
    verdict(&[&in_one], &required).unwrap();
}

#[test]
fn an_issuer_without_crl_sign_signs_no_list() {
    let mut forbidden = authority("root");
    forbidden.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = forbidden.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(forbidden, rcgen::KeyPair::from_pem(&key.serialize_pem()).unwrap());
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = client("anna", 7).signed_by(&leaf_key, &issuer).unwrap();
    // rcgen would not sign the list with the usage as it is.
    let permitted = rcgen::Issuer::new(authority("root"), key);
    let list = rcgen::CertificateRevocationListParams {
        crl_number: 1.into(),
        issuing_distribution_point: None,
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
        next_update: date_time_ymd(2030, 12, 1),
        revoked_certs: vec![],
        this_update: date_time_ymd(2030, 1, 1),
    };
    let list = list.signed_by(&permitted).unwrap().der().to_vec();
    let mut required = requirements(&[&Entity::root("x")], 0);
    required.anchors = super::super::Anchors::from_pem(pem.as_bytes()).unwrap();
    required.revocation = Some(revocation(&[list], false, false));
    let verdict = super::super::judge(&[leaf.der().clone()], &required, at(NOW));
    assert_eq!(why(verdict), "revocation_unknown: CN=root may not sign revocation lists: keyUsage lacks cRLSign");
}

#[test]
fn a_list_that_cannot_be_used_is_named() {
    let root = Entity::root("root");
    let good = root.list(&[1, 2], 12);
    let settings = RevocationSettings::default();
    let error = |list: Vec<u8>| Revocation::new(vec![good.clone(), list], settings).unwrap_err();
    assert_eq!(error(b"garbage".to_vec()), "revocation list 2 is no X.509 revocation list");
    assert_eq!(error([&good[..], b"x"].concat()), "revocation list 2 has bytes after its end");
    assert_eq!(error(root.der.to_vec()), "revocation list 2 is no X.509 revocation list");
    for length in 0..good.len() {
        assert!(RevocationList::read(good[..length].to_vec()).is_err(), "{length} bytes");
    }
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 0x55;
        let _ = Revocation::new(vec![changed], settings);
    }
}

#[test]
fn lists_of_openssl_are_read_in_both_versions_and_special_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let mut command = std::process::Command::new("openssl");
        let output = command.args(arguments.split_whitespace()).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let sections = "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\n[full]\nsubjectKeyIdentifier=none\n\
                    authorityKeyIdentifier=keyid\n[delta]\n2.5.29.27=critical,DER:020101\n\
                    [indirect]\nissuingDistributionPoint=critical,@i\n[i]\nfullname=URI:http://x\nindirectCRL=TRUE\n\
                    [reasons]\nissuingDistributionPoint=critical,@r\n[r]\nfullname=URI:http://x\nonlysomereasons=keyCompromise\n\
                    [unknown]\n1.2.3.4=critical,DER:0500\n";
    std::fs::write(folder.path().join("conf"), sections).unwrap();
    std::fs::write(folder.path().join("index"), "R\t300101000000Z\t261101000000Z,superseded\t0A\tunknown\t/CN=x\n")
        .unwrap();
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -subj /CN=ca -days 3650 -out ca.pem",
    );
    let list = |name: &str| {
        let extensions = if name == "v1" { String::new() } else { format!("-crlexts {name}") };
        openssl(&format!(
            "ca -config conf -gencrl -cert ca.pem -keyfile ca.key -crldays 30 -out {name}.crl {extensions}"
        ));
        std::fs::read(folder.path().join(format!("{name}.crl"))).unwrap()
    };
    let settings = RevocationSettings::default();
    for name in ["v1", "full"] {
        let read = Revocation::new(crls(&list(name)).unwrap(), settings).unwrap();
        let list = read.iter().next().unwrap();
        assert_eq!((list.issuer(), list.entries()), ("CN=ca", 1), "{name}");
        assert!(list.next_update() > 0 && read.next_update() == Some(list.next_update()));
    }
    let refused = [
        ("delta", "(CN=ca) is a delta list"),
        ("indirect", "(CN=ca) is an indirect list"),
        ("reasons", "(CN=ca) is about some revocation reasons only"),
        ("unknown", "(CN=ca) has a critical extension that is not known"),
    ];
    for (name, reason) in refused {
        let error = Revocation::new(crls(&list(name)).unwrap(), settings).unwrap_err();
        assert!(error.starts_with(&format!("revocation list 1 {reason}")), "{name}: {error}");
    }
    let two = [list("v1"), b"text between\n".to_vec(), list("full")].concat();
    assert_eq!(crls(&two).unwrap().len(), 2);
    let der = crls(&list("v1")).unwrap().remove(0);
    assert_eq!(crls(&der).unwrap(), [der]);
    for nothing in [&b""[..], b"garbage", b"-----BEGIN X509 CRL-----\nAAAA"] {
        assert!(crls(nothing).is_err());
    }
}

#[test]
fn a_pinned_certificate_needs_no_list() {
    let pin = Entity::self_signed(params("pin"));
    let mut required = requirements(&[&pin], 0);
    required.revocation = Some(revocation(&[], false, false));
    verdict(&[&pin], &required).unwrap();
}
