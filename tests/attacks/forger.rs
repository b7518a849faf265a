//! Certificate authorities that issue whatever they are asked for.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::CertificateDer;

use crate::pki::Certified;

/// A certificate authority, with the certificates between it and its root, its own first.
pub(crate) struct Forger {
    chain: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate of a client, as every test wants it but for what it changes.
pub(crate) fn client_params() -> CertificateParams {
    let mut params = CertificateParams::new(["client.test".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Ends the certificate `seconds` from now.
pub(crate) fn ends_in(params: &mut CertificateParams, seconds: i64) {
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(seconds);
}

/// Begins the certificate `seconds` from now.
pub(crate) fn starts_in(params: &mut CertificateParams, seconds: i64) {
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(seconds);
}

fn since_epoch(seconds: i64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Duration::from_secs(now.as_secs().checked_add_signed(seconds).unwrap())
}

impl Forger {
    pub(crate) fn root(name: &str) -> Self {
        let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { chain: Vec::new(), issuer: Issuer::new(params, key), pem }
    }

    /// A client's certificate that vouches for itself, whose holder signs others.
    pub(crate) fn pinned() -> Self {
        let (params, key) = (client_params(), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { chain: Vec::new(), issuer: Issuer::new(params, key), pem }
    }

    /// A client's certificate, whose holder signs others.
    pub(crate) fn no_authority(&self, name: &str) -> Self {
        self.intermediate_with(name, |params| {
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        })
    }

    pub(crate) fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with(name, |_| ())
    }

    pub(crate) fn intermediate_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (authority_params(name), KeyPair::generate().unwrap());
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = std::iter::once(certificate.der().clone()).chain(self.chain.iter().cloned()).collect();
        Self { chain, issuer: Issuer::new(params, key), pem: certificate.pem() }
    }

    /// A client's certificate, with a key of its own.
    pub(crate) fn client(&self, change: impl FnOnce(&mut CertificateParams)) -> Certified {
        let mut params = client_params();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = std::iter::once(certificate.der().clone()).chain(self.chain.iter().cloned()).collect();
        Certified { chain, key, pem: certificate.pem() }
    }

    /// A certificate that vouches for itself.
    pub(crate) fn self_signed() -> Certified {
        let key = KeyPair::generate().unwrap();
        let certificate = client_params().self_signed(&key).unwrap();
        Certified { chain: vec![certificate.der().clone()], key, pem: certificate.pem() }
    }

    /// A certificate for a key of somebody else.
    pub(crate) fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> CertificateDer<'static> {
        params.clone().signed_by(key, &self.issuer).unwrap().der().clone()
    }

    /// A revocation list that names the serial numbers, and is good until `seconds` from now.
    pub(crate) fn crl(&self, revoked: &[u64], seconds: i64) -> String {
        let mut until = CertificateParams::default();
        ends_in(&mut until, seconds);
        let this_update = rcgen::date_time_ymd(2026, 1, 1);
        let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update,
            next_update: until.not_after,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}
