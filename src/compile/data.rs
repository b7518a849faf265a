//! What Secrets and `ConfigMap`s hold.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::{Data, DataRef, Invalid, ObjectRef, Reason};
use crate::world::{Observed, World};

/// Why something that is referred to cannot be used; the field is known to the one who asked.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    message: String,
    reason: Reason,
}

impl Failed {
    pub(super) fn new(reason: Reason, message: String) -> Self {
        Self { message, reason }
    }

    /// As a fault of `field`.
    pub(super) fn at(self, field: &str) -> Invalid {
        Invalid::new(self.reason, field, self.message)
    }
}

/// The data of an object.
pub(super) fn data<'a>(world: &'a World, object: &ObjectRef) -> Result<(&'a Arc<Observed<Data>>, &'a Data), Failed> {
    let observed = world.data(object);
    let observed = observed.ok_or_else(|| Failed::new(Reason::RefNotFound, format!("{object} does not exist")))?;
    match &observed.value {
        Ok(data) => Ok((observed, data)),
        Err(why) => Err(Failed::new(why.reason, format!("{object}: {}", why.message))),
    }
}

/// The entry that is referred to, with its key; or those there are of the `usual` keys, one at least.
pub(super) fn entries<'a>(
    world: &'a World,
    from: &'a DataRef,
    usual: &'static [&'static str],
    reason: Reason,
) -> Result<Vec<(&'a str, &'a Bytes)>, Failed> {
    let (_, data) = data(world, &from.object)?;
    let found: Vec<_> = match &from.entry {
        Some(key) => data.get(key).map(|value| (&**key, value)).into_iter().collect(),
        None => usual.iter().filter_map(|key| Some((*key, data.get(key)?))).collect(),
    };
    if found.is_empty() {
        let wanted = from.entry.as_deref().map_or_else(|| usual.join("`, `"), str::to_owned);
        let keys: Vec<_> = data.keys().take(10).collect();
        let message = format!("{} has none of the keys `{wanted}`; it has: {}", from.object, keys.join(", "));
        return Err(Failed::new(reason, message));
    }
    Ok(found)
}
