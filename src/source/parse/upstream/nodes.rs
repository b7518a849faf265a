//! `externalNodes`.

use crate::api;
use crate::model::{ExternalName, ExternalNode, Invalid};
use crate::source::parse::domain::domain;
use crate::source::parse::service::number;
use crate::source::parse::weight::weight;

/// Reads the nodes, which stand at `field`.
pub(super) fn read(nodes: Vec<api::ExternalNode>, field: &str) -> Result<Vec<ExternalNode>, Invalid> {
    nodes.into_iter().enumerate().map(|(index, entry)| node(entry, &format!("{field}[{index}]"))).collect()
}

fn node(node: api::ExternalNode, field: &str) -> Result<ExternalNode, Invalid> {
    let api::ExternalNode { kind, name, port, weight: share } = node;
    let name = name.unwrap_or_default();
    if name.is_empty() {
        return Err(Invalid::spec(format!("{field}.name"), "must not be empty"));
    }
    let name = match kind.as_deref() {
        Some("Domain") => {
            ExternalName::Domain(domain(&name).map_err(|message| Invalid::spec(format!("{field}.name"), message))?)
        }
        None | Some("" | "Service") => ExternalName::Service(name.into()),
        Some(other) => {
            let message = format!("`{other}` is neither `Domain` nor `Service`");
            return Err(Invalid::spec(format!("{field}.type"), message));
        }
    };
    let port = port.map(|port| number(Some(port), format!("{field}.port"))).transpose()?;
    Ok(ExternalNode { name, port, priority: 0, weight: weight(share, field)? })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(nodes: Value) -> Result<Vec<ExternalNode>, Invalid> {
        read(serde_json::from_value(nodes).unwrap(), "spec.externalNodes")
    }

    #[test]
    fn a_node_has_a_name_or_the_service_that_has_it() {
        let nodes = parse(json!([
            {"type": "Domain", "name": "A.example", "port": 8080, "weight": 1},
            {"type": "Service", "name": "a"},
            {"name": "b", "weight": 0},
        ]));
        let service = |name: &str, weight| ExternalNode {
            name: ExternalName::Service(name.into()),
            port: None,
            priority: 0,
            weight,
        };
        let domain =
            ExternalNode { name: ExternalName::Domain("a.example".into()), port: Some(8080), priority: 0, weight: 1 };
        assert_eq!(nodes, Ok(vec![domain, service("a", 100), service("b", 0)]));
    }

    #[test]
    fn a_node_that_cannot_be_reached_is_refused() {
        for (node, field) in [
            (json!({"type": "Domain"}), "name"),
            (json!({"type": "Domain", "name": "a.example:80"}), "name"),
            (json!({"type": "Domain", "name": "https://a.example"}), "name"),
            (json!({"type": "Other", "name": "a"}), "type"),
            (json!({"name": "a", "port": 0}), "port"),
            (json!({"name": "a", "weight": -1}), "weight"),
        ] {
            let invalid = parse(json!([node])).unwrap_err();
            assert_eq!(invalid.field, format!("spec.externalNodes[0].{field}"), "{invalid}");
        }
    }
}
