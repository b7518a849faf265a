//! ApisixTls to [`TlsHost`]. Each part is read on its own: hosts that were claimed must be refused, not forgotten, when
//! another part cannot be honoured.

pub(in crate::source) mod client;
mod failure;
mod forward;
mod identity;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use self::client::client_auth;
use super::{Observe, json};
use crate::api::{self, ApisixTls, SecretRef};
use crate::model::{Alpn, HostPattern, Invalid, Kind, ObjectKey, Protocols, TlsHost, TlsVersions};
use crate::world::{Object, Observed};

/// Certificates beside the first.
const MAX_ADDITIONAL: usize = 8;

impl Observe for ApisixTls {
    const KIND: Kind = Kind::ApisixTls;

    type Model = TlsHost;

    fn parse(mut self) -> Result<TlsHost, Invalid> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        if !self.spec.is_object() {
            return Err(Invalid::spec("spec", "must be an object"));
        }
        let mut take = |name: &str| self.spec.get_mut(name).map(Value::take);
        let class: Option<String> = part(take("ingressClassName"), "spec.ingressClassName")?;
        let hosts: Vec<Value> = part(take("hosts"), "spec.hosts")?.unwrap_or_default();
        if hosts.is_empty() {
            return Err(Invalid::spec("spec.hosts", "must hold at least one host"));
        }
        let certificates = certificates(take("secret"), take("additionalSecrets"), namespace);
        let protocols = part(take("tls"), "spec.tls").and_then(|tls| protocols(tls.unwrap_or_default()));
        let client_auth = match take("client") {
            None => Ok(None),
            // `client:` with nothing below it asks for clients to be checked, but not how.
            Some(client) => part(Some(client), "spec.client")
                .and_then(|client| client_auth(client.unwrap_or_default(), namespace))
                .map(|client| Some(Box::new(client))),
        };
        let mut tls = TlsHost {
            certificates: certificates.map_err(Box::new),
            class: class.filter(|class| !class.is_empty()).map(Arc::from),
            client_auth,
            hosts: Vec::with_capacity(hosts.len()),
            protocols: protocols.map_err(Box::new),
            unreadable_hosts: Vec::new(),
        };
        for (index, host) in hosts.iter().enumerate() {
            let host = host.as_str().ok_or_else(|| "must be a text".to_owned()).and_then(HostPattern::parse);
            match host {
                Ok(host) if tls.hosts.contains(&host) => {}
                Ok(host) => tls.hosts.push(host),
                Err(message) => tls.unreadable_hosts.push(Invalid::spec(format!("spec.hosts[{index}]"), message)),
            }
        }
        Ok(tls)
    }

    fn wrap(observed: Observed<TlsHost>) -> Object {
        Object::ApisixTls(observed)
    }
}

/// Reads one field of the spec; null is the same as nothing.
fn part<T: DeserializeOwned>(value: Option<Value>, field: &str) -> Result<Option<T>, Invalid> {
    value.map_or(Ok(None), |value| json::read(value, field))
}

pub(super) fn secret_key(secret: SecretRef, namespace: &str, field: &str) -> Result<ObjectKey, Invalid> {
    let SecretRef { name, namespace: named } = secret;
    let name = name.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Invalid::spec(format!("{field}.name"), "must name a Secret"))?;
    let named = named.filter(|namespace| !namespace.is_empty());
    if let Some(named) = named.as_ref().filter(|named| named.contains('/')) {
        return Err(Invalid::spec(format!("{field}.namespace"), format!("`{named}` is no namespace")));
    }
    Ok(ObjectKey::new(named.as_deref().unwrap_or(namespace), name))
}

fn certificates(secret: Option<Value>, additional: Option<Value>, namespace: &str) -> Result<Vec<ObjectKey>, Invalid> {
    let first = part(secret, "spec.secret")?.unwrap_or_default();
    let mut keys = vec![secret_key(first, namespace, "spec.secret")?];
    let field = "spec.additionalSecrets";
    let additional: Vec<SecretRef> = part(additional, field)?.unwrap_or_default();
    at_most(additional.len(), MAX_ADDITIONAL, field)?;
    for (index, secret) in additional.into_iter().enumerate() {
        keys.push(secret_key(secret, namespace, &format!("{field}[{index}]"))?);
    }
    Ok(keys)
}

fn protocols(protocols: api::Protocols) -> Result<Protocols, Invalid> {
    let api::Protocols { alpn, max_version, min_version } = protocols;
    let versions = [("TLSv1.2", 2), ("TLSv1.3", 3)];
    let lowest = choice(min_version.as_deref(), "spec.tls.minVersion", &versions)?.unwrap_or(2);
    let highest = choice(max_version.as_deref(), "spec.tls.maxVersion", &versions)?.unwrap_or(3);
    let versions = match (lowest, highest) {
        (2, 3) => TlsVersions::Both,
        (2, _) => TlsVersions::Tls12,
        (_, 3) => TlsVersions::Tls13,
        _ => return Err(Invalid::spec("spec.tls.minVersion", "is above maxVersion")),
    };
    let Some(names) = alpn else { return Ok(Protocols { alpn: Alpn::default(), versions }) };
    let mut offered = (false, false);
    for (index, name) in names.iter().enumerate() {
        match name.as_str() {
            "h2" => offered.0 = true,
            "http/1.1" => offered.1 = true,
            _ => {
                let message = format!("`{name}` is not one of h2, http/1.1");
                return Err(Invalid::spec(format!("spec.tls.alpn[{index}]"), message));
            }
        }
    }
    let alpn = match offered {
        (true, true) => Alpn::Both,
        (true, false) => Alpn::Http2,
        (false, true) => Alpn::Http1,
        (false, false) => return Err(Invalid::spec("spec.tls.alpn", "must hold h2, http/1.1 or both")),
    };
    Ok(Protocols { alpn, versions })
}

/// What stands for a text that must be one of `choices`; `None` for none.
fn choice<T: Copy>(text: Option<&str>, field: &str, choices: &[(&str, T)]) -> Result<Option<T>, Invalid> {
    let Some(text) = text else { return Ok(None) };
    match choices.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Ok(Some(*value)),
        None => {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            Err(Invalid::spec(field, format!("`{text}` is not one of {}", names.join(", "))))
        }
    }
}

/// Refuses lists that are longer than the schema allows: manifests are not checked by it.
pub(in crate::source) fn at_most(count: usize, limit: usize, field: &str) -> Result<(), Invalid> {
    if count > limit {
        return Err(Invalid::spec(field, format!("holds {count} values; {limit} are the most")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
