//! The spec of an ApisixTls: one shape for v1, v2beta3 and v2, which differ only in what was added later.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
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
    status = "Status"
)]
#[serde(rename_all = "camelCase")]
pub struct ApisixTlsSpec {
    /// Further certificates of the same hosts, as `secret`. The first certificate whose key the client can verify is used:
    /// put ECDSA before RSA where both are to be served.
    #[schemars(length(max = 8))]
    pub additional_secrets: Option<Vec<SecretRef>>,
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
    /// The protocols that the handshake offers.
    pub tls: Option<Protocols>,
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

/// The protocols that the handshake offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.minVersion) || !has(self.maxVersion) || self.minVersion <= self.maxVersion",
    "message": "minVersion is above maxVersion"
}]))]
pub struct Protocols {
    /// The application protocols (RFC 7301): `h2`, `http/1.1`, or both, which is the default. `h2` is preferred.
    #[schemars(
        length(min = 1, max = 2),
        inner(length(max = 8), regex(pattern = r"^(h2|http/1\.1)$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub alpn: Option<Vec<String>>,
    /// The highest version of TLS; `TLSv1.3` where it is left out.
    #[schemars(extend("enum" = ["TLSv1.2", "TLSv1.3"]))]
    pub max_version: Option<String>,
    /// The lowest version of TLS; `TLSv1.2` where it is left out.
    #[schemars(extend("enum" = ["TLSv1.2", "TLSv1.3"]))]
    pub min_version: Option<String>,
}

/// Which clients are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.caSecret) || has(self.caCertificateRefs)", "message": "caSecret or caCertificateRefs is required"},
    {
        "rule": "!has(self.failure) || !has(self.failure.type) || self.failure.type != 'Alert' \
                 || !has(self.skip_mtls_uri_regex) || size(self.skip_mtls_uri_regex) == 0",
        "message": "skip_mtls_uri_regex needs failure type Http: with Alert the handshake fails before there is a path"
    }
]))]
pub struct Client {
    /// Secrets and `ConfigMap`s with more certificates of authorities, beside those of `caSecret`.
    #[schemars(length(min = 1, max = 16))]
    pub ca_certificate_refs: Option<Vec<DataRef>>,
    /// The Secret with the certificates of the authorities that sign the clients' certificates, under `cert`, `ca.crt` or
    /// `tls.crt`.
    pub ca_secret: Option<SecretRef>,
    /// How many intermediate certificates may stand between a client's certificate and an authority; 1 where it is left
    /// out.
    pub depth: Option<i64>,
    /// What a refused client sees; a page with status 400 where it is left out.
    pub failure: Option<Failure>,
    /// What the upstream is told about the client; nothing where it is left out.
    pub forward: Option<Forward>,
    /// Which identities are let in: certificates that match one of these rules. Every certificate that verifies where it is
    /// left out.
    #[schemars(length(min = 1, max = 64))]
    pub identities: Option<Vec<Identity>>,
    /// `Require` (the default) refuses clients that do not satisfy the policy. With `Optional` a client may send no
    /// certificate, but one that it sends must satisfy the policy. `Observe` serves everyone, and counts and logs who would
    /// have been refused.
    #[schemars(extend("enum" = ["Require", "Optional", "Observe"]))]
    pub mode: Option<String>,
    /// Certificate revocation lists; none are looked at where it is left out.
    pub revocation: Option<Revocation>,
    /// Paths that need no client certificate: regular expressions that match anywhere in the normalised path; begin them with
    /// `^`.
    #[serde(rename = "skip_mtls_uri_regex")]
    #[schemars(length(max = 1024), inner(length(max = 4096)))]
    pub skip_mtls_uri_regex: Option<Vec<String>>,
}

/// A Secret or ConfigMap, and what to read of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataRef {
    /// The key in the object's data. Where it is left out, of certificates `cert`, `ca.crt` or `tls.crt`, whichever is found
    /// first; of revocation lists `ca.crl`, `crl.pem` or `crl`.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
    /// `Secret` (the default) or `ConfigMap`.
    #[schemars(extend("enum" = ["ConfigMap", "Secret"]))]
    pub kind: Option<String>,
    /// The object's name.
    #[schemars(required, length(min = 1, max = 253))]
    pub name: Option<String>,
    /// The object's namespace; the ApisixTls's own where it is left out.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// What a refused client sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.type) || self.type != 'Alert' || !(has(self.statusCode) || has(self.contentType) \
                 || has(self.body) || has(self.problem) || has(self.redirect))",
        "message": "with type Alert the handshake fails: there is no answer to describe"
    },
    {
        "rule": "[has(self.body), has(self.problem) && self.problem, has(self.redirect)].filter(x, x).size() <= 1",
        "message": "body, problem and redirect exclude each other"
    },
    {"rule": "!has(self.contentType) || has(self.body)", "message": "contentType needs body"},
    {
        "rule": "!has(self.statusCode) || (has(self.redirect) ? self.statusCode in [301, 302, 303, 307, 308] \
                 : self.statusCode >= 400)",
        "message": "statusCode is 301, 302, 303, 307 or 308 with redirect, and 400 to 599 without"
    }
]))]
pub struct Failure {
    /// The text of the answer.
    #[schemars(length(max = 16384))]
    pub body: Option<String>,
    /// The content type of `body`; `text/plain; charset=utf-8` where it is left out.
    #[schemars(length(min = 1, max = 255), regex(pattern = "^[ -~]+$"))]
    pub content_type: Option<String>,
    /// Whether the answer is an `application/problem+json` document (RFC 9457) that holds the reason.
    pub problem: Option<bool>,
    /// Where the client is sent: an absolute URL, or a path.
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^(https?://[!-~]+|/[!-~]*)$"))]
    pub redirect: Option<String>,
    /// The status of the answer: 400 where it is left out, 302 with `redirect`.
    #[schemars(range(min = 300, max = 599))]
    pub status_code: Option<i64>,
    /// `Http` (the default) completes the handshake and answers each request. `Alert` fails the handshake.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["Http", "Alert"]))]
    pub kind: Option<String>,
}

/// What the upstream is told about the client. What a client sends under these names is removed from every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Forward {
    /// Whether `Client-Cert` is sent (RFC 9440).
    pub client_cert: Option<bool>,
    /// Whether `Client-Cert-Chain` is sent (RFC 9440).
    pub client_cert_chain: Option<bool>,
    /// Headers of your choice.
    #[schemars(length(max = 16))]
    pub headers: Option<Vec<ForwardedHeader>>,
    /// Whether `X-Forwarded-Client-Cert` is sent, as Envoy writes it.
    pub x_forwarded_client_cert: Option<bool>,
}

/// A header with a fact about the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardedHeader {
    /// The header's name.
    #[schemars(required, length(min = 1, max = 128), regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub name: Option<String>,
    /// What it holds: the names of subject and issuer as in RFC 4514, serial number and SHA-256 fingerprint in hexadecimal,
    /// subject alternative names joined with commas, or `Verify`: `SUCCESS`, `NONE` or `FAILED:reason`.
    #[schemars(required, extend("enum" = [
        "DnsNames", "Emails", "Fingerprint", "IpAddresses", "Issuer", "Serial", "Subject", "Uris", "Verify"
    ]))]
    pub value: Option<String>,
}

/// A rule on the identity of a client: each field that is set must match, by one of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct Identity {
    /// SHA-256 of the certificate: hexadecimal, with or without colons, or base64.
    #[schemars(length(min = 1, max = 64), inner(length(min = 44, max = 95), regex(pattern = schema::SHA256)))]
    pub certificate_sha256: Option<Vec<String>>,
    /// DNS names of the subject alternative name, whatever their case.
    #[schemars(length(min = 1, max = 64))]
    pub dns: Option<Vec<TextMatch>>,
    /// E-mail addresses of the subject alternative name.
    #[schemars(length(min = 1, max = 64))]
    pub email: Option<Vec<TextMatch>>,
    /// IP addresses of the subject alternative name: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 2, max = 49), regex(pattern = "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$"))
    )]
    pub ip: Option<Vec<String>>,
    /// SHA-256 of the public key (`SubjectPublicKeyInfo`): hexadecimal, with or without colons, or base64.
    #[schemars(length(min = 1, max = 64), inner(length(min = 44, max = 95), regex(pattern = schema::SHA256)))]
    pub public_key_sha256: Option<Vec<String>>,
    /// SPIFFE ids: the certificate must hold exactly one URI, and that must be a SPIFFE id.
    #[schemars(length(min = 1, max = 64))]
    pub spiffe: Option<Vec<TextMatch>>,
    /// The subject's name (RFC 4514): `CN=shop,O=Example`.
    #[schemars(length(min = 1, max = 64))]
    pub subject: Option<Vec<TextMatch>>,
    /// URIs of the subject alternative name.
    #[schemars(length(min = 1, max = 64))]
    pub uri: Option<Vec<TextMatch>>,
}

/// How a text is compared: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct TextMatch {
    /// The whole text.
    #[schemars(length(min = 1, max = 2048))]
    pub exact: Option<String>,
    /// Its beginning.
    #[schemars(length(min = 1, max = 2048))]
    pub prefix: Option<String>,
    /// A regular expression over the whole text.
    #[schemars(length(min = 1, max = 2048))]
    pub regex: Option<String>,
    /// Its end.
    #[schemars(length(min = 1, max = 2048))]
    pub suffix: Option<String>,
}

/// Certificate revocation lists (RFC 5280 section 5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Revocation {
    /// Where the lists are, PEM or DER.
    #[schemars(required, length(min = 1, max = 16))]
    pub crl_refs: Option<Vec<DataRef>>,
    /// `Chain` (the default) checks the client's certificate and its intermediates, `Leaf` the client's certificate alone.
    #[schemars(extend("enum" = ["Chain", "Leaf"]))]
    pub scope: Option<String>,
    /// What becomes of a certificate about which no valid list says anything, because there is none of its issuer or it has
    /// expired: `Refuse` (the default) or `Allow`.
    #[schemars(extend("enum" = ["Refuse", "Allow"]))]
    pub unknown: Option<String>,
}
