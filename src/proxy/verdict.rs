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
    pub(super) fields: Vec<Field>,
    pub(super) outcome: Result<Verified, Refusal>,
    policy: PolicyId,
}

impl Verdict {
    /// Judges `chain`, which is empty where the client sent no certificate.
    pub(super) fn new(chain: &[CertificateDer<'_>], auth: &ClientAuth, now: UnixTime) -> Self {
        Self::of(auth.judge(chain, now), chain, auth)
    }

    /// Judges `chain`, which this is the verdict on, under a policy or at a time for which it does not stand any more. `None`
    /// where that takes a judgement in full.
    fn again(&self, chain: &[CertificateDer<'_>], auth: &ClientAuth, now: UnixTime) -> Option<Self> {
        let outcome = self.outcome.as_ref().ok()?.again(&auth.requirements, now)?;
        Some(Self::of(outcome, chain, auth))
    }

    fn of(outcome: Result<Verified, Refusal>, chain: &[CertificateDer<'_>], auth: &ClientAuth) -> Self {
        let forward = &auth.settings.forward;
        let fields = match &outcome {
            _ if *forward == Forward::default() => Vec::new(),
            Ok(_) => {
                let holder = chain.first().and_then(Holder::read);
                holder.map(|holder| identity::of_verified(forward, chain, &holder)).unwrap_or_default()
            }
            Err(refusal) => identity::of_refused(forward, refusal),
        };
        Self { fields, outcome, policy: auth.id }
    }

    /// A refusal stands as long as the policy does, so that a client cannot have the same chain judged for every stream.
    fn stands(&self, auth: &ClientAuth, now: UnixTime) -> bool {
        let expired = self.outcome.as_ref().is_ok_and(|verified| verified.valid_until < now);
        self.policy == auth.id && !expired
    }
}

/// The verdict that a connection was given last.
#[derive(Debug, Default)]
pub(super) struct LastVerdict(Mutex<Option<Arc<Verdict>>>);

impl LastVerdict {
    /// The verdict on `chain` under `auth` at the time `now`: the last one while it stands, else a new one.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>], auth: &ClientAuth, now: UnixTime) -> Arc<Verdict> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let again = match &*last {
            Some(verdict) if verdict.stands(auth, now) => return verdict.clone(),
            Some(verdict) => verdict.again(chain, auth, now),
            None => None,
        };
        let verdict = again.unwrap_or_else(|| Verdict::new(chain, auth, now));
        last.insert(Arc::new(verdict)).clone()
    }
}
