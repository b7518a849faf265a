//! The spec of an ApisixTls: one shape for v1, v2beta3 and v2, which differ only in what was added later.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::Status;

/// Which certificate a set of hosts has, and which clients it lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq, CustomResource, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "apisix.apache.org",
    version = "v2",
    kind = "ApisixTls",
    root = "ApisixTlsDefinition",
    doc = "An ApisixTls: the certificate of a set of hosts, and which clients they let in.",
    plural = "apisixtlses",
    shortname = "atls",
    namespaced,
    status = "Status",
    printcolumn(name = "SNIs", type_ = "string", json_path = ".spec.hosts"),
    printcolumn(name = "Secret Name", type_ = "string", json_path = ".spec.secret.name"),
    printcolumn(name = "Secret Namespace", type_ = "string", json_path = ".spec.secret.namespace"),
    printcolumn(name = "Client CA Secret Name", type_ = "string", json_path = ".spec.client.caSecret.name"),
    printcolumn(name = "Client CA Secret Namespace", type_ = "string", json_path = ".spec.client.caSecret.namespace"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type=='Accepted')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Programmed')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ApisixTlsSpec {
    /// Which clients are let in; every client where it is left out.
    pub client: Option<Client>,
    /// The hosts: `a.example` or `*.example`.
    #[schemars(
        required,
        length(min = 1, max = 1024),
        inner(length(max = 255), regex(pattern = r"^\*?[0-9a-zA-Z._-]+$"))
    )]
    pub hosts: Option<Vec<String>>,
    /// The IngressClass of the controller that serves this object; the default class where it is left out.
    #[schemars(length(max = 253))]
    pub ingress_class_name: Option<String>,
    /// The Secret with the hosts' certificate and key, under `cert` and `key` or `tls.crt` and `tls.key`.
    #[schemars(required)]
    pub secret: Option<SecretRef>,
}

/// A Secret of any namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(required, length(min = 1, max = 253))]
    pub name: Option<String>,
    /// The Secret's namespace.
    #[schemars(required, length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// Which clients are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The Secret with the certificates of the authorities that sign the clients' certificates, under `cert`, `ca.crt` or
    /// `tls.crt`.
    pub ca_secret: Option<SecretRef>,
    /// How many intermediate certificates may stand between a client's certificate and an authority of `caSecret`; 1 where
    /// it is left out.
    pub depth: Option<i64>,
    /// Paths that need no client certificate. Not served: an object that sets it refuses every client.
    #[serde(rename = "skip_mtls_uri_regex")]
    #[schemars(length(max = 1024), inner(length(max = 4096)))]
    pub skip_mtls_uri_regex: Option<Vec<String>>,
}
