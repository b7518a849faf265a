//! What a path names.

use std::borrow::Cow;
use std::sync::Arc;

use crate::resource::{Key, Kind};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `configs`: everything as one document.
    Configs,
    /// `configs/validate`.
    ConfigsValidate,
    /// `openapi.json`.
    OpenApi,
    /// Nothing under `/apisix/admin`.
    Outside,
    /// `plugins/{name}`, or `plugins` itself.
    Plugin(String),
    /// `plugins/list`.
    PluginList,
    /// `plugins/reload`.
    PluginReload,
    /// `{resources}` and what is below.
    Resource(Place),
    /// `/apisix/admin` itself.
    Root,
    /// `schema/{name}`.
    Schema(String),
    /// `schema/validate/{resources}`.
    SchemaValidate(String),
    /// A name that means nothing.
    Unknown(String),
}

/// A place among the resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The resource's own id, where one is named.
    pub(super) id: Option<String>,
    pub(super) kind: Kind,
    /// The consumer of credentials, the manager of secrets; empty for all others.
    pub(super) owner: String,
    /// What follows the id: the way into the resource.
    pub(super) sub_path: Vec<String>,
}

impl Target {
    /// Reads a path.
    pub(super) fn parse(path: &str) -> Self {
        let Some(segments) = segments(path) else { return Self::Outside };
        let names: Vec<_> = segments.iter().map(String::as_str).collect();
        match names[..] {
            [] => Self::Root,
            ["configs"] => Self::Configs,
            ["configs", "validate"] => Self::ConfigsValidate,
            ["openapi.json"] => Self::OpenApi,
            ["plugins", "list"] => Self::PluginList,
            ["plugins", "reload"] => Self::PluginReload,
            ["plugins"] => Self::Plugin(String::new()),
            ["plugins", name] | ["schema", "plugins", name] => Self::Plugin(name.to_owned()),
            ["schema", "validate", name] => Self::SchemaValidate(name.to_owned()),
            ["schema", name] => Self::Schema(name.to_owned()),
            ["consumers", consumer, "credentials", ..] => Self::place(Kind::Credential, consumer, &segments[3..]),
            ["secrets", manager, ..] => Self::place(Kind::Secret, manager, &segments[2..]),
            ["credentials", ..] => Self::Unknown(names[0].to_owned()),
            [name, ..] => match Kind::from_plural(name) {
                Some(kind) => Self::place(kind, "", &segments[1..]),
                None => Self::Unknown(name.to_owned()),
            },
        }
    }

    fn place(kind: Kind, owner: &str, rest: &[String]) -> Self {
        let (id, sub_path) = rest.split_first().map_or((None, &[][..]), |(id, rest)| (Some(id.clone()), rest));
        Self::Resource(Place { id, kind, owner: owner.to_owned(), sub_path: sub_path.to_vec() })
    }
}

impl Place {
    /// The key of the resource `id` here.
    pub(super) fn key(&self, id: &str) -> Key {
        if self.owner.is_empty() {
            Key::new(self.kind, id)
        } else {
            Key::new(self.kind, format!("{}/{id}", self.owner))
        }
    }

    /// What the keys of all resources here begin with.
    pub(super) fn prefix(&self) -> Arc<str> {
        match self.kind {
            Kind::Credential => format!("consumers/{}/credentials/", self.owner).into(),
            kind => format!("{}/", kind.plural()).into(),
        }
    }
}

/// The kind as APISIX's messages have it: `plugin config`.
pub(super) fn title(kind: Kind) -> Cow<'static, str> {
    match kind {
        Kind::PluginMetadata => kind.singular().into(),
        kind => kind.singular().replace('_', " ").into(),
    }
}

/// The segments below `/apisix/admin`, decoded; `None` for another path. As nginx: `//` is `/`, and an encoded `/` is one.
fn segments(path: &str) -> Option<Vec<String>> {
    let decoded = percent_decoded(path)?;
    let mut segments = decoded.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned);
    if segments.next()? != "apisix" || segments.next()? != "admin" {
        return None;
    }
    let segments: Vec<_> = segments.collect();
    let is_dots = |segment: &String| segment == "." || segment == "..";
    (!segments.iter().any(is_dots)).then_some(segments)
}

fn percent_decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> (String, Vec<String>) {
        match Target::parse(path) {
            Target::Resource(place) => {
                let id = place.id.clone().unwrap_or_default();
                (place.key(&id).to_string(), place.sub_path)
            }
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn resources_are_found_by_their_paths() {
        for (path, key, sub_path) in [
            ("/apisix/admin/routes/1", "routes/1", &[][..]),
            ("/apisix/admin/routes/1/", "routes/1", &[]),
            ("//apisix//admin/routes/%31", "routes/1", &[]),
            ("/apisix/admin/routes/1/upstream/nodes", "routes/1", &["upstream", "nodes"]),
            ("/apisix/admin/routes/1%2Fa", "routes/1", &["a"]),
            ("/apisix/admin/consumers/jack", "consumers/jack", &[]),
            ("/apisix/admin/consumers/jack/credentials/a", "consumers/jack/credentials/a", &[]),
            ("/apisix/admin/secrets/vault/1", "secrets/vault/1", &[]),
            ("/apisix/admin/stream_routes/1", "stream_routes/1", &[]),
        ] {
            assert_eq!(
                place(path),
                (key.to_owned(), sub_path.iter().map(|name| (*name).to_owned()).collect()),
                "{path}"
            );
        }
    }

    #[test]
    fn everything_else_is_told_apart() {
        for (path, target) in [
            ("/apisix/admin", Target::Root),
            ("/apisix/admin/", Target::Root),
            ("/apisix/administration/routes", Target::Outside),
            ("/apisix", Target::Outside),
            ("/", Target::Outside),
            ("/apisix/admin/../x", Target::Outside),
            ("/apisix/admin/%2e%2e/x", Target::Outside),
            ("/apisix/admin/%zz", Target::Outside),
            ("/apisix/admin/%ff", Target::Outside),
            ("/apisix/admin/routs/1", Target::Unknown("routs".to_owned())),
            ("/apisix/admin/credentials/1", Target::Unknown("credentials".to_owned())),
            ("/apisix/admin/configs", Target::Configs),
            ("/apisix/admin/configs/validate", Target::ConfigsValidate),
            ("/apisix/admin/plugins/list", Target::PluginList),
            ("/apisix/admin/plugins/cors", Target::Plugin("cors".to_owned())),
            ("/apisix/admin/schema/plugins/cors", Target::Plugin("cors".to_owned())),
            ("/apisix/admin/schema/route", Target::Schema("route".to_owned())),
            ("/apisix/admin/schema/validate/routes", Target::SchemaValidate("routes".to_owned())),
        ] {
            assert_eq!(Target::parse(path), target, "{path}");
        }
    }
}
