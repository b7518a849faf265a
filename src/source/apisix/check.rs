//! Whether a resource can be served, for whoever writes it.

use std::sync::Arc;

use super::resources::Resources;
use crate::keyring::Keyring;
use crate::model::Invalid;
use crate::resource::Key;
use crate::store::{Entry, Listing, Update};
use crate::world::{Change, Object};

/// Whether the first of `resources` can be served; the others are those that it refers to. Their texts are as a store has them.
///
/// # Errors
/// The first field that cannot be honoured.
pub fn check(resources: &[(Key, Arc<str>)], keyring: &Arc<Keyring>) -> Result<(), Invalid> {
    let Some((key, _)) = resources.first() else { return Ok(()) };
    let own = key.to_string();
    let part = format!("{own}/");
    let entry = |text: &Arc<str>| Entry { value: text.clone(), created: 0, modified: 0 };
    let entries = resources.iter().map(|(key, text)| (key.to_string().into(), entry(text))).collect();
    let mut translation = Resources::new("".into(), keyring.clone());
    let change = translation.take(Update::All(Listing { entries, revision: 0 }));
    let mut objects = Vec::new();
    flatten(change, &mut objects);
    let own = objects.iter().filter(|(name, _)| **name == *own || name.starts_with(&part));
    own.filter_map(|(_, object)| refusal(object)).next().map_or(Ok(()), Err)
}

/// The objects of a change, by their names.
fn flatten(change: Change, objects: &mut Vec<(Arc<str>, Object)>) {
    match change {
        Change::Together(changes) => changes.into_iter().for_each(|change| flatten(change, objects)),
        Change::Replace { objects: all, .. } => {
            objects.extend(all.into_iter().map(|(key, object)| (key.name, object)));
        }
        Change::Upsert { key, object, .. } => objects.push((key.name, object)),
        Change::Lookup { .. } | Change::Remove { .. } => {}
    }
}

/// Why an object, or a part of it, cannot be honoured.
fn refusal(object: &Object) -> Option<Invalid> {
    match object {
        Object::ApisixRoute(route) => route.value.as_ref().err().cloned(),
        Object::ApisixTls(tls) => match &tls.value {
            Err(why) => Some(why.clone()),
            Ok(tls) => {
                let hosts = tls.unreadable_hosts.first().cloned();
                let certificates = || tls.certificates.as_ref().err().map(|why| (**why).clone());
                let protocols = || tls.protocols.as_ref().err().map(|why| (**why).clone());
                let client = || tls.client_auth.as_ref().err().cloned();
                hosts.or_else(certificates).or_else(client).or_else(protocols)
            }
        },
        Object::ApisixUpstream(upstream) => match &upstream.value {
            Err(why) => Some(why.clone()),
            Ok(upstream) => upstream.settings.as_ref().err().cloned(),
        },
        Object::Secret(secret) => secret.value.as_ref().err().cloned(),
        Object::ConfigMap(_) | Object::EndpointSlice(_) | Object::IngressClass(_) | Object::Service(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn says(resources: &[(&str, Value)]) -> Result<(), String> {
        let keyring = Arc::new(Keyring::new(&["0123456789abcdef".to_owned()]).unwrap());
        let resource = |(key, value): &(&str, Value)| (Key::parse(key).unwrap(), Arc::from(value.to_string()));
        let resources: Vec<_> = resources.iter().map(resource).collect();
        check(&resources, &keyring).map_err(|why| why.field)
    }

    #[test]
    fn what_cannot_be_served_is_named() {
        let upstream = || json!({ "nodes": { "127.0.0.1:80": 1 } });
        let service = || ("services/s", json!({ "upstream": upstream(), "path_prefix": "/v1" }));
        for (resources, field) in [
            (vec![("routes/1", json!({ "uri": "/", "upstream": upstream() }))], None),
            (vec![("routes/1", json!({ "uri": "/", "service_id": "s" })), service()], None),
            (vec![("routes/1", json!({ "uri": "/", "service_id": "s" }))], Some("service_id")),
            (vec![("routes/1", json!({ "uri": "*", "service_id": "s" })), service()], Some("uri")),
            (vec![("routes/1", json!({ "uri": "/", "host": "*", "upstream": upstream() }))], Some("host")),
            (vec![("upstreams/1", json!({ "nodes": {}, "discovery_type": "dns" }))], Some("discovery_type")),
            (
                vec![("routes/1", json!({ "uri": "/", "upstream": { "nodes": { "a:0": 1 } } }))],
                Some("upstream.nodes[a:0]"),
            ),
            (vec![("ssls/1", json!({ "sni": "*", "cert": "-----", "key": "-----" }))], Some("sni")),
            (vec![("ssls/1", json!({ "sni": "a.com", "cert": "-----", "key": "sealed elsewhere" }))], Some("key")),
            (vec![("ssls/1", json!({ "type": "client", "cert": "$secret://a", "key": "-----" }))], Some("cert")),
        ] {
            assert_eq!(says(&resources).err().as_deref(), field, "{resources:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_others_is_theirs() {
        let broken = json!({ "nodes": {}, "discovery_type": "dns" });
        let route = json!({ "uri": "/", "upstream_id": "1" });
        assert_eq!(says(&[("routes/1", route), ("upstreams/1", broken)]), Ok(()));
    }
}
