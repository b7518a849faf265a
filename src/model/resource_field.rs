//! The names of fields in the resources of the Admin API.

use super::Invalid;

/// Fields of the Kubernetes objects, below `spec.`, that resources call otherwise. The first that is the beginning counts; what is
/// in no row is called the same but for its case.
const NAMES: [(&str, &str); 18] = [
    ("additionalSecrets", "certs"),
    ("client.revocation", "client"),
    ("externalNodes", "nodes"),
    ("healthCheck.active.healthy.httpCodes", "checks.active.healthy.http_statuses"),
    ("healthCheck.active.requestHeaders", "checks.active.req_headers"),
    ("healthCheck.active.strictTLS", "checks.active.https_verify_certificate"),
    ("healthCheck.active.unhealthy.httpCodes", "checks.active.unhealthy.http_statuses"),
    ("healthCheck.active.unhealthy.timeout", "checks.active.unhealthy.timeouts"),
    ("healthCheck.passive.healthy.httpCodes", "checks.passive.healthy.http_statuses"),
    ("healthCheck.passive.unhealthy.httpCodes", "checks.passive.unhealthy.http_statuses"),
    ("healthCheck.passive.unhealthy.timeout", "checks.passive.unhealthy.timeouts"),
    ("healthCheck", "checks"),
    ("hosts", "snis"),
    ("loadbalancer.", ""),
    ("match.host", "sni"),
    ("match", "server_port"),
    ("secret", "cert"),
    ("tls", "tls."),
];

impl Invalid {
    /// The same fault of a resource, which holds the object's fields at `within` (`upstream.`, or nothing). Faults that name a field of
    /// the resource already stay as they are.
    #[must_use]
    pub fn of_resource(mut self, within: &str) -> Self {
        if let Some(field) = self.field.strip_prefix("spec.") {
            self.field = format!("{within}{}", name(field));
        }
        self
    }
}

fn name(field: &str) -> String {
    let (name, rest) = match NAMES.iter().find_map(|(ours, theirs)| Some((*theirs, field.strip_prefix(ours)?))) {
        Some(("tls.", "Secret")) => ("tls.client_cert", ""),
        Some(("tls.", "Secret.name")) => ("tls.client_cert_id", ""),
        Some(("tls.", "Verify")) => ("tls.verify", ""),
        Some(("nodes", rest)) => return format!("nodes{}", rest.replace(".name", ".host")),
        Some(("server_port", _)) => ("server_port", ""),
        Some(found) => found,
        None => ("", field),
    };
    let mut snake = name.to_owned();
    for letter in rest.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_fields_of_resources() {
        for (ours, within, theirs) in [
            ("spec.externalNodes[1].name", "", "nodes[1].host"),
            ("spec.externalNodes[1].name", "upstream.", "upstream.nodes[1].host"),
            ("spec.secret", "", "cert"),
            ("spec.additionalSecrets[0]", "", "certs[0]"),
            ("spec.hosts", "", "snis"),
            ("spec.client", "", "client"),
            ("spec.tlsSecret", "upstream.", "upstream.tls.client_cert"),
            ("spec.tlsVerify", "", "tls.verify"),
            ("spec.loadbalancer.hashOn", "", "hash_on"),
            ("spec.passHost", "", "pass_host"),
            ("spec.healthCheck.active.httpPath", "", "checks.active.http_path"),
            ("spec.healthCheck.passive.unhealthy.tcpFailures", "", "checks.passive.unhealthy.tcp_failures"),
            ("spec.healthCheck.active.unhealthy.httpCodes", "", "checks.active.unhealthy.http_statuses"),
            ("spec.match.ingressPort", "", "server_port"),
            ("spec.match.host", "", "sni"),
            ("hosts[0]", "upstream.", "hosts[0]"),
        ] {
            assert_eq!(Invalid::spec(ours, "").of_resource(within).field, theirs);
        }
    }
}
