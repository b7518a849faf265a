//! Where certificates and keys stand in resources.

use serde_json::Value;

use super::Kind;

/// A place: where it is, what it is called, whether it holds private keys.
type Place = (&'static str, &'static str, bool);

/// The places of a kind. Each holds a text or an array of texts.
fn places(kind: Kind) -> &'static [Place] {
    match kind {
        Kind::Ssl => &[
            ("/cert", "cert", false),
            ("/key", "key", true),
            ("/certs", "certs", false),
            ("/keys", "keys", true),
            ("/client/ca", "client.ca", false),
        ],
        Kind::Upstream => {
            &[("/tls/client_cert", "tls.client_cert", false), ("/tls/client_key", "tls.client_key", true)]
        }
        Kind::Route | Kind::Service | Kind::StreamRoute => &[
            ("/upstream/tls/client_cert", "upstream.tls.client_cert", false),
            ("/upstream/tls/client_key", "upstream.tls.client_key", true),
        ],
        _ => &[],
    }
}

/// Calls `each` with every private key of `value`, and the name of its field.
///
/// # Errors
/// The first error of `each`.
pub(super) fn keys<E>(
    kind: Kind,
    value: &mut Value,
    mut each: impl FnMut(&str, &mut String) -> Result<(), E>,
) -> Result<(), E> {
    for (pointer, field, _) in places(kind).iter().filter(|(_, _, is_key)| *is_key) {
        match value.pointer_mut(pointer) {
            Some(Value::String(text)) => each(field, text)?,
            Some(Value::Array(texts)) => {
                for (index, text) in texts.iter_mut().enumerate() {
                    if let Value::String(text) = text {
                        each(&format!("{field}[{index}]"), text)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Calls `each` with every certificate and private key of `value`, and the name of its field.
///
/// # Errors
/// The first error of `each`.
pub(super) fn texts<E>(kind: Kind, value: &Value, each: impl Fn(&str, &str) -> Result<(), E>) -> Result<(), E> {
    for (pointer, field, _) in places(kind) {
        match value.pointer(pointer) {
            Some(Value::String(text)) => each(field, text)?,
            Some(Value::Array(texts)) => {
                texts.iter().filter_map(Value::as_str).try_for_each(|text| each(field, text))?;
            }
            _ => {}
        }
    }
    Ok(())
}
