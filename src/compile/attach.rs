//! Which objects are ours.

use super::Context;
use crate::world::World;

/// Whether an object that names `class` is ours.
///
/// - No class: ours. The APISIX kinds have no other reader, and manifests of the versions before `ingressClassName` must
///   go on working (APISIX's controller 1.x does the same).
/// - An IngressClass of that name: ours when its `spec.controller` is ours.
/// - No such IngressClass: ours when the name is the configured one, so that no IngressClass is needed without a cluster.
pub(super) fn ours(class: Option<&str>, world: &World, context: &Context) -> bool {
    let Some(name) = class else { return true };
    match world.class(name).map(|class| &class.value) {
        Some(Ok(class)) => class.controller == context.controller,
        Some(Err(_)) => false,
        None => name == &*context.class,
    }
}
