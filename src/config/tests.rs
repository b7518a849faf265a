use super::*;

fn parse(text: &str) -> Result<Config, Vec<String>> {
    let none = |_: &str| None;
    Config::parse(text, none)
        .map(|(config, _)| config)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn an_empty_file_is_a_gateway_with_a_database_of_its_own() {
    for text in ["", "# nothing\n", "apisix:\n"] {
        let config = parse(text).unwrap();
        assert_eq!(config.provider, Provider::Embedded);
        let admin = config.admin.unwrap();
        assert_eq!(admin.listen, "0.0.0.0:9180".parse().unwrap());
        assert_eq!(admin.allow, [Network::parse("127.0.0.0/24").unwrap()]);
        assert!(admin.keys.is_empty() && admin.key_required && admin.cors && admin.tls.is_none());
        assert_eq!((config.http, config.https), (None, None));
    }
}

/// The file of "mTLS everywhere": a folded block, whose more-indented lines keep their breaks.
#[test]
fn a_file_with_etcd_and_an_admin_api_over_mutual_tls() {
    let text = "apisix:\n  ssl:\n    ssl_trusted_certificate: /etc/ssl/certs/ca.crt     #2\ndeployment:\n  etcd:\n    host:\n      - https://etcd:2379\n    tls:\n      cert: /etc/ssl/certs/tls.crt                     #2\n      key: /etc/ssl/certs/tls.key                      #2\n  admin:\n    allow_admin:\n      - 0.0.0.0/0\n    https_admin: true                                  #3\n    admin_api_mtls:\n      admin_ssl_cert: /etc/ssl/private/tls.crt         #3\n      admin_ssl_cert_key: /etc/ssl/private/tls.key     #3\n      admin_ssl_ca_cert: /etc/ssl/private/ca.crt       #3";
    let config = parse(text).unwrap();
    let Provider::Etcd(etcd) = config.provider else { panic!("no etcd") };
    assert_eq!(etcd.hosts, ["https://etcd:2379"]);
    assert_eq!((etcd.prefix.as_str(), etcd.timeout, etcd.tls.verify), ("/apisix", Duration::from_secs(30), true));
    assert_eq!(etcd.tls.identity, Some(("/etc/ssl/certs/tls.crt".into(), "/etc/ssl/certs/tls.key".into())));
    assert_eq!(config.authorities, Some("/etc/ssl/certs/ca.crt".into()));
    let tls = config.admin.unwrap().tls.unwrap();
    assert_eq!(tls.authorities, Some("/etc/ssl/private/ca.crt".into()));
}

#[test]
fn listeners_of_every_form() {
    let config = parse(
        "
apisix:
  node_listen: [9080, {port: 9081}, {ip: 127.0.0.2, port: 9082, enable_http2: true}]
  proxy_protocol: {listen_http_port: 9181, listen_https_port: 9182}
  ssl: {listen: [{port: 9443, enable_http3: false}, {ip: '::1', port: 9444}], ssl_protocols: TLSv1.3, fallback_sni: A.test}
  stream_proxy: {tcp: [9100, {addr: 127.0.0.1:9101, tls: true}, '127.0.0.1:9102'], udp: [9200]}
  trusted_addresses: [127.0.0.1, 10.0.0.0/8]
  data_encryption: {keyring: [0123456789abcdef]}
",
    )
    .unwrap();
    assert_eq!(config.http, Some(addresses(&["0.0.0.0:9080", "0.0.0.0:9081", "127.0.0.2:9082"])));
    assert_eq!(config.https, Some(addresses(&["0.0.0.0:9443", "[::1]:9444"])));
    assert_eq!(config.http_proxy_protocol, addresses(&["0.0.0.0:9181"]));
    assert_eq!(config.https_proxy_protocol, addresses(&["0.0.0.0:9182"]));
    assert_eq!(config.stream_tcp, addresses(&["0.0.0.0:9100", "127.0.0.1:9102"]));
    assert_eq!(config.stream_tls, addresses(&["127.0.0.1:9101"]));
    assert_eq!(config.stream_udp, addresses(&["0.0.0.0:9200"]));
    assert_eq!(config.fallback_sni, HostName::parse("a.test"));
    assert_eq!((config.tls_versions, config.trusted_addresses.len()), (TlsVersions::Tls13, 2));
    assert_eq!(config.keyring, ["0123456789abcdef"]);
    assert_eq!(parse("apisix: {node_listen: 80, ssl: {enable: false}}").unwrap().https, Some(vec![]));
}

#[test]
fn values_of_nginx_that_have_a_counterpart() {
    let config = parse(
        "
nginx_config:
  worker_processes: 2
  worker_shutdown_timeout: 240s
  error_log_level: notice
  http: {client_max_body_size: 10m, keepalive_timeout: 75, client_body_timeout: 1m, send_timeout: 10s}
plugin_attr: {prometheus: {export_addr: {ip: 0.0.0.0, port: 9092}}}
",
    )
    .unwrap();
    assert_eq!((config.workers, config.max_body_size, config.log_level), (Some(2), Some(10 << 20), Some("info")));
    assert_eq!(config.worker_shutdown_timeout, Some(Duration::from_secs(240)));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let timeouts = Timeouts { client_body: seconds(60), keepalive: seconds(75), send: seconds(10) };
    assert_eq!(config.timeouts, timeouts);
    assert_eq!(config.metrics, Some("0.0.0.0:9092".parse().unwrap()));
}

#[test]
fn roles_say_who_listens() {
    let control = parse("deployment: {role: control_plane, role_control_plane: {config_provider: etcd}, etcd: {host: ['http://e:2379'], prefix: /x/}}").unwrap();
    assert!(control.admin.is_some() && control.http == Some(vec![]) && control.https == Some(vec![]));
    let Provider::Etcd(etcd) = control.provider else { panic!("no etcd") };
    assert_eq!(etcd.prefix, "/x");
    let data = parse("deployment: {role: data_plane, role_data_plane: {config_provider: yaml}}").unwrap();
    assert!(data.admin.is_none() && data.provider == Provider::Yaml("apisix.yaml".into()));
    assert_eq!(parse("apisix: {enable_admin: false}").unwrap().admin, None);
}

#[test]
fn keys_of_the_admin_api() {
    let admin = parse(
        "deployment: {admin: {admin_key: [{name: a, key: k1, role: admin}, {name: v, key: k2, role: viewer}, {name: n, key: ''}]}}",
    );
    let keys = admin.unwrap().admin.unwrap().keys;
    assert_eq!(
        keys.iter().map(|key| (key.name.as_str(), key.read_only)).collect::<Vec<_>>(),
        [("a", false), ("v", true)]
    );
    assert!(!format!("{keys:?}").contains("k1"), "keys are secrets");
}

#[test]
fn what_cannot_be_used_is_named() {
    for (text, expected) in [
        (
            "apisix: {node_listen: [x]}",
            "apisix.node_listen[0]: must be a port, or an address and a port as `127.0.0.1:9100`",
        ),
        (
            "apisix: {node_listen: [{port: 80, enable_quic: true}]}",
            "apisix.node_listen[0].enable_quic: is not served; HTTP/1.1 and HTTP/2 are",
        ),
        (
            "apisix: {node_listen: [{prt: 80}]}",
            "apisix.node_listen[0].prt: is unknown; there are ip, port, enable_http2, enable_http3, enable_quic",
        ),
        ("apisix: {ssl: {ssl_protocols: TLSv1.1}}", "apisix.ssl.ssl_protocols: must name TLSv1.2, TLSv1.3 or both"),
        (
            "apisix: {router: {http: radixtree_uri_with_parameter}}",
            "apisix.router.http: `radixtree_uri_with_parameter` is not served: paths have no parameters; use `radixtree_host_uri`",
        ),
        (
            "apisix: {data_encryption: {keyring: [short]}}",
            "apisix.data_encryption.keyring[0]: must be a text of 16 bytes (an AES-128 key)",
        ),
        (
            "deployment: {role: data_plane}",
            "deployment.etcd.host: a data plane needs it: it has no Admin API of its own",
        ),
        (
            "deployment: {etcd: {host: ['etcd:2379']}}",
            "deployment.etcd.host[0]: must be an address such as `https://etcd:2379`",
        ),
        (
            "deployment: {etcd: {prefix: /a}}",
            "deployment.etcd.host: must name at least one address such as `https://etcd:2379`",
        ),
        (
            "deployment: {etcd: {host: ['http://e:1'], user: root}}",
            "deployment.etcd.user: needs a `password`, and a password needs a `user`",
        ),
        (
            "deployment: {etcd: {host: ['http://e:1'], tls: {cert: a}}}",
            "deployment.etcd.tls: needs both `cert` and `key`, or neither",
        ),
        (
            "deployment: {admin: {https_admin: true}}",
            "deployment.admin.admin_api_mtls.admin_ssl_cert: is needed for `https_admin`",
        ),
        (
            "deployment: {admin: {admin_api_mtls: {admin_ssl_ca_cert: a}}}",
            "deployment.admin.https_admin: must be true where `admin_api_mtls.admin_ssl_ca_cert` is set",
        ),
        ("deployment: {admin: {allow_admin: [x]}}", "deployment.admin.allow_admin[0]: "),
        ("nginx_config: {worker_processes: many}", "nginx_config.worker_processes: must be `auto` or a number"),
        (
            "nginx_config: {http: {send_timeout: soon}}",
            "nginx_config.http.send_timeout: must be a duration such as `60s`",
        ),
        ("apisix: [", "line "),
        ("- a", "must be a map of keys"),
    ] {
        let errors = parse(text).unwrap_err();
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{text}: {errors:?}");
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let errors =
        parse("apisix: {node_listen: x}\nnginx_config: {worker_processes: x}\ndeployment: {role: x}\n").unwrap_err();
    assert_eq!(errors.len(), 3, "{errors:?}");
}
