//! Client policies: authorities and revocation lists of several objects into one value.

use std::sync::Arc;

use super::data::entries;
use crate::model::{ClientAuthRef, DataRef, Effect, Invalid, Problem, Reason, RevocationRef, Validated, Validity};
use crate::snapshot::ClientAuth;
use crate::trust::{Anchors, Revocation, RevocationList, crls};
use crate::world::World;

/// The keys of client CAs, in the order they are looked up. APISIX looks at `tls.crt` before `ca.crt`, and so takes the leaf of
/// a Secret made by cert-manager for the CA.
pub(super) const CA_KEYS: [&str; 3] = ["cert", "ca.crt", "tls.crt"];

/// The keys of revocation lists; all that are there are read.
const CRL_KEYS: [&str; 3] = ["ca.crl", "crl.pem", "crl"];

/// A policy, and what there is to say about what it was made from.
#[derive(Clone, Debug)]
pub(super) struct ClientPolicy {
    pub(super) auth: Arc<ClientAuth>,
    pub(super) problems: Arc<[Problem]>,
    pub(super) validities: Arc<[Validity]>,
}

/// Makes the policy that `client` describes.
///
/// # Errors
/// When nobody could be let in by it as it is written: there is no usable authority, or revocation lists are needed and not
/// there.
pub(super) fn client_policy(world: &World, client: &ClientAuthRef) -> Result<ClientPolicy, Invalid> {
    let mut problems = Vec::new();
    let mut validities = Vec::new();
    let anchors = anchors(world, &client.authorities, &mut problems, &mut validities)?;
    let revocation = client.revocation.as_ref();
    let revocation =
        revocation.map(|revocation| self::revocation(world, revocation, &mut problems, &mut validities)).transpose()?;
    if client.settings.depth == 0 {
        problems.extend(revocation.iter().flat_map(|revocation| strangers(revocation, &anchors)));
    }
    let auth = ClientAuth::new(anchors, revocation, client.settings.clone());
    let auth = auth.map_err(|why| Invalid::spec("spec.client", why))?;
    Ok(ClientPolicy { auth: Arc::new(auth), problems: problems.into(), validities: validities.into() })
}

/// What is usable of all bundles. What is not is left out and reported: without it fewer clients are let in, not more.
fn anchors(
    world: &World,
    authorities: &[DataRef],
    problems: &mut Vec<Problem>,
    validities: &mut Vec<Validity>,
) -> Result<Anchors, Invalid> {
    let mut bundles: Vec<(&DataRef, &str, &[u8])> = Vec::new();
    let mut wrong = Vec::new();
    for authority in authorities {
        match entries(world, authority, &CA_KEYS, Reason::InvalidCaCertificate) {
            // The first of the usual keys alone: a Secret made by cert-manager has a leaf under `tls.crt`.
            Ok(found) => bundles.extend(found.into_iter().take(1).map(|(key, pem)| (authority, key, pem.as_ref()))),
            Err(failed) => wrong.push(failed.at(&authority.field)),
        }
    }
    let (anchors, left_out) = Anchors::read(bundles.iter().map(|(_, _, pem)| *pem));
    for (bundle, why) in left_out {
        let (authority, key, _) = bundles[bundle];
        let message = format!("`{key}` of {}: {why}", authority.object);
        wrong.push(Invalid::new(Reason::InvalidCaCertificate, &*authority.field, message));
    }
    let anchors = anchors.map_err(|why| {
        let none = || Invalid::new(Reason::InvalidCaCertificate, "spec.client", why);
        let mut first = if wrong.is_empty() { none() } else { wrong.remove(0) };
        first.message.push_str("; all clients are refused");
        first
    })?;
    problems.extend(wrong.into_iter().map(|mut invalid| {
        invalid.message.push_str("; it is left out");
        Problem { effect: Effect::Unresolved, invalid }
    }));
    let parts: Vec<_> = match bundles.as_slice() {
        [(authority, _, _)] => vec![(*authority, None)],
        several => several.iter().map(|(authority, _, pem)| (*authority, Anchors::read([*pem]).0.ok())).collect(),
    };
    for (anchor, certificate) in anchors.iter().zip(anchors.certificates()) {
        let holds = |part: &Option<Anchors>| part.as_ref().is_none_or(|part| part.certificates().contains(certificate));
        let Some((authority, _)) = parts.iter().find(|(_, part)| holds(part)) else { continue };
        validities.push(Validity {
            field: authority.field.clone(),
            kind: Validated::Authority,
            not_after: anchor.not_after(),
            not_before: anchor.not_before(),
            what: format!("the authority {} of {}", anchor.subject(), authority.object),
        });
    }
    Ok(anchors)
}

/// The lists. One that is not there, or broken, refuses everyone, unless what is unknown is let in.
fn revocation(
    world: &World,
    revocation: &RevocationRef,
    problems: &mut Vec<Problem>,
    validities: &mut Vec<Validity>,
) -> Result<Revocation, Invalid> {
    let settings = revocation.settings;
    let mut lists = Vec::new();
    for from in &revocation.lists {
        let (read, wrong) = match entries(world, from, &CRL_KEYS, Reason::InvalidRevocationList) {
            Ok(found) => read_lists(from, &found),
            Err(failed) => (Vec::new(), vec![failed.at(&from.field)]),
        };
        for mut invalid in wrong {
            if !settings.allow_unknown {
                invalid.message.push_str("; all clients are refused");
                return Err(invalid);
            }
            invalid.message.push_str("; it is left out");
            problems.push(Problem { effect: Effect::Unresolved, invalid });
        }
        lists.extend(read.into_iter().map(|list| (from, list)));
    }
    for (from, list) in &lists {
        // That an old list ends beside its successor hurts nobody.
        if lists.iter().any(|(_, other)| other.outlives(list)) {
            continue;
        }
        validities.push(Validity {
            field: from.field.clone(),
            kind: Validated::RevocationList { needed: !settings.allow_unknown },
            not_after: list.next_update(),
            not_before: i64::MIN,
            what: format!("the revocation list of {} in {}", list.issuer(), from.object),
        });
    }
    Ok(Revocation::of(lists.into_iter().map(|(_, list)| list).collect(), settings))
}

fn read_lists(from: &DataRef, files: &[(&str, &bytes::Bytes)]) -> (Vec<RevocationList>, Vec<Invalid>) {
    let mut lists = Vec::new();
    let mut wrong = Vec::new();
    for (key, file) in files {
        let broken = |why: String| {
            let message = format!("`{key}` of {}: {why}", from.object);
            Invalid::new(Reason::InvalidRevocationList, &*from.field, message)
        };
        match crls(file) {
            Ok(ders) => {
                for (index, der) in ders.into_iter().enumerate() {
                    match RevocationList::read(der) {
                        Ok(list) => lists.push(list),
                        Err(why) => wrong.push(broken(format!("revocation list {} {why}", index + 1))),
                    }
                }
            }
            Err(why) => wrong.push(broken(why)),
        }
    }
    (lists, wrong)
}

/// Lists of issuers who are no authority, where none else may issue. (With intermediates the list could be of one of them.)
fn strangers(revocation: &Revocation, anchors: &Anchors) -> Vec<Problem> {
    let known = |list: &&RevocationList| anchors.iter().any(|anchor| anchor.subject() == list.issuer());
    let stranger = |list: &RevocationList| {
        let message = format!("the list of {} is about nobody: that is no authority of this policy", list.issuer());
        let invalid = Invalid::new(Reason::InvalidRevocationList, "spec.client.revocation.crlRefs", message);
        Problem { effect: Effect::Warning, invalid }
    };
    revocation.iter().filter(|list| !known(list)).map(stranger).collect()
}
