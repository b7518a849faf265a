//! Certificates, made once for all tests.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis::model::{ClientSettings, RevocationSettings};
use portcullis::snapshot::{ClientAuth, Policy};
use portcullis::trust::{Anchors, Revocation};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, RevokedCertParams,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority.
pub(crate) struct Authority {
    pub(crate) certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(crate) struct Certified {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn issue(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Certified {
        self.issue_with(names, usage, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certified {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Certified { chain: vec![certificate.der().clone()], key, pem: certificate.pem() }
    }

    pub(crate) fn client(&self) -> Certified {
        self.issue(&["client.test"], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A client whose certificate expires after `time`.
    pub(crate) fn client_for(&self, time: Duration) -> Certified {
        self.client_until(now() + time.as_secs())
    }

    /// A client whose certificate expires at `end`, in seconds since the epoch.
    pub(crate) fn client_until(&self, end: u64) -> Certified {
        self.issue_with(&["client.test"], ExtendedKeyUsagePurpose::ClientAuth, |params| {
            params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(end);
        })
    }

    /// The policy that trusts this authority but for the `revoked`, by a list that expires after `time`.
    pub(crate) fn revoking(&self, revoked: &[&Certified], time: Duration) -> Policy {
        let date = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        let entry = |client: &&Certified| RevokedCertParams {
            invalidity_date: None,
            reason_code: None,
            revocation_time: date(now() - 60),
            serial_number: serial(&client.chain[0]).into(),
        };
        let list = CertificateRevocationListParams {
            crl_number: now().into(),
            issuing_distribution_point: None,
            key_identifier_method: KeyIdMethod::Sha256,
            next_update: date(now() + time.as_secs()),
            revoked_certs: revoked.iter().map(entry).collect(),
            this_update: date(now() - 60),
        };
        let list = list.signed_by(&self.issuer).unwrap().der().to_vec();
        let revocation = Revocation::new(vec![list], RevocationSettings::default()).unwrap();
        let anchors = Anchors::from_pem(self.certificate.pem().as_bytes()).unwrap();
        let settings = ClientSettings { depth: 1, ..ClientSettings::default() };
        Policy::Require(Arc::new(ClientAuth::new(anchors, Some(revocation), settings).unwrap()))
    }

    /// A client with an intermediate between it and the authority.
    pub(crate) fn deep_client(&self) -> Certified {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "intermediate");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let intermediate = Self { issuer: Issuer::new(params, key), certificate };
        let mut client = intermediate.client();
        client.chain.push(intermediate.certificate.der().clone());
        client
    }

    /// The policy that trusts this authority.
    pub(crate) fn policy(&self) -> Policy {
        self.policy_with(|_| {})
    }

    /// The policy that trusts this authority, with a depth of 1 and other settings.
    pub(crate) fn policy_with(&self, change: impl FnOnce(&mut ClientSettings)) -> Policy {
        let mut settings = ClientSettings { depth: 1, ..ClientSettings::default() };
        change(&mut settings);
        self.policy_of(settings)
    }

    /// The policy that trusts this authority, with these settings.
    pub(crate) fn policy_of(&self, settings: ClientSettings) -> Policy {
        let anchors = Anchors::from_pem(self.certificate.pem().as_bytes()).unwrap();
        Policy::Require(Arc::new(ClientAuth::new(anchors, None, settings).unwrap()))
    }
}

fn serial(certificate: &[u8]) -> Vec<u8> {
    x509_parser::parse_x509_certificate(certificate).unwrap().1.raw_serial().to_vec()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Certified {
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
}

pub(crate) struct Pki {
    /// Trusted for clients.
    pub(crate) clients: Authority,
    /// Trusted by no host, unless a test says so.
    pub(crate) others: Authority,
    pub(crate) servers: Authority,
}

pub(crate) static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let servers = Authority::new("servers");
    Pki { clients: Authority::new("clients"), others: Authority::new("others"), servers }
});
