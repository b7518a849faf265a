use serde_json::json;

use super::*;
use crate::model::Reason;

fn parse(spec: Value) -> Result<TlsHost, Invalid> {
    let mut tls = ApisixTls { spec, ..ApisixTls::default() };
    tls.metadata.namespace = Some("own".into());
    tls.parse()
}

fn with_client(client: &Value) -> Result<Option<Box<ClientAuthRef>>, Invalid> {
    let tls = parse(json!({"hosts": ["a.example"], "secret": {"name": "s", "namespace": "n"}, "client": client}));
    let tls = tls.unwrap();
    assert_eq!(tls.certificates.unwrap(), [ObjectKey::new("n", "s")], "the other parts are kept");
    assert_eq!(tls.hosts.len(), 1);
    tls.client_auth
}

#[test]
fn a_host_without_client_lets_everyone_in() {
    let tls = parse(json!({"hosts": ["A.example", "a.example"], "secret": {"name": "s"}})).unwrap();
    assert_eq!(tls.client_auth, Ok(None));
    assert_eq!(tls.hosts, [HostPattern::Exact("a.example".into())]);
    assert_eq!(tls.certificates, Ok(vec![ObjectKey::new("own", "s")]), "a namespace left out is the object's own");
}

#[test]
fn depth_left_out_is_the_default_and_zero_is_zero() {
    let ca = json!({"name": "ca"});
    let depth = |client: Value| with_client(&client).unwrap().unwrap().settings.depth;
    assert_eq!(depth(json!({"caSecret": ca})), DEFAULT_DEPTH);
    assert_eq!(depth(json!({"caSecret": ca, "depth": null})), DEFAULT_DEPTH);
    assert_eq!(depth(json!({"caSecret": ca, "depth": 0})), 0);
    assert_eq!(depth(json!({"caSecret": ca, "depth": 10})), 10);
    assert_eq!(with_client(&json!({"caSecret": ca})).unwrap().unwrap().authorities[0].key, ObjectKey::new("own", "ca"));
}

#[test]
fn a_client_that_cannot_be_honoured_refuses_every_client() {
    let ca = json!({"name": "ca", "namespace": "n"});
    for (client, field, reason) in [
        (json!(null), "spec.client.caSecret", Reason::InvalidSpec),
        (json!({}), "spec.client.caSecret", Reason::InvalidSpec),
        (json!({"caSecret": {}}), "spec.client.caSecret.name", Reason::InvalidSpec),
        (json!("on"), "spec.client", Reason::InvalidSpec),
        (json!({"caSecret": 5}), "spec.client.caSecret", Reason::InvalidSpec),
        (json!({"caSecret": ca, "depth": -1}), "spec.client.depth", Reason::InvalidSpec),
        (json!({"caSecret": ca, "depth": 101}), "spec.client.depth", Reason::InvalidSpec),
        (json!({"caSecret": ca, "depth": "1"}), "spec.client.depth", Reason::InvalidSpec),
        (
            json!({"caSecret": ca, "skip_mtls_uri_regex": ["/ip.*"]}),
            "spec.client.skip_mtls_uri_regex",
            Reason::Unsupported,
        ),
    ] {
        let invalid = with_client(&client).unwrap_err();
        assert_eq!((invalid.field.as_str(), invalid.reason), (field, reason));
    }
}

#[test]
fn hosts_fail_one_by_one() {
    let tls = parse(json!({"hosts": ["a.example", "*", 5, "*.b.example"], "secret": {"name": "s"}})).unwrap();
    assert_eq!(tls.hosts.len(), 2);
    let fields: Vec<_> = tls.unreadable_hosts.iter().map(|invalid| invalid.field.as_str()).collect();
    assert_eq!(fields, ["spec.hosts[1]", "spec.hosts[2]"]);
}

#[test]
fn a_missing_certificate_keeps_the_hosts() {
    for secret in [json!(null), json!({}), json!({"name": ""}), json!(5)] {
        let tls = parse(json!({"hosts": ["a.example"], "secret": secret})).unwrap();
        assert!(tls.certificates.unwrap_err().field.starts_with("spec.secret"));
        assert_eq!(tls.hosts.len(), 1);
    }
}

#[test]
fn without_hosts_there_is_no_object() {
    for spec in [json!(null), json!({}), json!({"hosts": []}), json!({"hosts": "a.example"})] {
        assert!(parse(spec).unwrap_err().field.starts_with("spec"));
    }
}
