//! Chains made by the `openssl` program, because that is what users have: with and without extensions, RSA and ECDSA.

use std::fs;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::trust::{Anchors, IdentityRules};

/// A folder of certificates; each call runs `openssl` in it.
struct Pki(TempDir);

/// A key that is made fast; one RSA test is enough.
const EC: &str = "ec -pkeyopt ec_paramgen_curve:P-256";

impl Pki {
    fn new() -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        pki.ca("ca", None);
        pki
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn key(&self, name: &str, kind: &str) {
        self.openssl(&format!("genpkey -algorithm {kind} -out {name}.key"));
        self.openssl(&format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
    }

    /// A certificate authority, self-signed or issued by another one.
    fn ca(&self, name: &str, issuer: Option<&str>) {
        let extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";
        if let Some(issuer) = issuer {
            return self.issue(name, issuer, EC, Some(extensions), 3650);
        }
        self.key(name, EC);
        fs::write(self.0.path().join("ext"), extensions).unwrap();
        self.openssl(&format!("x509 -req -in {name}.csr -signkey {name}.key -extfile ext -days 3650 -out {name}.pem"));
    }

    /// A certificate by `issuer`; without extensions `openssl x509 -req` makes it X.509 v1.
    fn issue(&self, name: &str, issuer: &str, kind: &str, extensions: Option<&str>, days: i32) {
        self.key(name, kind);
        let mut command = format!(
            "x509 -req -in {name}.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial -days {days} -out {name}.pem"
        );
        if let Some(extensions) = extensions {
            fs::write(self.0.path().join("ext"), extensions).unwrap();
            command += " -extfile ext";
        }
        self.openssl(&command);
    }

    fn pem(&self, names: &[&str]) -> Vec<u8> {
        names.iter().flat_map(|name| fs::read(self.0.path().join(format!("{name}.pem"))).unwrap()).collect()
    }

    /// The verdict on the chain `names` under the authorities `anchors`.
    fn judge(&self, names: &[&str], anchors: &[&str], depth: u32) -> Result<UnixTime, Refusal> {
        self.judge_at(names, anchors, depth, UnixTime::now())
    }

    fn judge_at(&self, names: &[&str], anchors: &[&str], depth: u32, now: UnixTime) -> Result<UnixTime, Refusal> {
        let chain = if names.is_empty() { vec![] } else { super::super::certificates(&self.pem(names)).unwrap() };
        let anchors = Anchors::from_pem(&self.pem(anchors)).unwrap();
        judge(&chain, &requirements(anchors, depth), now).map(|verified| verified.valid_until)
    }
}

fn requirements(anchors: Anchors, depth: u32) -> Requirements {
    Requirements { anchors, depth, identities: IdentityRules::default(), revocation: None }
}

fn why(verdict: Result<UnixTime, Refusal>) -> String {
    verdict.expect_err("the chain should be refused").to_string()
}

const V3: Option<&str> = Some("basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth\n");

#[test]
fn leaves_of_version_3_and_1_are_trusted_under_their_own_ca_only() {
    let pki = Pki::new();
    pki.ca("other", None);
    pki.issue("v3", "ca", EC, V3, 30);
    pki.issue("v1", "ca", EC, None, 30);
    pki.issue("rsa", "ca", "rsa -pkeyopt rsa_keygen_bits:2048", None, 30);
    for name in ["v3", "v1", "rsa"] {
        pki.judge(&[name], &["ca"], 1).unwrap_or_else(|why| panic!("{name}: {why}"));
        pki.judge(&[name], &["ca"], 0).unwrap_or_else(|why| panic!("{name} needs no intermediate: {why}"));
        pki.judge(&[name], &["other", "ca"], 1).unwrap();
        let refusal = why(pki.judge(&[name], &["other"], 1));
        assert_eq!(refusal, "client certificate verification is not passed: FAILED:unknown issuer", "{name}");
    }
    assert_eq!(why(pki.judge(&[], &["ca"], 1)), "client certificate was not present");
}

#[test]
fn depth_counts_the_intermediates_for_both_verifiers() {
    let pki = Pki::new();
    pki.ca("i1", Some("ca"));
    pki.ca("i2", Some("i1"));
    for (leaf, extensions) in [("v3", V3), ("v1", None)] {
        pki.issue(leaf, "i2", EC, extensions, 30);
        let chain = [leaf, "i2", "i1"];
        pki.judge(&chain, &["ca"], 2).unwrap();
        assert!(pki.judge(&chain, &["ca"], 1).is_err(), "{leaf}");
        assert!(pki.judge(&[leaf, "i2"], &["ca"], 2).is_err(), "{leaf}: an intermediate is missing");
        pki.judge(&[leaf, "i2"], &["i1"], 1).unwrap_or_else(|why| panic!("{leaf}: an intermediate as anchor: {why}"));
    }
    assert!(why(pki.judge(&["v3", "i2", "i1"], &["ca"], 1)).ends_with("FAILED:depth 2 exceeds 1"));
}

#[test]
fn ten_intermediates_work_where_the_depth_allows_them() {
    let pki = Pki::new();
    let names: Vec<_> = (0..=10).map(|i| if i == 0 { "ca".to_owned() } else { format!("i{i}") }).collect();
    for pair in names.windows(2) {
        pki.ca(&pair[1], Some(&pair[0]));
    }
    pki.issue("leaf", "i10", EC, V3, 30);
    let mut chain = vec!["leaf"];
    chain.extend(names[1..].iter().rev().map(String::as_str));
    pki.judge(&chain, &["ca"], 10).unwrap();
    assert!(pki.judge(&chain, &["ca"], 9).is_err());
    assert!(pki.judge(&chain, &["ca"], 1).is_err());
}

#[test]
fn a_certificate_of_version_1_vouches_for_nobody() {
    let pki = Pki::new();
    pki.issue("v1", "ca", EC, None, 30);
    for (leaf, extensions) in [("under-v3", V3), ("under-v1", None)] {
        pki.issue(leaf, "v1", EC, extensions, 30);
        assert!(pki.judge(&[leaf, "v1"], &["ca"], 5).is_err(), "{leaf}");
    }
    assert!(Anchors::from_pem(&pki.pem(&["v1"])).unwrap_err().contains("X.509 v1"));
    assert!(Anchors::from_pem(&pki.pem(&["under-v3"])).unwrap_err().contains("CA:TRUE"));
}

#[test]
fn a_leaf_vouches_for_nobody() {
    let pki = Pki::new();
    pki.issue("leaf", "ca", EC, V3, 30);
    for (name, extensions) in [("forged3", V3), ("forged1", None)] {
        pki.issue(name, "leaf", EC, extensions, 30);
        assert!(pki.judge(&[name, "leaf"], &["ca"], 5).is_err(), "{name}");
    }
}

#[test]
fn time_is_judged_for_leaf_and_anchor_and_bounds_the_verdict() {
    let pki = Pki::new();
    for (name, extensions) in [("v3", V3), ("v1", None)] {
        pki.issue(name, "ca", EC, extensions, 30);
        let now = UnixTime::now();
        let later = |days: u64| UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + days * 86_400));
        let until = pki.judge_at(&[name], &["ca"], 1, now).unwrap();
        assert!(until > later(29) && until <= later(30), "{name}: valid until its notAfter");
        assert!(why(pki.judge_at(&[name], &["ca"], 1, later(40))).contains("expired"), "{name}");
        assert!(why(pki.judge_at(&[name], &["ca"], 1, later(4000))).contains("every client CA certificate"), "{name}");
        let before = UnixTime::since_unix_epoch(Duration::from_secs(1));
        assert!(pki.judge_at(&[name], &["ca"], 1, before).is_err(), "{name}");
    }
}

#[test]
fn the_verdict_ends_with_the_first_anchor_that_expires() {
    let pki = Pki::new();
    pki.key("soon", EC);
    fs::write(pki.0.path().join("ext"), "basicConstraints=critical,CA:TRUE\n").unwrap();
    pki.openssl("x509 -req -in soon.csr -signkey soon.key -extfile ext -days 5 -out soon.pem");
    pki.issue("user", "soon", EC, V3, 30);
    let now = UnixTime::now();
    let later = |days: u64| UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + days * 86_400));
    for anchors in [&["soon"][..], &["soon", "ca"]] {
        let until = pki.judge_at(&["user"], anchors, 1, now).unwrap();
        assert!(until > later(4) && until <= later(5), "{anchors:?}");
    }
    assert!(why(pki.judge_at(&["user"], &["soon", "ca"], 1, later(6))).contains("unknown issuer"));
}

#[test]
fn a_chain_of_many_certificates_of_one_name_is_not_searched() {
    let pki = Pki::new();
    let mut names = vec!["user".to_owned()];
    for index in 0..10 {
        let name = format!("x{index}");
        pki.openssl(&format!("genpkey -algorithm {EC} -out {name}.key"));
        pki.openssl(&format!("req -x509 -new -key {name}.key -subj /CN=x -days 30 -out {name}.pem"));
        names.push(name);
    }
    pki.issue("user", "x0", EC, V3, 30);
    let chain = |length: usize| names.iter().take(length).map(String::as_str).collect::<Vec<_>>();
    assert!(why(pki.judge(&chain(11), &["ca"], 5)).contains("too many certificates of one name"));
    assert!(why(pki.judge(&chain(4), &["ca"], 5)).contains("unknown issuer"));
    pki.judge(&chain(4), &["x0"], 0).unwrap();
}

#[test]
fn a_certificate_authority_is_no_client_for_either_verifier() {
    let pki = Pki::new();
    let names: Vec<_> = (0..=7).map(|i| if i == 0 { "ca".to_owned() } else { format!("i{i}") }).collect();
    for pair in names.windows(2) {
        pki.ca(&pair[1], Some(&pair[0]));
    }
    let usage = "basicConstraints=CA:TRUE\nkeyUsage=digitalSignature,keyCertSign\n";
    pki.issue("deep", "i7", EC, Some(usage), 30);
    pki.issue("flat", "ca", EC, Some(usage), 30);
    let mut chain = vec!["deep"];
    chain.extend(names[1..].iter().rev().map(String::as_str));
    for chain in [chain, vec!["flat"]] {
        assert!(why(pki.judge(&chain, &["ca"], 10)).contains("certificate authority"), "{chain:?}");
    }
}

#[test]
fn key_usage_and_extended_key_usage_are_kept() {
    let pki = Pki::new();
    let extensions = [
        ("server", "extendedKeyUsage=serverAuth\n", "extendedKeyUsage does not allow clientAuth"),
        ("encipher", "keyUsage=keyEncipherment\n", "keyUsage does not allow digitalSignature"),
    ];
    for (name, extensions, reason) in extensions {
        pki.issue(name, "ca", EC, Some(extensions), 30);
        assert!(why(pki.judge(&[name], &["ca"], 1)).ends_with(reason), "{name}");
    }
}

#[test]
fn weak_signatures_are_refused_in_every_version() {
    let pki = Pki::new();
    for (name, extensions) in [("v3", V3), ("v1", None)] {
        pki.key(name, EC);
        fs::write(pki.0.path().join("ext"), extensions.unwrap_or_default()).unwrap();
        let extfile = if extensions.is_some() { "-extfile ext" } else { "" };
        pki.openssl(&format!(
            "x509 -req -sha1 -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out {name}.pem {extfile}"
        ));
        assert!(pki.judge(&[name], &["ca"], 1).is_err(), "{name}");
    }
    pki.issue("short", "ca", "rsa -pkeyopt rsa_keygen_bits:1024", None, 30);
    assert!(why(pki.judge(&["short"], &["ca"], 1)).contains("RSA key of 1024 bits"));
}

#[test]
fn garbage_is_refused_without_a_panic() {
    let pki = Pki::new();
    pki.issue("v1", "ca", EC, None, 30);
    let required = requirements(Anchors::from_pem(&pki.pem(&["ca"])).unwrap(), 1);
    let good = super::super::certificates(&pki.pem(&["v1"])).unwrap().remove(0);
    for length in 0..good.len() {
        let cut = CertificateDer::from(good.as_ref()[..length].to_vec());
        assert!(judge(std::slice::from_ref(&cut), &required, UnixTime::now()).is_err());
        // A broken intermediate must not make the verifier read beyond it.
        let _ = judge(&[good.clone(), cut], &required, UnixTime::now());
    }
    for at in 0..good.len() {
        let mut changed = good.as_ref().to_vec();
        changed[at] ^= 0x55;
        assert!(judge(&[CertificateDer::from(changed)], &required, UnixTime::now()).is_err(), "byte {at} changed");
    }
    for pem in ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(Anchors::from_pem(pem.as_bytes()).is_err(), "{pem:?}");
    }
}

/// One intermediate for webpki, seven for AWS-LC: both give the same answers, with the same causes.
#[test]
fn both_verifiers_judge_every_kind_of_certificate_alike() {
    use crate::trust::testing::{Entity, authority, client, requirements, verdict, why};
    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

    type Change<'a> = &'a dyn Fn(&mut CertificateParams);

    let extension = |critical| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(critical);
        extension
    };
    let eku = |usages: &[ExtendedKeyUsagePurpose], params: &mut CertificateParams| {
        params.extended_key_usages = usages.to_vec();
    };
    let no_client = "usage: extendedKeyUsage does not allow clientAuth";
    let leaves: &[(&str, Change<'_>, &str)] = &[
        ("no usage", &|p| eku(&[], p), ""),
        ("both usages", &|p| eku(&[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth], p), ""),
        ("serverAuth", &|p| eku(&[ExtendedKeyUsagePurpose::ServerAuth], p), no_client),
        ("anyExtendedKeyUsage", &|p| eku(&[ExtendedKeyUsagePurpose::Any], p), no_client),
        ("digitalSignature", &|p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature], ""),
        (
            "keyEncipherment",
            &|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment],
            "usage: keyUsage does not allow digitalSignature",
        ),
        ("unknown extension", &|p| p.custom_extensions = vec![extension(false)], ""),
        (
            "unknown critical extension",
            &|p| p.custom_extensions = vec![extension(true)],
            "invalid: a critical extension is not known",
        ),
        (
            "CA:TRUE",
            &|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "usage: the client certificate is a certificate authority (CA:TRUE)",
        ),
        ("CA:FALSE", &|p| p.is_ca = IsCa::ExplicitNoCa, ""),
        ("expired", &|p| p.not_after = rcgen::date_time_ymd(2030, 5, 29), "expired: certificate has expired 3d ago"),
        (
            "not yet valid",
            &|p| p.not_before = rcgen::date_time_ymd(2030, 6, 2),
            "not_yet_valid: certificate is not yet valid",
        ),
    ];
    let root = Entity::root("root");
    for length in [1, 7] {
        let chain = root.intermediates(length);
        for (name, change, expected) in leaves {
            let mut params = client("anna", 1);
            change(&mut params);
            let leaf = chain[0].issue(params);
            let path: Vec<_> = [&leaf].into_iter().chain(&chain).collect();
            let outcome = verdict(&path, &requirements(&[&root], 9));
            let outcome = if outcome.is_ok() { String::new() } else { why(outcome) };
            assert_eq!(outcome, *expected, "{name}, {length} intermediates");
        }
    }

    let no_authority = |params: &mut CertificateParams| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![];
    };
    let issuers: &[(&str, Change<'_>, &str)] = &[
        ("expired", &|p| p.not_after = rcgen::date_time_ymd(2030, 5, 29), "expired: certificate has expired 3d ago"),
        ("not yet valid", &|p| p.not_before = rcgen::date_time_ymd(2030, 6, 2), "not_yet_valid: "),
        ("CA:FALSE", &no_authority, "usage: "),
        ("serverAuth", &|p| eku(&[ExtendedKeyUsagePurpose::ServerAuth], p), "usage: "),
        ("unknown critical extension", &|p| p.custom_extensions = vec![extension(true)], "invalid: "),
    ];
    for length in [0, 7] {
        for (name, change, expected) in issuers {
            let chain = root.intermediates(length);
            let mut params = authority("issuer");
            change(&mut params);
            let issuer = chain.first().unwrap_or(&root).issue(params);
            let leaf = issuer.issue(client("anna", 1));
            let path: Vec<_> = [&leaf, &issuer].into_iter().chain(&chain).collect();
            let outcome = why(verdict(&path, &requirements(&[&root], 9)));
            assert!(outcome.starts_with(expected), "{name}, {length}: {outcome}");
        }
        let chain = root.intermediates(length + 1);
        let leaf = chain[0].issue(client("anna", 1));
        let path: Vec<_> = [&leaf].into_iter().chain(&chain).collect();
        let stranger = Entity::root("root");
        let outcome = why(verdict(&path, &requirements(&[&stranger], 9)));
        assert!(outcome.starts_with("unknown_issuer: unknown issuer"), "{length}: {outcome}");
        let missing: Vec<_> = path[..=length].to_vec();
        assert_eq!(why(verdict(&missing, &requirements(&[&root], 9))), "unknown_issuer: unknown issuer", "{length}");
        let shallow = why(verdict(&path, &requirements(&[&root], u32::try_from(length).unwrap())));
        assert_eq!(shallow, format!("depth: depth {} exceeds {length}", length + 1));
        if length > 0 {
            assert_eq!(why(verdict(&path, &requirements(&[&root], 1))), "depth: depth 8 exceeds 1");
        }
    }
}

#[test]
fn any_number_of_certificates_is_judged_in_bounded_work() {
    use crate::trust::testing::{Entity, NOW, at, client, requirements};
    let root = Entity::root("root");
    let leaf = root.issue(client("anna", 1));
    let required = requirements(&[&root], 100);
    // As many as fit into the 64 KiB of a handshake message, some of the same name and some not.
    let crowd: Vec<_> = root.intermediates(60).into_iter().map(|entity| entity.der).collect();
    let chain: Vec<_> = std::iter::once(leaf.der.clone()).chain(crowd).collect();
    super::super::judge(&chain, &required, at(NOW)).unwrap();
}
