use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};

use super::check;
use crate::resource::Kind;

/// A certificate and its key.
fn pair(authority: bool) -> (String, String) {
    let mut params = CertificateParams::new(vec!["a.com".to_owned()]).unwrap();
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn error(kind: Kind, value: &Value) -> String {
    check(kind, value).unwrap_err()
}

fn route(change: &Value) -> Value {
    let mut route = json!({ "uri": "/", "upstream": { "nodes": { "127.0.0.1:80": 1 } } });
    for (name, value) in change.as_object().unwrap() {
        route[name] = value.clone();
    }
    route
}

#[test]
fn certificates_keys_and_authorities_are_read() {
    let ((cert, key), (other, other_key), (ca, _)) = (pair(false), pair(false), pair(true));
    let ssl = |change: Value| {
        let mut ssl = json!({ "sni": "a.com", "cert": cert, "key": key });
        for (name, value) in change.as_object().unwrap() {
            ssl[name] = value.clone();
        }
        ssl
    };
    let broken = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", "A".repeat(129));
    for good in [
        json!({}),
        json!({ "client": { "ca": ca, "depth": 10 } }),
        json!({ "certs": [other], "keys": [other_key], "ssl_protocols": ["TLSv1.2", "TLSv1.3"] }),
    ] {
        assert_eq!(check(Kind::Ssl, &ssl(good)), Ok(()));
    }
    for (bad, why) in [
        (json!({ "cert": broken }), "failed to parse cert: PEM_read_bio_X509_AUX() failed"),
        (json!({ "key": "x".repeat(64) }), "failed to parse key: PEM_read_bio_PrivateKey() failed"),
        (json!({ "key": other_key }), "the key does not belong to the certificate"),
        (json!({ "certs": [other], "keys": [] }), "mismatched number of certs and keys"),
        (
            json!({ "certs": [broken], "keys": [other_key] }),
            "failed to handle cert-key pair[1]: failed to parse cert: PEM_read_bio_X509_AUX() failed",
        ),
        (
            json!({ "certs": [other], "keys": [key] }),
            "failed to handle cert-key pair[1]: the key does not belong to the certificate",
        ),
        (json!({ "client": { "ca": broken } }), "failed to validate client_cert: failed to parse cert"),
        (json!({ "client": { "ca": ca, "skip_mtls_uri_regex": ["("] } }), "invalid configuration: property \"client\""),
        (json!({ "cert": "$env://CERT" }), "cert: $env:// is not supported"),
        (json!({ "sni": "*" }), "invalid configuration: property \"sni\" validation failed: "),
        (json!({ "sni": "*test.com" }), "invalid configuration: property \"sni\" validation failed: "),
        (json!({ "ssl_protocols": ["TLSv1.1", "TLSv1.2"] }), "ssl_protocols: TLSv1.1 is not supported"),
    ] {
        let error = error(Kind::Ssl, &ssl(bad));
        assert!(error.starts_with(why), "{error}");
    }
    let client = json!({ "type": "client", "cert": cert, "key": key });
    assert_eq!(check(Kind::Ssl, &client), Ok(()));
}

#[test]
fn a_certificate_of_another_is_no_authority_for_clients() {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = rcgen::Issuer::new(params, authority_key);
    let leaf_key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["a.com".to_owned()]).unwrap();
    leaf.distinguished_name.push(rcgen::DnType::CommonName, "leaf");
    let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap().pem();
    let ssl = json!({ "sni": "a.com", "cert": leaf, "key": leaf_key.serialize_pem(), "client": { "ca": leaf } });
    let error = error(Kind::Ssl, &ssl);
    assert!(error.contains("is no certificate authority"), "{error}");
}

#[test]
fn upstreams_are_held_to_apisix_rules() {
    let (cert, key) = pair(false);
    let (_, other_key) = pair(false);
    for (value, why) in [
        (json!({ "nodes": { "a:0": 1 } }), "invalid port 0"),
        (json!({ "nodes": { "a:65536": 1 } }), "invalid port 65536"),
        (
            json!({ "nodes": [{ "host": "::1", "port": 80, "weight": 1 }] }),
            "invalid configuration: IPv6 address must be enclosed with '[' and ']'",
        ),
        (
            json!({ "nodes": {}, "pass_host": "rewrite" }),
            "`upstream_host` can't be empty when `pass_host` is `rewrite`",
        ),
        (json!({ "nodes": {}, "type": "chash" }), "missing key"),
        (
            json!({ "nodes": {}, "type": "chash", "key": "$#^@", "hash_on": "header" }),
            "invalid configuration: failed to match pattern \"^[a-zA-Z0-9-_]+$\" with \"$#^@\"",
        ),
        (
            json!({ "nodes": {}, "type": "chash", "key": "not_support" }),
            "invalid configuration: failed to match pattern \"^((uri|",
        ),
        (json!({ "nodes": {}, "type": "mine" }), "type mine is not supported"),
        (json!({ "nodes": {}, "scheme": "kafka" }), "scheme kafka is not supported"),
        (json!({ "service_name": "a", "discovery_type": "dns" }), "discovery_type is not supported"),
        (json!({ "nodes": {}, "tls": { "client_cert": cert, "client_key": other_key } }), "the key does not belong"),
    ] {
        let error = error(Kind::Upstream, &value);
        assert!(error.starts_with(why), "{error}");
        let inline = check(Kind::Route, &route(&json!({ "upstream": value }))).unwrap_err();
        assert!(inline.starts_with(why), "{inline}");
    }
    for value in [
        json!({ "nodes": {}, "tls": { "client_cert": cert, "client_key": key } }),
        json!({ "nodes": { "a": 1, "[::1]:80": 1, "::1": 1 }, "type": "chash", "key": "arg_a" }),
        json!({ "nodes": [{ "host": "[::1]", "port": 80, "weight": 1 }], "type": "chash", "hash_on": "consumer" }),
    ] {
        assert_eq!(check(Kind::Upstream, &value), Ok(()), "{value}");
    }
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (kind, value, why) in [
        (Kind::Route, route(&json!({ "plugins": { "limit-count": {} } })), "unknown plugin [limit-count]"),
        (Kind::Route, route(&json!({ "filter_func": "function(vars) end" })), "filter_func is not supported"),
        (Kind::Route, route(&json!({ "script": "return function" })), "script is not supported"),
        (Kind::Route, route(&json!({ "plugin_config_id": "1" })), "plugin_config_id is not supported"),
        (
            Kind::Route,
            route(&json!({ "vars": [["a", "=", 1]] })),
            "failed to validate the 'vars' expression: invalid operator '='",
        ),
        (Kind::Route, route(&json!({ "uri": "/a*b" })), "invalid configuration: property \"uri\" validation failed: "),
        (
            Kind::Route,
            route(&json!({ "hosts": ["*a.com"] })),
            "invalid configuration: property \"hosts\" validation failed: ",
        ),
        (Kind::Route, route(&json!({ "host": "a", "hosts": ["a"] })), "only one of host or hosts is allowed"),
        (Kind::Service, json!({ "plugins": { "cors": {} } }), "unknown plugin [cors]"),
        (Kind::StreamRoute, json!({ "protocol": { "name": "redis" } }), "protocol is not supported"),
        (
            Kind::Consumer,
            json!({ "username": "a", "plugins": { "key-auth": {} } }),
            "invalid plugins configuration: unknown plugin [key-auth]",
        ),
        (Kind::GlobalRule, json!({ "id": "1", "plugins": { "prometheus": {} } }), "unknown plugin [prometheus]"),
        (Kind::PluginMetadata, json!({}), "invalid plugin name"),
        (Kind::Proto, json!({ "content": "syntax" }), "protos are not supported"),
        (Kind::Secret, json!({}), "secret managers are not supported"),
    ] {
        let error = error(kind, &value);
        assert!(error.starts_with(why), "{error}");
    }
    assert_eq!(check(Kind::Route, &route(&json!({ "plugins": {}, "hosts": ["a.com", "*.a.com"] }))), Ok(()));
}
