//! Client authentication as an ApisixTls describes it, before any Secret is read.

use std::sync::Arc;

use super::{Network, ObjectRef};

/// `spec.client` of an ApisixTls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientAuthRef {
    /// Where the trust anchors are: `caSecret` first, then `caCertificateRefs`. Never empty.
    pub authorities: Vec<DataRef>,
    /// Where the revocation lists are; `None` where revocation is not checked.
    pub revocation: Option<RevocationRef>,
    /// Everything that needs no other object.
    pub settings: ClientSettings,
}

impl ClientAuthRef {
    /// Every object that certificates or revocation lists are read from.
    pub fn data(&self) -> impl Iterator<Item = &DataRef> {
        self.authorities.iter().chain(self.revocation.iter().flat_map(|revocation| &revocation.lists))
    }
}

/// `revocation`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RevocationRef {
    /// The lists; never empty.
    pub lists: Vec<DataRef>,
    /// How they are used.
    pub settings: RevocationSettings,
}

/// A Secret or ConfigMap, and what to read of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataRef {
    /// The key within the object's data; the usual ones where it is `None`.
    pub entry: Option<Arc<str>>,
    /// The field that names it, for conditions: `spec.client.caSecret`.
    pub field: Arc<str>,
    /// The object: a Secret or a ConfigMap.
    pub object: ObjectRef,
}

/// The part of a client policy that is written in the ApisixTls itself. Hashed into the policy's id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientSettings {
    /// How many intermediates may stand between the client's certificate and a trust anchor.
    pub depth: u32,
    /// What a refused client sees.
    pub failure: Failure,
    /// What the upstream is told about the client.
    pub forward: Forward,
    /// Which identities are let in: those that match one of the rules. Empty lets in everyone who verifies.
    pub identities: Vec<IdentityRule>,
    /// Whether a certificate must be there.
    pub mode: Mode,
    /// `skip_mtls_uri_regex`: paths that need no client certificate, as regular expressions that match anywhere in the
    /// normalised path.
    pub skip: Vec<Arc<str>>,
}

/// `mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Everyone is served; who would have been refused under `Require` is counted and logged.
    Observe,
    /// A client may send no certificate; one that it sends must satisfy the policy.
    Optional,
    /// A certificate that satisfies the policy is needed.
    #[default]
    Require,
}

/// What a refused client sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The handshake fails with an alert.
    Alert,
    /// The handshake completes, and each request is answered with this.
    #[default]
    Page,
    /// As `Page`, with an answer of the user's own.
    Answer(FailureAnswer),
}

/// The answer to a refused client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FailureAnswer {
    /// What it holds.
    pub body: FailureBody,
    /// 400 to 599, or a redirection (301, 302, 303, 307, 308).
    pub status: u16,
}

/// What the answer to a refused client holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FailureBody {
    /// An `application/problem+json` document (RFC 9457) with the reason.
    Problem,
    /// A redirection: the value of `Location`.
    Redirect(Arc<str>),
    /// Bytes of a content type.
    Text {
        /// The value of `Content-Type`.
        content_type: Arc<str>,
        /// The body.
        text: Arc<str>,
    },
}

/// What the upstream is told about the client. Copies that a client sends are removed from every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Forward {
    /// `Client-Cert` (RFC 9440).
    pub client_cert: bool,
    /// `Client-Cert-Chain` (RFC 9440).
    pub client_cert_chain: bool,
    /// Headers of the user's choice: name in lower case, and value.
    pub headers: Vec<(Arc<str>, IdentityField)>,
    /// `X-Forwarded-Client-Cert` as Envoy writes it.
    pub xfcc: bool,
}

/// A fact about the client that a header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdentityField {
    /// The DNS names of the subject alternative name, joined with commas.
    DnsNames,
    /// The e-mail addresses of the subject alternative name, joined with commas.
    Emails,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    Fingerprint,
    /// The IP addresses of the subject alternative name, joined with commas.
    IpAddresses,
    /// The issuer's name (RFC 4514).
    Issuer,
    /// The serial number, in upper-case hexadecimal, as nginx's `$ssl_client_serial`.
    Serial,
    /// The subject's name (RFC 4514).
    Subject,
    /// The URIs of the subject alternative name, joined with commas.
    Uris,
    /// `SUCCESS`, `NONE` or `FAILED:reason`, as nginx's `$ssl_client_verify`.
    Verify,
}

/// One of the identities that are let in: every field that is not empty must match, by one of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IdentityRule {
    /// SHA-256 of the certificate.
    pub certificate_sha256: Vec<[u8; 32]>,
    /// DNS names of the subject alternative name.
    pub dns: Vec<TextMatch>,
    /// E-mail addresses of the subject alternative name.
    pub email: Vec<TextMatch>,
    /// IP addresses of the subject alternative name.
    pub ip: Vec<Network>,
    /// SHA-256 of the `SubjectPublicKeyInfo`, as in HPKP and SPKI pins.
    pub public_key_sha256: Vec<[u8; 32]>,
    /// SPIFFE ids: the certificate must hold exactly one URI, and that must be a SPIFFE id.
    pub spiffe: Vec<TextMatch>,
    /// The subject's name (RFC 4514).
    pub subject: Vec<TextMatch>,
    /// URIs of the subject alternative name.
    pub uri: Vec<TextMatch>,
}

/// How a text is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TextMatch {
    /// The whole text.
    Exact(Arc<str>),
    /// Its beginning.
    Prefix(Arc<str>),
    /// A regular expression over the whole text.
    Regex(Arc<str>),
    /// Its end.
    Suffix(Arc<str>),
}

/// How revocation lists are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RevocationSettings {
    /// Whether a certificate is let in about which no valid list says anything: there is none of its issuer, or it has
    /// expired. False refuses it.
    pub allow_unknown: bool,
    /// Whether only the client's own certificate is checked, and not the intermediates.
    pub leaf_only: bool,
}
