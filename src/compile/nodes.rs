//! From names to addresses.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Effect, ExternalName, ExternalNode, Invalid, ObjectKey, Problem, Reason, Service, ServiceAddress};
use crate::world::{Lookup, World};

/// Where a name leads to.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Its addresses, sorted; none where DNS was not asked yet.
    pub(super) addresses: Vec<IpAddr>,
    /// The name without a final dot; `None` where it is an address itself.
    pub(super) name: Option<Arc<str>>,
}

/// The addresses of `name`.
///
/// # Errors
/// When it has never resolved: the reason, in words.
pub(super) fn find(world: &World, name: &Arc<str>) -> Result<Named, String> {
    if let Ok(address) = name.parse() {
        return Ok(Named { addresses: vec![address], name: None });
    }
    let shown = name.strip_suffix('.').map_or_else(|| name.clone(), Arc::from);
    match world.lookup(name) {
        Some(Lookup { addresses, failure: Some(why) }) if addresses.is_empty() => Err(format!("`{shown}` {why}")),
        Some(Lookup { addresses, .. }) => {
            Ok(Named { addresses: addresses.iter().copied().collect(), name: Some(shown) })
        }
        None => Ok(Named { addresses: Vec::new(), name: Some(shown) }),
    }
}

/// What there is to say about a name that is used: that it cannot be resolved any more.
pub(super) fn outdated(world: &World, name: &str, field: &str) -> Option<Problem> {
    let lookup = world.lookup(name)?;
    let why = lookup.failure.as_ref().filter(|_| !lookup.addresses.is_empty())?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let message = format!("`{name}` {why}; its last addresses stay in use");
    Some(Problem { effect: Effect::Stale, invalid: Invalid::new(Reason::NotResolved, field, message) })
}

/// The name of an external node of an ApisixUpstream in `namespace`; `field` is the node's.
///
/// # Errors
/// When it stands in a Service that does not exist or is of another type.
pub(super) fn name<'a>(
    world: &'a World,
    namespace: &Arc<str>,
    node: &'a ExternalNode,
    field: &str,
) -> Result<&'a Arc<str>, Invalid> {
    let service = match &node.name {
        ExternalName::Domain(name) => return Ok(name),
        ExternalName::Service(service) => service,
    };
    let key = ObjectKey::new(namespace.clone(), service.clone());
    let invalid = |reason, message| Invalid::new(reason, format!("{field}.name"), message);
    match world.service(&key).map(|service| &service.value) {
        Some(Ok(Service { address: ServiceAddress::External(name), .. })) => Ok(name),
        Some(Ok(_)) => {
            let message = format!("Service {key} is not of the type ExternalName; name it in `backends` of the route");
            Err(invalid(Reason::InvalidSpec, message))
        }
        Some(Err(why)) => Err(invalid(why.reason, format!("Service {key} is unusable: {why}"))),
        None => Err(invalid(Reason::RefNotFound, format!("Service {key} does not exist"))),
    }
}

/// What is wrong with an external node, if anything.
pub(super) fn problem(world: &World, namespace: &Arc<str>, node: &ExternalNode, field: &str) -> Option<Problem> {
    let unresolved = |invalid| Some(Problem { effect: Effect::Unresolved, invalid });
    let name = match name(world, namespace, node, field) {
        Ok(name) => name,
        Err(invalid) => return unresolved(invalid),
    };
    let field = format!("{field}.name");
    match find(world, name) {
        Ok(_) => outdated(world, name, &field),
        Err(why) => unresolved(Invalid::new(Reason::NotResolved, field, why)),
    }
}

/// Divides each weight among so many addresses: what each of these gets, in the smallest whole numbers.
pub(super) fn shares(nodes: &[(u32, usize)]) -> Vec<u32> {
    /// The least common multiple of 1 to 10, for where that of the counts is too large: shares are a little off then.
    const COARSE: u64 = 2_520;
    let counts = || nodes.iter().map(|(_, count)| *count as u64).filter(|count| *count > 0);
    let multiple = counts().try_fold(1_u64, |multiple, count| (multiple / gcd(multiple, count)).checked_mul(count));
    let multiple = multiple.filter(|multiple| *multiple <= COARSE * COARSE).unwrap_or(COARSE);
    let share = |(weight, count): &(u32, usize)| {
        let share = u64::from(*weight) * multiple / (*count as u64).max(1);
        if *weight > 0 { share.max(1) } else { 0 }
    };
    let shares: Vec<_> = nodes.iter().map(share).collect();
    let divisor = shares.iter().copied().fold(0, gcd).max(1);
    shares.into_iter().map(|share| u32::try_from(share / divisor).unwrap_or(u32::MAX)).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_weight_whatever_the_number_of_its_addresses() {
        assert_eq!(shares(&[(100, 1)]), [1]);
        assert_eq!(shares(&[(100, 4), (100, 1)]), [1, 4]);
        assert_eq!(shares(&[(2, 3), (1, 2), (0, 5)]), [4, 3, 0]);
        assert_eq!(shares(&[(100, 0), (50, 1)]), [2, 1]);
        let many: Vec<_> = [11, 13, 17, 19, 23].iter().map(|count| (1_000_000, *count)).collect();
        let shares = shares(&many);
        let totals: Vec<_> =
            shares.iter().zip(&many).map(|(share, (_, count))| u64::from(*share) * *count as u64).collect();
        assert!(totals.iter().all(|total| total.abs_diff(totals[0]) * 100 < totals[0]), "{totals:?}");
    }
}
