//! The certificates of a run: ECDSA P-256 throughout, made anew each time.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// The host that is published.
pub(crate) const HOST: &str = "bench.local";

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// One authority with the certificates it issued, and a client of another authority.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// What signed the server and the client, in PEM.
    pub(crate) authority: String,
    pub(crate) server: Identity,
    pub(crate) client: Identity,
    /// A client that must be refused.
    pub(crate) stranger: Identity,
}

impl Certificates {
    pub(crate) fn new() -> Result<Self, rcgen::Error> {
        let ours = authority("bench")?;
        let theirs = authority("elsewhere")?;
        Ok(Self {
            authority: ours.pem(),
            server: issue(&ours, HOST, ExtendedKeyUsagePurpose::ServerAuth)?,
            client: issue(&ours, "client", ExtendedKeyUsagePurpose::ClientAuth)?,
            stranger: issue(&theirs, "stranger", ExtendedKeyUsagePurpose::ClientAuth)?,
        })
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Result<Authority, rcgen::Error> {
    let mut params = named(name, Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn issue(authority: &Authority, name: &str, purpose: ExtendedKeyUsagePurpose) -> Result<Identity, rcgen::Error> {
    let mut params = named(name, vec![name.to_owned()])?;
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn named(name: &str, hosts: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
