//! Which objects are ours.

use super::Context;
use crate::model::{Invalid, Reason};
use crate::world::World;

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attached {
    /// Ours.
    Ours,
    /// Another controller's.
    Theirs,
    /// Nobody's that is known: the class it names does not exist.
    Unknown,
}

/// Whose an object is that names `class`.
///
/// - No class: ours. The APISIX kinds have no other reader, and manifests of the versions before `ingressClassName` must
///   go on working (APISIX's controller 1.x does the same).
/// - An IngressClass of that name: ours when its `spec.controller` is ours.
/// - No such IngressClass: ours when the name is the configured one, so that no IngressClass is needed without a cluster.
///   Any other name is a mistake, or of a controller that does not go by IngressClasses.
pub(super) fn attached(class: Option<&str>, world: &World, context: &Context) -> Attached {
    let Some(name) = class else { return Attached::Ours };
    match world.class(name).map(|class| &class.value) {
        Some(Ok(class)) if class.controller == context.controller => Attached::Ours,
        Some(Ok(_)) => Attached::Theirs,
        None if name == &*context.class => Attached::Ours,
        Some(Err(_)) | None => Attached::Unknown,
    }
}

/// What is wrong with an object whose class is unknown.
pub(super) fn unknown(class: Option<&str>, context: &Context) -> Invalid {
    let class = class.unwrap_or_default();
    let message = format!("there is no IngressClass `{class}`; write `{}`, or leave the field out", context.class);
    Invalid::new(Reason::RefNotFound, "spec.ingressClassName", message)
}
