//! Services: what their routes share.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::plugins::{self, Plugins};
use super::resource::{Id, Resource, read};
use crate::model::{Invalid, UpstreamRef, normal_path};
use crate::resource::{Key, Kind};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    enable_websocket: Option<bool>,
    hosts: Option<Vec<String>>,
    path_prefix: Option<String>,
    plugins: Option<Plugins>,
    script: Option<Value>,
    strip_path_prefix: Option<bool>,
    upstream: Option<Value>,
    upstream_id: Option<Id>,
}

/// What the routes of a service take from it where they have none of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) hosts: Option<Vec<String>>,
    /// What the routes' paths are appended to; without a final slash.
    pub(super) path_prefix: Arc<str>,
    /// Whether that is taken off toward the upstream.
    pub(super) strip_path_prefix: bool,
    /// The key of the upstream, which is the service's own where it stands inside.
    pub(super) upstream: Option<Arc<str>>,
    pub(super) websocket: Option<bool>,
}

/// Reads the service `key`. An upstream inside is an object of its own.
pub(super) fn service(key: &Key, value: Value) -> Result<Service, Invalid> {
    let fields: Fields = read(value, "")?;
    plugins::refuse(fields.plugins.as_ref())?;
    plugins::refuse_set(&[("script", fields.script.is_some())])?;
    Ok(Service {
        hosts: fields.hosts,
        path_prefix: fields.path_prefix.map_or(Ok("".into()), |prefix| path_prefix(&prefix))?,
        strip_path_prefix: fields.strip_path_prefix.unwrap_or(false),
        upstream: upstream(key, fields.upstream.is_some(), fields.upstream_id.as_ref()),
        websocket: fields.enable_websocket,
    })
}

/// The upstream of a route or stream route that has one inside or names one, else its service's.
pub(super) fn upstream_ref(
    resource: &Resource<'_>,
    (inside, id): (bool, Option<&Id>),
    service: Option<&Service>,
) -> Result<UpstreamRef, Invalid> {
    let own = upstream(resource.key, inside, id);
    let field = match &own {
        Some(_) if inside => "upstream",
        Some(_) => "upstream_id",
        None => "service_id",
    };
    let name = own.or_else(|| service?.upstream.clone());
    let name = name.ok_or_else(|| Invalid::spec("upstream", "must be set, or upstream_id, or by the service"))?;
    Ok(UpstreamRef { field: field.into(), name, weight: 1 })
}

/// The key of the upstream of the resource `key`. One that stands inside counts before one that is named (APISIX).
fn upstream(key: &Key, inside: bool, id: Option<&Id>) -> Option<Arc<str>> {
    if inside {
        return Some(key.to_string().into());
    }
    id.map(|id| Key::new(Kind::Upstream, id.to_string()).to_string().into())
}

fn path_prefix(prefix: &str) -> Result<Arc<str>, Invalid> {
    let wrong = |why: &str| Invalid::spec("path_prefix", format!("`{prefix}` {why}"));
    if prefix.contains(['*', '?', '#', ' ']) {
        return Err(wrong("must not hold `*`, `?`, `#` or spaces"));
    }
    let normal = normal_path(prefix).map_err(|why| wrong(&format!("is no path: {why}")))?;
    Ok(normal.trim_end_matches('/').into())
}
