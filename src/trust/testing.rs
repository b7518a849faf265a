//! Certificates and revocation lists for this module's tests, made in the process. Everything is valid from 2030 to 2031,
//! and judged in the middle of it.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Anchors, IdentityRules, Refusal, Requirements, Revocation, Verified, judge};
use crate::model::RevocationSettings;

/// 2030-06-01.
pub(super) const NOW: i64 = 1_906_502_400;
pub(super) const DAY: i64 = 86_400;

/// A certificate with its key, which may issue others.
pub(super) struct Entity {
    pub(super) der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

pub(super) fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap()))
}

pub(super) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2030, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    params
}

pub(super) fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(super) fn client(name: &str, serial: u64) -> CertificateParams {
    let mut params = params(name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

impl Entity {
    pub(super) fn root(name: &str) -> Self {
        Self::self_signed(authority(name))
    }

    pub(super) fn self_signed(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    pub(super) fn issue(&self, params: CertificateParams) -> Self {
        self.issue_for(params, KeyPair::generate().unwrap())
    }

    pub(super) fn issue_for(&self, params: CertificateParams, key: KeyPair) -> Self {
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// A chain of `length` intermediates under this authority, the lowest first.
    pub(super) fn intermediates(&self, length: usize) -> Vec<Self> {
        let mut chain: Vec<Self> = Vec::new();
        for index in 0..length {
            let params = authority(&format!("intermediate {index}"));
            chain.insert(0, chain.first().unwrap_or(self).issue(params));
        }
        chain
    }

    pub(super) fn list(&self, revoked: &[u64], next_update_month: u8) -> Vec<u8> {
        self.list_with(revoked, next_update_month, |_| {})
    }

    /// A revocation list from 2030-01-01 until the first day of a month of 2030.
    pub(super) fn list_with(
        &self,
        revoked: &[u64],
        next_update_month: u8,
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> Vec<u8> {
        let entry = |serial: &u64| RevokedCertParams {
            invalidity_date: None,
            reason_code: Some(rcgen::RevocationReason::KeyCompromise),
            revocation_time: date_time_ymd(2030, 5, 20),
            serial_number: SerialNumber::from(*serial),
        };
        let mut params = CertificateRevocationListParams {
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            key_identifier_method: KeyIdMethod::Sha256,
            next_update: date_time_ymd(2030, next_update_month, 1),
            revoked_certs: revoked.iter().map(entry).collect(),
            this_update: date_time_ymd(2030, 1, 1),
        };
        change(&mut params);
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

pub(super) fn requirements(anchors: &[&Entity], depth: u32) -> Requirements {
    let pem: String = anchors.iter().map(|anchor| anchor.pem.as_str()).collect();
    Requirements {
        anchors: Anchors::from_pem(pem.as_bytes()).unwrap(),
        depth,
        identities: IdentityRules::default(),
        revocation: None,
    }
}

pub(super) fn revocation(lists: &[Vec<u8>], allow_unknown: bool, leaf_only: bool) -> Revocation {
    Revocation::new(lists.to_vec(), RevocationSettings { allow_unknown, leaf_only }).unwrap()
}

/// The verdict at [`NOW`].
pub(super) fn verdict(chain: &[&Entity], requirements: &Requirements) -> Result<Verified, Refusal> {
    let chain: Vec<_> = chain.iter().map(|entity| entity.der.clone()).collect();
    judge(&chain, requirements, at(NOW))
}

/// The refusal as `cause: why`.
pub(super) fn why(verdict: Result<Verified, Refusal>) -> String {
    match verdict.expect_err("the chain should be refused") {
        Refusal::NotPresent => "not_present".to_owned(),
        Refusal::NotVerified { cause, why } => format!("{}: {why}", cause.as_str()),
    }
}
