//! `loadbalancer`.

use http::HeaderName;

use crate::api::LoadBalancer;
use crate::model::{Balancing, HashKey, Invalid};

pub(super) fn read(balancer: LoadBalancer, field: &str) -> Result<Balancing, Invalid> {
    let LoadBalancer { hash_on, key, kind } = balancer;
    match kind.as_deref().unwrap_or_default() {
        "" | "roundrobin" => Ok(Balancing::RoundRobin),
        "least_conn" => Ok(Balancing::LeastConnections),
        "chash" => {
            hash_key(hash_on.as_deref().unwrap_or_default(), key.unwrap_or_default(), field).map(Balancing::Hash)
        }
        "ewma" => Err(Invalid::unsupported(format!("{field}.type"), "`ewma` is not served; `least_conn` comes close")),
        other => {
            Err(Invalid::spec(format!("{field}.type"), format!("`{other}` is none of roundrobin, least_conn, chash")))
        }
    }
}

fn hash_key(hash_on: &str, key: String, field: &str) -> Result<HashKey, Invalid> {
    let header = |name: &str| {
        let name = HeaderName::try_from(name);
        let name = name.map_err(|_| Invalid::spec(format!("{field}.key"), format!("`{key}` names no header")))?;
        Ok(HashKey::Header(name.as_str().into()))
    };
    match hash_on {
        "header" => header(&key),
        "cookie" if key.is_empty() => Err(Invalid::spec(format!("{field}.key"), "must name a cookie")),
        "cookie" => Ok(HashKey::Cookie(key.into())),
        "consumer" | "vars_combinations" => {
            Err(Invalid::unsupported(format!("{field}.hashOn"), format!("`{hash_on}` is not served")))
        }
        "" | "vars" => match key.as_str() {
            "remote_addr" => Ok(HashKey::Address),
            "host" => Ok(HashKey::Host),
            "uri" => Ok(HashKey::Path),
            "request_uri" => Ok(HashKey::Target),
            "" => Err(Invalid::spec(format!("{field}.key"), "must name a variable, such as `remote_addr`")),
            other => match other.split_once('_') {
                Some(("arg", name)) if !name.is_empty() => Ok(HashKey::Argument(name.into())),
                Some(("cookie", name)) if !name.is_empty() => Ok(HashKey::Cookie(name.into())),
                Some(("http", name)) => header(&name.replace('_', "-")),
                _ => {
                    let message = format!("the variable `{other}` is not served");
                    Err(Invalid::unsupported(format!("{field}.key"), message))
                }
            },
        },
        other => Err(Invalid::spec(format!("{field}.hashOn"), format!("`{other}` is none of vars, header, cookie"))),
    }
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
}
