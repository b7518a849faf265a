use serde_json::json;

use super::*;
use crate::model::{
    ClientAuthRef, DEFAULT_DEPTH, Failure, FailureAnswer, FailureBody, IdentityField, IdentityRule, Mode, Network,
    Reason, RevocationSettings, TextMatch,
};

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
    assert_eq!(
        with_client(&json!({"caSecret": ca})).unwrap().unwrap().authorities[0].object.key,
        ObjectKey::new("own", "ca")
    );
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
        (json!({"caSecret": ca, "deep": 1}), "spec.client.deep", Reason::InvalidSpec),
        (json!({"caSecret": ca, "mode": "require"}), "spec.client.mode", Reason::InvalidSpec),
        (json!({"caCertificateRefs": []}), "spec.client.caSecret", Reason::InvalidSpec),
    ] {
        let invalid = with_client(&client).unwrap_err();
        assert_eq!((invalid.field.as_str(), invalid.reason), (field, reason));
    }
}

/// The client of an object with a CA and `fields`.
fn client(mut fields: Value) -> Result<ClientAuthRef, Invalid> {
    fields["caSecret"] = json!({"name": "ca"});
    with_client(&fields).map(|client| *client.unwrap())
}

/// The field that is to blame, below `spec.client`.
fn wrong(fields: Value) -> String {
    client(fields).unwrap_err().field.strip_prefix("spec.client.").unwrap().to_owned()
}

#[test]
fn authorities_come_from_secrets_and_config_maps() {
    let refs = json!([{"name": "a", "key": "bundle.pem"}, {"kind": "ConfigMap", "name": "b", "namespace": "n"}]);
    let read = |client: Value| with_client(&client).unwrap().unwrap().authorities;
    let found: Vec<_> = read(json!({"caSecret": {"name": "ca"}, "caCertificateRefs": refs}))
        .iter()
        .map(|data| format!("{} {:?} {}", data.object, data.entry, data.field))
        .collect();
    assert_eq!(
        found,
        [
            "Secret own/ca None spec.client.caSecret",
            "Secret own/a Some(\"bundle.pem\") spec.client.caCertificateRefs[0]",
            "ConfigMap n/b None spec.client.caCertificateRefs[1]",
        ]
    );
    assert_eq!(read(json!({"caCertificateRefs": refs})).len(), 2, "caSecret may be left out");
    for (data, field) in [
        (json!({}), "caCertificateRefs[0].name"),
        (json!({"name": "a", "kind": "Pod"}), "caCertificateRefs[0].kind"),
        (json!({"name": "a", "key": ""}), "caCertificateRefs[0].key"),
    ] {
        assert_eq!(wrong(json!({"caCertificateRefs": [data]})), field);
    }
    assert_eq!(wrong(json!({"caCertificateRefs": vec![json!({"name": "a"}); 17]})), "caCertificateRefs");
}

#[test]
fn modes_and_paths_without_client_authentication() {
    assert_eq!(client(json!({})).unwrap().settings.mode, Mode::Require);
    assert_eq!(client(json!({"mode": "Observe"})).unwrap().settings.mode, Mode::Observe);
    let settings = client(json!({"mode": "Optional", "skip_mtls_uri_regex": ["^/healthz$"]})).unwrap().settings;
    assert_eq!((settings.mode, &*settings.skip[0]), (Mode::Optional, "^/healthz$"));
    for pattern in ["", "(", "(?=x)", "[a-z]{1,1000}{1,1000}"] {
        let invalid = client(json!({"skip_mtls_uri_regex": ["/a", pattern]})).unwrap_err();
        assert_eq!(invalid.field, "spec.client.skip_mtls_uri_regex[1]", "{pattern}");
        assert!(!invalid.message.contains('\n'), "{invalid}");
    }
    let many = |pattern: &str| json!({"skip_mtls_uri_regex": vec![pattern; 1000]});
    assert_eq!(client(many("^/a")).unwrap().settings.skip.len(), 1000);
    let large = client(many(r"\w{20}")).unwrap_err();
    assert_eq!(large.field, "spec.client.skip_mtls_uri_regex", "each is small enough");
    let mut last = vec!["/a"; 1000];
    last.push("(");
    let invalid = client(json!({"skip_mtls_uri_regex": last})).unwrap_err();
    assert_eq!(invalid.field, "spec.client.skip_mtls_uri_regex[1000]");
    let alert = json!({"failure": {"type": "Alert"}, "skip_mtls_uri_regex": ["/a"]});
    assert_eq!(wrong(alert), "skip_mtls_uri_regex", "the handshake fails before there is a path");
}

#[test]
fn a_refused_client_sees_what_failure_says() {
    let read = |failure: Value| client(json!({"failure": failure})).unwrap().settings.failure;
    let answer = |status: u16, body: FailureBody| Failure::Answer(FailureAnswer { body, status });
    let text =
        |content_type: &str, text: &str| FailureBody::Text { content_type: content_type.into(), text: text.into() };
    assert_eq!(read(json!({})), Failure::Page);
    assert_eq!(read(json!({"type": "Http"})), Failure::Page);
    assert_eq!(read(json!({"type": "Alert"})), Failure::Alert);
    assert_eq!(read(json!({"problem": true, "statusCode": 403})), answer(403, FailureBody::Problem));
    assert_eq!(read(json!({"redirect": "/login"})), answer(302, FailureBody::Redirect("/login".into())));
    assert_eq!(read(json!({"body": "no"})), answer(400, text("text/plain; charset=utf-8", "no")));
    assert_eq!(
        read(json!({"body": "{}", "contentType": "application/json"})),
        answer(400, text("application/json", "{}"))
    );
    for (failure, field) in [
        (json!({"type": "alert"}), ".type"),
        (json!({"type": "Alert", "statusCode": 403}), ".type"),
        (json!({"statusCode": 200}), ".statusCode"),
        (json!({"statusCode": 302}), ".statusCode"),
        (json!({"statusCode": 403, "redirect": "/"}), ".statusCode"),
        (json!({"statusCode": 65_936}), ".statusCode"),
        (json!({"body": "a", "problem": true}), ""),
        (json!({"problem": true, "redirect": "/"}), ""),
        (json!({"contentType": "text/html"}), ".contentType"),
        (json!({"contentType": "text/html", "problem": true}), ".contentType"),
        (json!({"contentType": "text/html\r\nx: y", "body": ""}), ".contentType"),
        (json!({"contentType": "html", "body": ""}), ".contentType"),
        (json!({"body": "x".repeat((16 << 10) + 1)}), ".body"),
        (json!({"redirect": "login"}), ".redirect"),
        (json!({"redirect": "https://"}), ".redirect"),
        (json!({"redirect": "javascript:alert(1)"}), ".redirect"),
        (json!({"redirect": "/\r\nset-cookie: a"}), ".redirect"),
        (json!({"redirect": "/a b"}), ".redirect"),
        (json!({"status": 403}), ".status"),
    ] {
        assert_eq!(wrong(json!({"failure": failure})), format!("failure{field}"), "{failure}");
    }
}

#[test]
fn revocation_names_its_lists_and_refuses_by_default() {
    let read = |revocation: Value| client(json!({"revocation": revocation})).unwrap().revocation.unwrap();
    let found = read(json!({"crlRefs": [{"name": "a"}, {"kind": "ConfigMap", "name": "b", "key": "shard-2.crl"}]}));
    assert_eq!(found.settings, RevocationSettings { allow_unknown: false, leaf_only: false });
    assert_eq!((found.lists[1].object.kind, found.lists[1].entry.as_deref()), (Kind::ConfigMap, Some("shard-2.crl")));
    assert_eq!(&*found.lists[1].field, "spec.client.revocation.crlRefs[1]");
    let found = read(json!({"crlRefs": [{"name": "a"}], "scope": "Leaf", "unknown": "Allow"}));
    assert_eq!(found.settings, RevocationSettings { allow_unknown: true, leaf_only: true });
    for (revocation, field) in [
        (json!({}), "revocation.crlRefs"),
        (json!({"crlRefs": []}), "revocation.crlRefs"),
        (json!({"crlRefs": [{}]}), "revocation.crlRefs[0].name"),
        (json!({"crlRefs": [{"name": "a"}], "scope": "leaf"}), "revocation.scope"),
        (json!({"crlRefs": [{"name": "a"}], "unknown": "Ignore"}), "revocation.unknown"),
    ] {
        assert_eq!(wrong(json!({"revocation": revocation})), field);
    }
}

#[test]
fn identities_are_read_in_every_spelling() {
    let hex = "ab".repeat(32);
    let colons = vec!["AB"; 32].join(":");
    let base64 = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";
    let rules = client(json!({"identities": [
        {"dns": [{"exact": "a.example"}, {"suffix": ".b.example"}], "ip": ["10.0.0.0/8", "192.0.2.7", "::1", "0.0.0.0/0"]},
        {"subject": [{"regex": "CN=[a-z]+"}], "spiffe": [{"prefix": "spiffe://a/"}]},
        {"certificateSha256": [hex, colons], "publicKeySha256": [base64]},
    ]}));
    let rules = rules.unwrap().settings.identities;
    assert_eq!(rules[0].dns, [TextMatch::Exact("a.example".into()), TextMatch::Suffix(".b.example".into())]);
    assert_eq!(
        rules[0].ip,
        ["10.0.0.0/8", "192.0.2.7", "::1", "0.0.0.0/0"].map(|block| Network::parse(block).unwrap())
    );
    assert_eq!(rules[1].subject, [TextMatch::Regex("CN=[a-z]+".into())]);
    let pins =
        IdentityRule { certificate_sha256: vec![[0xab; 32]; 2], public_key_sha256: vec![[0xab; 32]], ..<_>::default() };
    assert_eq!(rules[2], pins);
    assert_eq!(client(json!({})).unwrap().settings.identities, []);
}

#[test]
fn a_rule_that_is_broken_or_empty_is_named() {
    let rule = |rule: Value| json!({"identities": [{"dns": [{"exact": "a"}]}, rule]});
    for (fields, field) in [
        (json!({"identities": []}), "identities"),
        (rule(json!({})), "identities[1]"),
        (rule(json!({"dns": []})), "identities[1].dns"),
        (rule(json!({"dns": [{}]})), "identities[1].dns[0]"),
        (rule(json!({"dns": [{"exact": "a", "regex": "b"}]})), "identities[1].dns[0]"),
        (rule(json!({"dns": [{"regex": "("}]})), "identities[1].dns[0].regex"),
        (rule(json!({"uri": [{"prefix": ""}]})), "identities[1].uri[0].prefix"),
        (rule(json!({"uri": [{"exact": "x".repeat(2049)}]})), "identities[1].uri[0].exact"),
        (rule(json!({"names": ["a"]})), "identities[1].names"),
        (json!({"identities": vec![json!({"dns": vec![json!({"regex": "a"}); 33]}); 2]}), "identities"),
        (rule(json!({"ip": ["10.0.0.1/8"]})), "identities[1].ip[0]"),
        (rule(json!({"ip": ["::1/0"]})), "identities[1].ip[0]"),
        (rule(json!({"ip": ["10.0.0.0/33"]})), "identities[1].ip[0]"),
        (rule(json!({"ip": ["10.0.0.0/+8"]})), "identities[1].ip[0]"),
        (rule(json!({"ip": ["a.example"]})), "identities[1].ip[0]"),
        (rule(json!({"publicKeySha256": ["ab"]})), "identities[1].publicKeySha256[0]"),
        (rule(json!({"certificateSha256": ["+a".repeat(32)]})), "identities[1].certificateSha256[0]"),
        (rule(json!({"certificateSha256": ["é".repeat(32)]})), "identities[1].certificateSha256[0]"),
    ] {
        assert_eq!(wrong(fields.clone()), field, "{fields}");
    }
}

#[test]
fn headers_for_the_upstream_have_free_names() {
    let forward = client(json!({"forward": {
        "clientCert": true,
        "headers": [{"name": "X-Client-Subject", "value": "Subject"}, {"name": "ssl_client_verify", "value": "Verify"}],
    }}));
    let forward = forward.unwrap().settings.forward;
    assert!(forward.client_cert && !forward.client_cert_chain && !forward.xfcc);
    let expected =
        [("x-client-subject".into(), IdentityField::Subject), ("ssl_client_verify".into(), IdentityField::Verify)];
    assert_eq!(forward.headers, expected);
    let header = |name: &str| json!({"forward": {"headers": [{"name": "x-a", "value": "Uris"}, {"name": name, "value": "Uris"}]}});
    for name in [
        "",
        "a b",
        "a:",
        "a\r\n",
        "é",
        "Host",
        "connection",
        "Transfer_Encoding",
        "cookie",
        "X-Forwarded-For",
        "sec-fetch-mode",
        "Client-Cert",
        "x_forwarded_client_cert",
        "X-A",
        "x_a",
    ] {
        assert_eq!(wrong(header(name)), "forward.headers[1].name", "{name}");
    }
    for (value, field) in [(json!({"name": "x-a"}), "value"), (json!({"name": "x-a", "value": "subject"}), "value")] {
        assert_eq!(wrong(json!({"forward": {"headers": [value]}})), format!("forward.headers[0].{field}"));
    }
}

#[test]
fn protocols_and_further_certificates() {
    let read = |tls: Value, additional: Value| {
        parse(json!({"hosts": ["a.example"], "secret": {"name": "s"}, "additionalSecrets": additional, "tls": tls}))
            .unwrap()
    };
    let protocols = |tls: Value| read(tls, json!(null)).protocols;
    assert_eq!(protocols(json!(null)), Ok(Protocols { alpn: Alpn::Both, versions: TlsVersions::Both }));
    for (tls, alpn, versions) in [
        (json!({"minVersion": "TLSv1.3"}), Alpn::Both, TlsVersions::Tls13),
        (json!({"maxVersion": "TLSv1.2", "alpn": ["http/1.1"]}), Alpn::Http1, TlsVersions::Tls12),
        (json!({"minVersion": "TLSv1.2", "alpn": ["http/1.1", "h2"]}), Alpn::Both, TlsVersions::Both),
        (json!({"alpn": ["h2"]}), Alpn::Http2, TlsVersions::Both),
    ] {
        assert_eq!(protocols(tls), Ok(Protocols { alpn, versions }));
    }
    for (tls, field) in [
        (json!({"minVersion": "TLSv1.1"}), "spec.tls.minVersion"),
        (json!({"minVersion": "TLSv1.3", "maxVersion": "TLSv1.2"}), "spec.tls.minVersion"),
        (json!({"maxVersion": 1.3}), "spec.tls.maxVersion"),
        (json!({"alpn": []}), "spec.tls.alpn"),
        (json!({"alpn": ["h2", "h3"]}), "spec.tls.alpn[1]"),
        (json!({"ciphers": []}), "spec.tls.ciphers"),
    ] {
        assert_eq!(protocols(tls).unwrap_err().field, field);
    }
    let certificates = |additional: Value| read(json!(null), additional).certificates;
    let both = [ObjectKey::new("own", "s"), ObjectKey::new("n", "rsa")];
    assert_eq!(certificates(json!([{"name": "rsa", "namespace": "n"}])).unwrap(), both);
    assert_eq!(certificates(json!([{"namespace": "n"}])).unwrap_err().field, "spec.additionalSecrets[0].name");
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
