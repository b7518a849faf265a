//! `loadbalancer`.

use http::HeaderName;

use crate::api::LoadBalancer;
use crate::model::{Balancing, HashKey, HashPart, Invalid};

pub(in crate::source) fn read(balancer: LoadBalancer, field: &str) -> Result<Balancing, Invalid> {
    let LoadBalancer { hash_on, key, kind } = balancer;
    match kind.as_deref().unwrap_or_default() {
        "" | "roundrobin" => Ok(Balancing::RoundRobin),
        "least_conn" => Ok(Balancing::LeastConnections),
        "chash" => {
            hash_key(hash_on.as_deref().unwrap_or_default(), key.unwrap_or_default(), field).map(Balancing::Hash)
        }
        "ewma" => Ok(Balancing::PeakEwma),
        other => {
            let message = format!("`{other}` is none of roundrobin, least_conn, chash, ewma");
            Err(Invalid::spec(format!("{field}.type"), message))
        }
    }
}

fn hash_key(hash_on: &str, key: String, field: &str) -> Result<HashKey, Invalid> {
    let field_key = || format!("{field}.key");
    match hash_on {
        "header" => header(&key, field),
        "cookie" if key.is_empty() => Err(Invalid::spec(field_key(), "must name a cookie")),
        "cookie" => Ok(HashKey::Cookie(key.into())),
        "consumer" => Err(Invalid::unsupported(format!("{field}.hashOn"), "`consumer` is not served")),
        "vars_combinations" => combination(&key, field),
        "" | "vars" if key.is_empty() => Err(Invalid::spec(field_key(), "must name a variable, such as `remote_addr`")),
        "" | "vars" => variable(&key, field),
        other => {
            let message = format!("`{other}` is none of vars, header, cookie, vars_combinations");
            Err(Invalid::spec(format!("{field}.hashOn"), message))
        }
    }
}

fn header(name: &str, field: &str) -> Result<HashKey, Invalid> {
    let valid = HeaderName::try_from(name);
    let valid = valid.map_err(|_| Invalid::spec(format!("{field}.key"), format!("`{name}` names no header")))?;
    Ok(HashKey::Header(valid.as_str().into()))
}

fn variable(name: &str, field: &str) -> Result<HashKey, Invalid> {
    match name {
        "remote_addr" => Ok(HashKey::Address),
        "host" => Ok(HashKey::Host),
        "uri" => Ok(HashKey::Path),
        "request_uri" => Ok(HashKey::Target),
        other => match other.split_once('_') {
            Some(("arg", name)) if !name.is_empty() => Ok(HashKey::Argument(name.into())),
            Some(("cookie", name)) if !name.is_empty() => Ok(HashKey::Cookie(name.into())),
            Some(("http", name)) => header(&name.replace('_', "-"), field),
            _ => Err(Invalid::unsupported(format!("{field}.key"), format!("the variable `{other}` is not served"))),
        },
    }
}

/// Reads a text with variables, `$name` or `${name}`, in it (APISIX's `resolve_var`).
fn combination(key: &str, field: &str) -> Result<HashKey, Invalid> {
    let (mut parts, mut rest) = (Vec::new(), key);
    while let Some((text, variables)) = rest.split_once('$') {
        if !text.is_empty() {
            parts.push(HashPart::Text(text.into()));
        }
        let unclosed = || Invalid::spec(format!("{field}.key"), format!("`${{` has no `}}` in `{key}`"));
        let (name, after) = match variables.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or_else(unclosed)?,
            None => {
                let end = variables.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                variables.split_at(end.unwrap_or(variables.len()))
            }
        };
        parts.push(HashPart::Key(variable(name, field)?));
        rest = after;
    }
    if parts.is_empty() {
        let message = "must hold a variable, such as `$remote_addr`, where `hashOn` is vars_combinations";
        return Err(Invalid::spec(format!("{field}.key"), message));
    }
    if !rest.is_empty() {
        parts.push(HashPart::Text(rest.into()));
    }
    Ok(HashKey::Combination(parts.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_hash_key_is_read() {
        for (on, key, expected) in [
            ("vars", "remote_addr", HashKey::Address),
            ("vars", "host", HashKey::Host),
            ("vars", "uri", HashKey::Path),
            ("vars", "request_uri", HashKey::Target),
            ("vars", "arg_user", HashKey::Argument("user".into())),
            ("vars", "cookie_a_b", HashKey::Cookie("a_b".into())),
            ("vars", "http_x_user", HashKey::Header("x-user".into())),
            ("header", "X-User", HashKey::Header("x-user".into())),
            ("cookie", "session", HashKey::Cookie("session".into())),
        ] {
            let balancer = json!({"type": "chash", "hashOn": on, "key": key});
            let balancer = serde_json::from_value(balancer).unwrap();
            assert_eq!(read(balancer, "spec.loadbalancer").unwrap(), Balancing::Hash(expected));
        }
    }
    #[test]
    fn a_combination_is_text_with_variables_in_it() {
        let read = |key: &str| combination(key, "spec.loadbalancer");
        let (key, text) = (HashPart::Key, |text: &str| HashPart::Text(text.into()));
        for (template, parts) in [
            ("$remote_addr", vec![key(HashKey::Address)]),
            (
                "$http_x_user-$arg_q",
                vec![key(HashKey::Header("x-user".into())), text("-"), key(HashKey::Argument("q".into()))],
            ),
            ("a${uri}b", vec![text("a"), key(HashKey::Path), text("b")]),
        ] {
            assert_eq!(read(template).unwrap(), HashKey::Combination(parts.into()), "{template}");
        }
        for wrong in ["", "text", "$", "$nothing", "${uri", "$-"] {
            assert_eq!(read(wrong).unwrap_err().field, "spec.loadbalancer.key", "{wrong}");
        }
    }
}
