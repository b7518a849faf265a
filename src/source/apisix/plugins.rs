//! `plugins`, of which none is served.

use serde_json::{Map, Value};

use crate::model::Invalid;

/// `plugins`: by name.
pub(super) type Plugins = Map<String, Value>;

/// Refuses plugins: a route without the plugin that protects it is worse than none. One that is switched off does nothing anyway.
pub(super) fn refuse(plugins: Option<&Plugins>) -> Result<(), Invalid> {
    let is_on = |plugin: &Value| plugin["_meta"]["disable"] != Value::Bool(true);
    match plugins.into_iter().flatten().find(|(_, plugin)| is_on(plugin)) {
        None => Ok(()),
        Some((name, _)) => Err(Invalid::unsupported("plugins", format!("unknown plugin [{name}]"))),
    }
}

/// Refuses fields that are set, with what they stand for.
pub(super) fn refuse_set(fields: &[(&str, bool)]) -> Result<(), Invalid> {
    match fields.iter().find(|(_, is_set)| *is_set) {
        None => Ok(()),
        Some((field, _)) => Err(Invalid::unsupported(*field, format!("{field} is not served"))),
    }
}
