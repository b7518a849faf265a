//! `$env://NAME` in the place of a certificate or a key.

use serde_json::Value;

use super::{Kind, places};

/// Gives a variable of the environment its value.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Replaces references by what they name. Only certificates and keys can be references.
///
/// # Errors
/// The field whose reference cannot be followed.
pub(super) fn resolve(kind: Kind, value: &mut Value, environment: Environment<'_>) -> Result<(), String> {
    places::texts(kind, value, |field, text| {
        if text.starts_with("$secret://") {
            return Err(format!("{field}: $secret:// is not supported: send the PEM, or $env://NAME"));
        }
        if let Some(name) = text.strip_prefix("$env://") {
            let found = environment(name);
            *text = found.ok_or_else(|| format!("{field}: the gateway has no environment variable {name}"))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_to_variables_are_followed_and_others_refused() {
        let environment = |name: &str| (name == "CA").then(|| "pem".to_owned());
        let mut value = json!({ "sni": "$env://CA", "client": { "ca": "$env://CA" } });
        resolve(Kind::Ssl, &mut value, &environment).unwrap();
        assert_eq!(value, json!({ "sni": "$env://CA", "client": { "ca": "pem" } }));
        for text in ["$env://NONE", "$secret://vault/1/a/b"] {
            let error = resolve(Kind::Ssl, &mut json!({ "certs": ["a", text] }), &environment).unwrap_err();
            assert!(error.starts_with("certs[1]: "), "{error}");
        }
    }
}
