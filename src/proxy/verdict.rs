//! What a connection's client has proved: judged once per policy, kept until it may change.

use std::sync::{Arc, Mutex, PoisonError};

use rustls_pki_types::{CertificateDer, UnixTime};

use super::identity::{self, Field};
use crate::model::Forward;
use crate::snapshot::{ClientAuth, PolicyId};
use crate::trust::{Holder, Refusal, Verified};

/// What became of a chain under a policy.
#[derive(Debug)]
pub(super) struct Verdict {
    /// What the upstream is told of the client.
    pub(super) fields: Arc<[Field]>,
    /// What `fields` were made for.
    forward: Forward,
    pub(super) outcome: Result<Verified, Refusal>,
    policy: PolicyId,
}

impl Verdict {
    /// Judges `chain`, which is empty where the client sent no certificate.
    pub(super) fn new(chain: &[CertificateDer<'_>], auth: &ClientAuth, now: UnixTime) -> Self {
        Self::renewed(None, chain, auth, now)
    }

    /// Judges `chain` without the work that `last`, a verdict on the same chain, has done: thousands of connections are judged
    /// again when one revocation list is published.
    fn renewed(last: Option<&Self>, chain: &[CertificateDer<'_>], auth: &ClientAuth, now: UnixTime) -> Self {
        let accepted = last.and_then(|last| Some((last, last.outcome.as_ref().ok()?)));
        let again = accepted.and_then(|(_, verified)| verified.again(&auth.requirements, now));
        let outcome = again.unwrap_or_else(|| auth.judge(chain, now));
        let forward = &auth.settings.forward;
        let fields = match (&outcome, accepted) {
            (Ok(_), Some((last, _))) if last.forward == *forward => last.fields.clone(),
            (Ok(_), _) => accepted_fields(forward, chain),
            (Err(refusal), _) => identity::of_refused(forward, refusal).into(),
        };
        Self { fields, forward: forward.clone(), outcome, policy: auth.id }
    }

    /// A refusal stands as long as the policy does, so that a client cannot have the same chain judged for every stream.
    fn stands(&self, auth: &ClientAuth, now: UnixTime) -> bool {
        let expired = self.outcome.as_ref().is_ok_and(|verified| verified.valid_until < now);
        self.policy == auth.id && !expired
    }
}

fn accepted_fields(forward: &Forward, chain: &[CertificateDer<'_>]) -> Arc<[Field]> {
    if *forward == Forward::default() {
        return Arc::default();
    }
    let holder = chain.first().and_then(Holder::read);
    holder.map(|holder| identity::of_verified(forward, chain, &holder).into()).unwrap_or_default()
}

/// The verdict that a connection was given last.
#[derive(Debug, Default)]
pub(super) struct LastVerdict(Mutex<Option<Arc<Verdict>>>);

impl LastVerdict {
    /// The verdict on `chain` under `auth` at the time `now`: the last one while it stands, else a new one.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>], auth: &ClientAuth, now: UnixTime) -> Arc<Verdict> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(verdict) if verdict.stands(auth, now) => verdict.clone(),
            old => {
                let verdict = Arc::new(Verdict::renewed(old.as_deref(), chain, auth, now));
                last.insert(verdict).clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::model::{ClientSettings, IdentityField};
    use crate::trust::{Anchors, Cause};

    fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    }

    fn policy(authorities: &[&str], header: Option<&str>, depth: u32) -> ClientAuth {
        let headers = header.map(|name| (name.into(), IdentityField::Verify)).into_iter().collect();
        let forward = Forward { headers, ..Forward::default() };
        let settings = ClientSettings { depth, forward, ..ClientSettings::default() };
        let anchors = Anchors::from_pem(authorities.concat().as_bytes()).unwrap();
        ClientAuth::new(anchors, None, settings).unwrap()
    }

    #[test]
    fn a_verdict_follows_the_policy() {
        let ((one, issuer), (other, _)) = (authority("one"), authority("other"));
        let params = CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
        let client = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        let (chain, now, last) = ([client.der().clone()], UnixTime::now(), LastVerdict::default());
        let judge = |policy: &ClientAuth| last.judge(&chain, policy, now);
        let told = |verdict: &Verdict| {
            let fields = verdict.fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            fields.collect::<Vec<_>>().join("\n")
        };

        let first = judge(&policy(&[&one], None, 1));
        assert!(first.outcome.is_ok());
        assert!(Arc::ptr_eq(&first, &judge(&policy(&[&one], None, 1))), "an equal policy");
        assert_eq!(told(&first), "");
        assert!(judge(&policy(&[&one, &other], None, 1)).outcome.is_ok());
        let told_now = judge(&policy(&[&one, &other], Some("x-verify"), 1));
        assert_eq!(told(&told_now), "x-verify: SUCCESS");
        let deeper = judge(&policy(&[&one, &other], Some("x-verify"), 2));
        assert!(Arc::ptr_eq(&deeper.fields, &told_now.fields), "made once");
        assert_eq!(told(&judge(&policy(&[&one], Some("x-v"), 2))), "x-v: SUCCESS");

        let refused = judge(&policy(&[&other], Some("x-verify"), 1));
        assert_eq!(refused.outcome.as_ref().unwrap_err().cause(), Cause::UnknownIssuer);
        assert_eq!(told(&refused), "x-verify: FAILED:unknown issuer");
        assert!(Arc::ptr_eq(&refused, &judge(&policy(&[&other], Some("x-verify"), 1))), "a refusal is kept");
        assert!(judge(&policy(&[&one], None, 1)).outcome.is_ok());
    }
}
