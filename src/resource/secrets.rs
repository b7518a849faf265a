//! Private keys in resources: `key` and `keys` of certificates, `tls.client_key` of upstreams, of inline ones too.

use std::convert::Infallible;

use serde_json::{Map, Value};

use super::{Kind, places};
use crate::keyring::Keyring;

/// What PEM begins with. Any other text was sealed.
const PEM: &str = "---";

/// Seals what is PEM: what was sealed stays as it is, as with APISIX.
pub fn seal(kind: Kind, value: &mut Value, keyring: &Keyring) {
    let sealed: Result<(), Infallible> = places::keys(kind, value, |_, text| {
        if text.starts_with(PEM) {
            *text = keyring.seal(text);
        }
        Ok(())
    });
    let Ok(()) = sealed;
}

/// Opens what is sealed.
///
/// # Errors
/// The field that no entry of the keyring opens.
pub fn open(kind: Kind, value: &mut Value, keyring: &Keyring) -> Result<(), String> {
    places::keys(kind, value, |field, text| {
        if !text.starts_with(PEM) && !text.starts_with('$') {
            *text =
                keyring.open(text).map_err(|why| format!("failed to decrypt previous encrypted key: {field} {why}"))?;
        }
        Ok(())
    })
}

/// Takes private keys away, whatever they are.
pub fn redact(kind: Kind, value: &mut Value) {
    fn take(object: Option<&mut Value>, names: &[&str]) {
        let object: Option<&mut Map<String, Value>> = object.and_then(Value::as_object_mut);
        let Some(object) = object else { return };
        for name in names {
            object.remove(*name);
        }
    }
    match kind {
        Kind::Ssl => take(Some(value), &["key", "keys"]),
        Kind::Upstream => take(value.pointer_mut("/tls"), &["client_key"]),
        Kind::Route | Kind::Service | Kind::StreamRoute => take(value.pointer_mut("/upstream/tls"), &["client_key"]),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keyring() -> Keyring {
        Keyring::new(&["0123456789abcdef".to_owned()]).unwrap()
    }

    #[test]
    fn keys_are_sealed_opened_and_taken_away_wherever_they_are() {
        let pem = "-----BEGIN PRIVATE KEY-----";
        for (kind, value, redacted) in [
            (
                Kind::Ssl,
                json!({ "cert": "c", "key": pem, "keys": [pem], "certs": ["c"] }),
                json!({ "cert": "c", "certs": ["c"] }),
            ),
            (
                Kind::Upstream,
                json!({ "tls": { "client_cert": "c", "client_key": pem } }),
                json!({ "tls": { "client_cert": "c" } }),
            ),
            (
                Kind::Route,
                json!({ "upstream": { "tls": { "client_cert": "c", "client_key": pem } } }),
                json!({ "upstream": { "tls": { "client_cert": "c" } } }),
            ),
        ] {
            let mut sealed = value.clone();
            seal(kind, &mut sealed, &keyring());
            assert!(!sealed.to_string().contains("PRIVATE KEY"), "{sealed}");
            let again = sealed.clone();
            seal(kind, &mut sealed, &keyring());
            assert_eq!(sealed, again, "what is sealed is not sealed twice");
            let mut opened = sealed.clone();
            open(kind, &mut opened, &keyring()).unwrap();
            assert_eq!(opened, value);
            redact(kind, &mut sealed);
            assert_eq!(sealed, redacted);
        }
    }

    #[test]
    fn what_no_entry_opens_is_named_and_not_shown() {
        let mut sealed = json!({ "tls": { "client_key": "-----BEGIN" } });
        seal(Kind::Upstream, &mut sealed, &Keyring::new(&["fedcba9876543210".to_owned()]).unwrap());
        let text = sealed["tls"]["client_key"].as_str().unwrap().to_owned();
        let error = open(Kind::Upstream, &mut sealed, &keyring()).unwrap_err();
        assert!(
            error.starts_with("failed to decrypt previous encrypted key: tls.client_key ") && !error.contains(&text),
            "{error}"
        );
    }

    #[test]
    fn values_of_other_shapes_are_left_alone() {
        for kind in Kind::ALL {
            for value in [json!(null), json!([]), json!({ "key": 1, "keys": {}, "tls": [], "upstream": { "tls": 1 } })]
            {
                let mut changed = value.clone();
                seal(kind, &mut changed, &keyring());
                open(kind, &mut changed, &keyring()).unwrap();
                assert_eq!(changed, value);
                redact(kind, &mut changed);
            }
        }
    }
}
