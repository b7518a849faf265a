//! The certificates that hosts show.

use super::Context;
use super::data::{Failed, data};
use crate::model::{Kind, ObjectKey, ObjectRef, Reason, Validated, Validity};
use crate::snapshot::ServerCertificate;
use crate::trust::Holder;
use crate::world::World;

/// The keys of a certificate's Secret, in the order they are looked up (APISIX's).
const KEYS: [(&str, &str); 2] = [("cert", "key"), ("tls.crt", "tls.key")];

/// The field that names the certificate at `index`.
pub(super) fn field(index: usize) -> String {
    index.checked_sub(1).map_or_else(|| "spec.secret".to_owned(), |index| format!("spec.additionalSecrets[{index}]"))
}

/// Reads the certificate and key of the Secret `key`.
pub(super) fn certificate(world: &World, context: &Context, key: &ObjectKey) -> Result<ServerCertificate, Failed> {
    let object = ObjectRef { kind: Kind::Secret, key: key.clone() };
    let (source, secret) = data(world, &object)?;
    let invalid = |message: String| Failed::new(Reason::InvalidCertificate, format!("{object} {message}"));
    for (certificate, private) in KEYS {
        let (certificate, private) = match (secret.get(certificate), secret.get(private)) {
            (Some(certificate), Some(private)) => (certificate, private),
            (None, None) => continue,
            (Some(_), None) => return Err(invalid(format!("has `{certificate}` but no `{private}`"))),
            (None, Some(_)) => return Err(invalid(format!("has `{private}` but no `{certificate}`"))),
        };
        let key = context
            .tls
            .certified_key(certificate, private)
            .map_err(|why| Failed::new(Reason::InvalidCertificate, format!("{object}: {why}")))?;
        let holder = key.end_entity_cert().ok().and_then(Holder::read);
        let holder = holder.ok_or_else(|| invalid("holds a certificate that is no X.509 certificate".to_owned()))?;
        return Ok(ServerCertificate {
            key,
            source: source.clone(),
            validity: Validity {
                field: field(0).into(),
                kind: Validated::ServerCertificate,
                not_after: holder.not_after,
                not_before: holder.not_before,
                what: format!("the certificate {} of {object}", holder.subject),
            },
            secret: object.key,
        });
    }
    Err(invalid("has neither `cert` and `key` nor `tls.crt` and `tls.key`".to_owned()))
}
