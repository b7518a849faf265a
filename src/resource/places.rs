//! Where certificates and keys stand in resources.

use serde_json::Value;

use super::Kind;

/// Calls `each` with every text of `value` that is a private key, and the name of its field.
///
/// # Errors
/// The first error of `each`.
pub(super) fn keys<E>(
    kind: Kind,
    value: &mut Value,
    mut each: impl FnMut(&str, &mut String) -> Result<(), E>,
) -> Result<(), E> {
    visit(kind, value, &mut |field, is_key, text| if is_key { each(field, text) } else { Ok(()) })
}

/// Calls `each` with every text of `value` that is a certificate or a private key, and the name of its field.
///
/// # Errors
/// The first error of `each`.
pub(super) fn texts<E>(
    kind: Kind,
    value: &mut Value,
    mut each: impl FnMut(&str, &mut String) -> Result<(), E>,
) -> Result<(), E> {
    visit(kind, value, &mut |field, _, text| each(field, text))
}

type Each<'a, E> = &'a mut dyn FnMut(&str, bool, &mut String) -> Result<(), E>;

fn visit<E>(kind: Kind, value: &mut Value, each: Each<'_, E>) -> Result<(), E> {
    match kind {
        Kind::Ssl => {
            at(value, "/cert", "cert", false, each)?;
            at(value, "/key", "key", true, each)?;
            at(value, "/certs", "certs", false, each)?;
            at(value, "/keys", "keys", true, each)?;
            at(value, "/client/ca", "client.ca", false, each)
        }
        Kind::Upstream => {
            at(value, "/tls/client_cert", "tls.client_cert", false, each)?;
            at(value, "/tls/client_key", "tls.client_key", true, each)
        }
        Kind::Route | Kind::Service | Kind::StreamRoute => {
            at(value, "/upstream/tls/client_cert", "upstream.tls.client_cert", false, each)?;
            at(value, "/upstream/tls/client_key", "upstream.tls.client_key", true, each)
        }
        _ => Ok(()),
    }
}

/// The text at `pointer`, or each of the array's.
fn at<E>(value: &mut Value, pointer: &str, field: &str, is_key: bool, each: Each<'_, E>) -> Result<(), E> {
    match value.pointer_mut(pointer) {
        Some(Value::String(text)) => each(field, is_key, text),
        Some(Value::Array(texts)) => {
            for (index, text) in texts.iter_mut().enumerate() {
                if let Value::String(text) = text {
                    each(&format!("{field}[{index}]"), is_key, text)?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
