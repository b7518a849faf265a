//! The demo's certificates.

use std::path::Path;
use std::{fs, io};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::{MTLS_HOST, OPEN_HOST};

/// Makes what is missing in `folder`: `ca`, `server` and `client`, which `ca` vouches for, and `stranger`, which another
/// authority does. Each is a `.pem` and a `.key` of an ECDSA P-256 key, valid for a year from yesterday.
pub(super) fn write(folder: &Path) -> anyhow::Result<()> {
    let names = ["ca", "server", "client", "stranger"];
    let exists =
        |name: &&str| folder.join(format!("{name}.pem")).exists() && folder.join(format!("{name}.key")).exists();
    if names.iter().all(exists) {
        return Ok(());
    }
    let ca = authority("Portcullis demo CA")?;
    let stranger_ca = authority("A CA that nobody trusts here")?;
    let hosts = [OPEN_HOST, MTLS_HOST, "localhost"].map(ToOwned::to_owned).to_vec();
    store(folder, "ca", &ca.certificate.pem(), &ca.issuer.key().serialize_pem())?;
    let server = leaf("Portcullis demo server", hosts, ExtendedKeyUsagePurpose::ServerAuth, &ca)?;
    store(folder, "server", &server.0, &server.1)?;
    let client = leaf("demo client", vec![], ExtendedKeyUsagePurpose::ClientAuth, &ca)?;
    store(folder, "client", &client.0, &client.1)?;
    let stranger = leaf("a stranger", vec![], ExtendedKeyUsagePurpose::ClientAuth, &stranger_ca)?;
    store(folder, "stranger", &stranger.0, &stranger.1)
}

struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str, hosts: Vec<String>) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let now = jiff::Timestamp::now();
    let day = |days: i64| {
        let at = now + jiff::SignedDuration::from_hours(24 * days);
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let part = |value: i8| u8::try_from(value).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    };
    params.not_before = day(-1);
    params.not_after = day(365);
    Ok(params)
}

fn authority(name: &str) -> anyhow::Result<Authority> {
    let mut params = params(name, vec![])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    Ok(Authority { certificate: params.self_signed(&key)?, issuer: Issuer::new(params, key) })
}

/// A certificate and its key as PEM.
fn leaf(
    name: &str,
    hosts: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
    by: &Authority,
) -> anyhow::Result<(String, String)> {
    let mut params = params(name, hosts)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, &by.issuer)?.pem(), key.serialize_pem()))
}

fn store(folder: &Path, name: &str, certificate: &str, key: &str) -> anyhow::Result<()> {
    let write = |file: &str, text: &str| {
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write(&format!("{name}.pem"), certificate)?;
    let key_file = format!("{name}.key");
    write(&key_file, key)?;
    private(&folder.join(key_file)).context("cannot protect the key")
}

/// Keys are for their owner's eyes.
fn private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}
