//! ApisixTls to [`TlsHost`]. Each part is read on its own: hosts that were claimed must be refused, not forgotten, when
//! another part cannot be honoured.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Observe, json};
use crate::api::{ApisixTls, Client, SecretRef};
use crate::model::{
    Alpn, ClientAuthRef, ClientSettings, DEFAULT_DEPTH, DataKind, DataRef, HostPattern, Invalid, Kind, ObjectKey,
    TlsHost, TlsVersions,
};
use crate::world::{Object, Observed};

/// The deepest chain that can be asked for (OpenSSL's own limit).
const MAX_DEPTH: u32 = 100;

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
        let certificates = part(take("secret"), "spec.secret")
            .and_then(|secret| secret_key(secret.unwrap_or_default(), namespace, "spec.secret"))
            .map(|key| vec![key]);
        let client_auth = match take("client") {
            None => Ok(None),
            // `client:` with nothing below it asks for clients to be checked, but not how.
            Some(client) => part(Some(client), "spec.client")
                .and_then(|client| client_auth(client.unwrap_or_default(), namespace))
                .map(|client| Some(Box::new(client))),
        };
        let mut tls = TlsHost {
            alpn: Alpn::default(),
            certificates,
            class: class.filter(|class| !class.is_empty()).map(Arc::from),
            client_auth,
            hosts: Vec::with_capacity(hosts.len()),
            unreadable_hosts: Vec::new(),
            versions: TlsVersions::default(),
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

fn secret_key(secret: SecretRef, namespace: &str, field: &str) -> Result<ObjectKey, Invalid> {
    let SecretRef { name, namespace: named } = secret;
    let name = name.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Invalid::spec(format!("{field}.name"), "must name a Secret"))?;
    let named = named.filter(|namespace| !namespace.is_empty());
    Ok(ObjectKey::new(named.as_deref().unwrap_or(namespace), name))
}

fn client_auth(client: Client, namespace: &str) -> Result<ClientAuthRef, Invalid> {
    let Client { ca_secret, depth, skip_mtls_uri_regex } = client;
    if skip_mtls_uri_regex.is_some_and(|paths| !paths.is_empty()) {
        return Err(Invalid::unsupported(
            "spec.client.skip_mtls_uri_regex",
            "paths without client authentication are not served",
        ));
    }
    let ca = ca_secret.ok_or_else(|| Invalid::spec("spec.client.caSecret", "must name the Secret of the client CA"))?;
    let depth = match depth {
        None => DEFAULT_DEPTH,
        Some(depth) => u32::try_from(depth)
            .ok()
            .filter(|depth| *depth <= MAX_DEPTH)
            .ok_or_else(|| Invalid::spec("spec.client.depth", format!("{depth} is not between 0 and {MAX_DEPTH}")))?,
    };
    let field = "spec.client.caSecret";
    let ca =
        DataRef { key: secret_key(ca, namespace, field)?, entry: None, field: field.into(), kind: DataKind::Secret };
    let settings = ClientSettings { depth, ..ClientSettings::default() };
    Ok(ClientAuthRef { authorities: vec![ca], revocation: None, settings })
}

#[cfg(test)]
mod tests;
