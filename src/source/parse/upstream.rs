//! ApisixUpstream to [`ServiceSettings`].
//!
//! What this version does not serve refuses the whole object, and with it the backends that it speaks for: a Service that
//! is to be reached by TLS must not be sent plain text.

pub(in crate::source) mod balancer;
pub(in crate::source) mod health;
mod nodes;
pub(in crate::source) mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use http::uri::Authority;
use serde_json::Value;

use super::duration::timeouts;
use super::service::number;
use super::{Observe, json};
use crate::api::{self, ApisixUpstream, ApisixUpstreamSpec, PortSettings};
use crate::model::{Invalid, Keepalive, Kind, PassHost, ServiceSettings, SettingsByPort, UpstreamSettings};
use crate::world::{Object, Observed};

impl Observe for ApisixUpstream {
    const KIND: Kind = Kind::ApisixUpstream;

    type Model = ServiceSettings;

    fn parse(self) -> Result<ServiceSettings, Invalid> {
        // Read apart from the rest: another controller's object may hold what only that one serves.
        let class = self.spec["ingressClassName"].as_str().filter(|name| !name.is_empty()).map(Arc::from);
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        Ok(ServiceSettings { class, settings: by_port(self.spec, namespace) })
    }

    fn wrap(observed: Observed<ServiceSettings>) -> Object {
        Object::ApisixUpstream(Box::new(observed))
    }
}

fn by_port(spec: Value, namespace: &str) -> Result<SettingsByPort, Invalid> {
    // Without a spec the object says nothing, and every default holds.
    let spec = if spec.is_null() { Value::Object(serde_json::Map::new()) } else { spec };
    let ApisixUpstreamSpec { external_nodes, ingress_class_name: _, port_level_settings, settings } =
        json::read(spec, "spec")?;
    let nodes = nodes::read(external_nodes.unwrap_or_default(), "spec.externalNodes")?;
    let default = read(settings.clone(), namespace, "spec")?;
    let mut ports = BTreeMap::new();
    for (index, PortSettings { port, settings: of_port }) in
        port_level_settings.unwrap_or_default().into_iter().enumerate()
    {
        let field = format!("spec.portLevelSettings[{index}]");
        let port = number(port, format!("{field}.port"))?;
        if ports.insert(port, read(over(of_port, &settings), namespace, &field)?).is_some() {
            return Err(Invalid::spec(format!("{field}.port"), format!("{port} is in the list already")));
        }
    }
    Ok(SettingsByPort { default, nodes, ports })
}

/// The settings of a port: it takes from the object what APISIX's controller 2.x takes, where it has none of its own.
fn over(port: api::UpstreamSettings, object: &api::UpstreamSettings) -> api::UpstreamSettings {
    let is_secure = matches!(port.scheme.as_deref(), Some("https" | "grpcs" | "h2" | "tls"));
    api::UpstreamSettings {
        discovery: port.discovery.or_else(|| object.discovery.clone()),
        health_check: port.health_check.or_else(|| object.health_check.clone()),
        timeout: port.timeout.or_else(|| object.timeout.clone()),
        tls_secret: port.tls_secret.or_else(|| object.tls_secret.clone().filter(|_| is_secure)),
        tls_verify: port.tls_verify.or_else(|| object.tls_verify.clone().filter(|_| is_secure)),
        ..port
    }
}

fn read(settings: api::UpstreamSettings, namespace: &str, field: &str) -> Result<UpstreamSettings, Invalid> {
    let api::UpstreamSettings {
        discovery,
        health_check,
        loadbalancer,
        pass_host,
        retries,
        scheme,
        subsets,
        timeout,
        tls_secret,
        tls_verify,
        upstream_host,
    } = settings;
    for (name, value) in [("discovery", discovery), ("subsets", subsets)] {
        refuse(field, name, value.as_ref())?;
    }
    let (protocol, tls) = tls::read(scheme.as_deref().unwrap_or_default(), tls_secret, tls_verify, namespace, field)?;
    let retries = match retries {
        None => None,
        Some(retries) => Some(
            usize::try_from(retries)
                .map_err(|_| Invalid::spec(format!("{field}.retries"), format!("{retries} must not be negative")))?,
        ),
    };
    Ok(UpstreamSettings {
        balancing: balancer::read(loadbalancer.unwrap_or_default(), &format!("{field}.loadbalancer"))?,
        health: match health_check {
            None => None,
            Some(check) => Some(Arc::new(health::read(check, &format!("{field}.healthCheck"))?)),
        },
        host: host(pass_host.as_deref().unwrap_or_default(), upstream_host.as_deref().unwrap_or_default(), field)?,
        keepalive: Keepalive::default(),
        protocol,
        retries,
        retry_timeout: None,
        timeouts: timeouts(timeout, &format!("{field}.timeout"))?,
        tls: tls.map(Box::new),
    })
}

/// Refuses a field that is set: empty lists and objects are not.
fn refuse(field: &str, name: &str, value: Option<&Value>) -> Result<(), Invalid> {
    match value {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(list)) if list.is_empty() => Ok(()),
        Some(_) => Err(Invalid::unsupported(format!("{field}.{name}"), format!("{name} is not served"))),
    }
}

/// The `Host` that is sent.
pub(in crate::source) fn host(pass: &str, rewrite: &str, field: &str) -> Result<PassHost, Invalid> {
    match pass {
        "" | "pass" => Ok(PassHost::Pass),
        "node" => Ok(PassHost::Node),
        "rewrite" => {
            let valid = rewrite.parse::<Authority>().is_ok_and(|host| !host.as_str().contains('@'));
            if !valid || HeaderValue::from_str(rewrite).is_err() {
                let message = format!("`{rewrite}` is no host, which `passHost: rewrite` needs");
                return Err(Invalid::spec(format!("{field}.upstreamHost"), message));
            }
            Ok(PassHost::Rewrite(rewrite.into()))
        }
        other => Err(Invalid::spec(format!("{field}.passHost"), format!("`{other}` is none of pass, node, rewrite"))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::model::{Balancing, Reason};

    fn object(spec: Value) -> ServiceSettings {
        ApisixUpstream { spec, ..ApisixUpstream::default() }.parse().unwrap()
    }

    fn parse(spec: Value) -> Result<SettingsByPort, Invalid> {
        object(spec).settings
    }

    #[test]
    fn what_is_left_out_has_apisix_defaults() {
        for spec in [Value::Null, json!({}), json!({"scheme": "", "subsets": []})] {
            let settings = parse(spec).unwrap();
            assert_eq!(settings.ports.len(), 0);
            assert_eq!(settings.default, UpstreamSettings::default());
        }
    }

    #[test]
    fn a_port_has_settings_of_its_own() {
        let spec = json!({
            "retries": 0, "timeout": {"connect": "1s"},
            "portLevelSettings": [{"port": 80, "loadbalancer": {"type": "least_conn"}, "passHost": "node"}],
        });
        let settings = parse(spec).unwrap();
        assert_eq!(settings.default.retries, Some(0));
        let timeouts = settings.default.timeouts.unwrap();
        assert_eq!((timeouts.connect, timeouts.read), (Duration::from_secs(1), Duration::from_secs(60)));
        let port = &settings.ports[&80];
        assert_eq!((&port.balancing, &port.host), (&Balancing::LeastConnections, &PassHost::Node));
        assert_eq!((port.retries, port.timeouts), (None, Some(timeouts)), "of the object's only the timeout counts");
    }

    #[test]
    fn the_class_is_read_whatever_the_rest_holds() {
        let other = object(json!({"ingressClassName": "other", "scheme": "https", "retries": "many"}));
        assert_eq!(other.class.as_deref(), Some("other"));
        assert!(other.settings.is_err());
        assert_eq!(object(json!({"ingressClassName": ""})).class, None);
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        for (spec, field, reason) in [
            (json!({"scheme": "kafka"}), "spec.scheme", Reason::Unsupported),
            (json!({"healthCheck": {}}), "spec.healthCheck.active", Reason::InvalidSpec),
            (json!({"subsets": [{"name": "a"}]}), "spec.subsets", Reason::Unsupported),
            (json!({"discovery": {"type": "dns"}}), "spec.discovery", Reason::Unsupported),
            (json!({"loadbalancer": {"type": "best"}}), "spec.loadbalancer.type", Reason::InvalidSpec),
            (
                json!({"loadbalancer": {"type": "chash", "hashOn": "consumer"}}),
                "spec.loadbalancer.hashOn",
                Reason::Unsupported,
            ),
            (json!({"loadbalancer": {"type": "chash"}}), "spec.loadbalancer.key", Reason::InvalidSpec),
            (
                json!({"loadbalancer": {"type": "chash", "key": "server_name"}}),
                "spec.loadbalancer.key",
                Reason::Unsupported,
            ),
            (
                json!({"loadbalancer": {"type": "chash", "hashOn": "header", "key": "a b"}}),
                "spec.loadbalancer.key",
                Reason::InvalidSpec,
            ),
            (json!({"retries": -1}), "spec.retries", Reason::InvalidSpec),
            (json!({"retries": "1"}), "spec", Reason::InvalidSpec),
            (json!({"timeout": {"read": "0s"}}), "spec.timeout.read", Reason::InvalidSpec),
            (json!({"passHost": "rewrite"}), "spec.upstreamHost", Reason::InvalidSpec),
            (json!({"passHost": "rewrite", "upstreamHost": "a@b"}), "spec.upstreamHost", Reason::InvalidSpec),
            (json!({"passHost": "rewrite", "upstreamHost": "a/b"}), "spec.upstreamHost", Reason::InvalidSpec),
            (json!({"passHost": "mine"}), "spec.passHost", Reason::InvalidSpec),
            (json!({"portLevelSettings": [{"port": 0}]}), "spec.portLevelSettings[0].port", Reason::InvalidSpec),
            (
                json!({"portLevelSettings": [{"port": 80}, {"port": 80}]}),
                "spec.portLevelSettings[1].port",
                Reason::InvalidSpec,
            ),
            (
                json!({"portLevelSettings": [{"port": 80, "scheme": "kafka"}]}),
                "spec.portLevelSettings[0].scheme",
                Reason::Unsupported,
            ),
        ] {
            let invalid = parse(spec.clone()).unwrap_err();
            assert_eq!((invalid.field.as_str(), invalid.reason), (field, reason), "{spec}: {invalid}");
        }
    }
}
