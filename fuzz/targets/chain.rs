//! Chains of a client, judged by both verifiers: a byte for the depth, then certificates with two bytes of length each.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::model::{IdentityRule, RevocationSettings, TextMatch};
use portcullis_fuzz::trust::{Anchors, Holder, IdentityRules, Requirements, Revocation, crls, judge};
use rustls_pki_types::{CertificateDer, UnixTime};

/// 2030-01-01: `authority.pem` and the seeds are valid.
const NOW: Duration = Duration::from_secs(1_893_456_000);

/// Policies: webpki's depth and AWS-LC's, without and with everything that can be asked.
static POLICIES: LazyLock<Vec<Requirements>> = LazyLock::new(|| {
    let policy = |depth, everything: bool| {
        let anchors = Anchors::from_pem(include_bytes!("../seeds/authority.pem")).expect("the authority is usable");
        let lists = || crls(include_bytes!("../seeds/authority.crl")).expect("the list is readable");
        let settings = RevocationSettings { allow_unknown: true, leaf_only: false };
        let revocation = everything.then(|| Revocation::new(lists(), settings).expect("the list is usable"));
        let any = || vec![TextMatch::Regex(".*".into())];
        let identities = [
            IdentityRule { subject: any(), ..IdentityRule::default() },
            IdentityRule { dns: any(), email: any(), uri: any(), spiffe: any(), ..IdentityRule::default() },
        ];
        let identities = if everything { &identities[..] } else { &[] };
        let identities = IdentityRules::new(identities).expect("the rules are usable");
        Requirements { anchors, depth, identities, revocation }
    };
    vec![policy(1, false), policy(100, false), policy(1, true), policy(100, true)]
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut rest)) = data.split_first() else { return };
    let mut chain = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        chain.push(CertificateDer::from(&after[..length]));
        rest = &after[length..];
    }
    let now = UnixTime::since_unix_epoch(NOW);
    let policy = &POLICIES[usize::from(*choice) % POLICIES.len()];
    if let Ok(verified) = judge(&chain, policy, now) {
        assert!(verified.valid_until >= now);
        assert_eq!(verified.again(policy, now), Some(Ok(verified)));
    }
    for certificate in &chain {
        let _ = Holder::read(certificate);
    }
});
