//! `spec.stream`, and v2beta1's `spec.tcp`.

use super::{backend_ref, refuse_plugins};
use crate::api::{Backend, StreamBackend, StreamMatch, StreamRule as Entry};
use crate::model::{self, BackendRef, HostPattern, Invalid, Protocol, StreamRule};
use crate::source::parse::service::number;

/// Reads an entry of `spec.stream`; `field` is its path.
///
/// # Errors
/// When the entry cannot be honoured as a whole.
pub(super) fn stream_rule(rule: Entry, field: &str) -> Result<StreamRule, Invalid> {
    let field_of = |name: &str| format!("{field}.{name}");
    let protocol = match rule.protocol.as_deref() {
        Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some(other) => {
            return Err(Invalid::spec(field_of("protocol"), format!("`{other}` is neither `TCP` nor `UDP`")));
        }
        None => return Err(Invalid::spec(field_of("protocol"), "must be set: `TCP` or `UDP`")),
    };
    rule_of(rule, protocol, field)
}

/// Reads an entry of `spec.tcp`; `field` is its path.
///
/// # Errors
/// When the entry cannot be honoured as a whole.
pub(super) fn tcp_rule(rule: Entry, field: &str) -> Result<StreamRule, Invalid> {
    match rule.protocol.as_deref() {
        None | Some("TCP") => rule_of(rule, Protocol::Tcp, field),
        Some(other) => {
            Err(Invalid::spec(format!("{field}.protocol"), format!("`{other}` belongs into `spec.stream`, not here")))
        }
    }
}

fn rule_of(rule: Entry, protocol: Protocol, field: &str) -> Result<StreamRule, Invalid> {
    let Entry { backend, matches, name, plugins, protocol: _ } = rule;
    let name = name.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Invalid::spec(format!("{field}.name"), "must not be empty"))?;
    refuse_plugins(plugins.as_deref().unwrap_or_default(), field)?;
    let matches = matches.ok_or_else(|| Invalid::spec(format!("{field}.match"), "must be set"))?;
    let StreamMatch { host, ingress_port } = matches;
    let host = match host.filter(|host| !host.is_empty()) {
        None => HostPattern::Any,
        Some(_) if protocol == Protocol::Udp => {
            let message = "must be left out: UDP names no host, only TLS does";
            return Err(Invalid::spec(format!("{field}.match.host"), message));
        }
        Some(host) => {
            HostPattern::parse(&host).map_err(|message| Invalid::spec(format!("{field}.match.host"), message))?
        }
    };
    let backend = backend.ok_or_else(|| Invalid::spec(format!("{field}.backend"), "must be set"))?;
    Ok(StreamRule {
        backend: model::StreamBackend::Service(backend_of(backend, protocol, &format!("{field}.backend"))?),
        clients: Box::default(),
        field: field.into(),
        host,
        name: name.into(),
        port: Some(number(ingress_port, format!("{field}.match.ingressPort"))?),
        protocol: Some(protocol),
    })
}

/// A backend as HTTP has it, with the ports of `protocol`.
fn backend_of(backend: StreamBackend, protocol: Protocol, field: &str) -> Result<BackendRef, Invalid> {
    let StreamBackend { resolve_granularity, resolve_granualrity, service_name, service_port, subset } = backend;
    let backend =
        Backend { resolve_granularity, resolve_granualrity, service_name, service_port, subset, weight: None };
    Ok(BackendRef { protocol, ..backend_ref(backend, field)? })
}
