//! Every key of a config.yaml, and what becomes of it.

use serde_json::Value;

use super::{Error, Warning};

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Accepted with a warning that says why, whatever is in it.
    Ignored(&'static str),
    /// A map whose keys are looked at one by one.
    Section,
    /// Read elsewhere in this module.
    Served,
}

use Use::{Ignored, Section, Served};

const LOGS: &str = "logs go to standard output; see --log-format and --access-log-sample";
const LUA: &str = "there is no Lua here";
const MEMORY: &str = "there are no shared memory zones here";
const NGINX: &str = "there is no nginx here";
const PLUGINS: &str = "no plugin is built; objects that name one are refused";
const DISCOVERY: &str = "service discovery is not built; name nodes, or DNS names as nodes";
const ALWAYS: &str = "it is always so";
const ETCD: &str = "one watch follows etcd, and comes back by itself";

/// Keys by their paths.
const KEYS: &[(&str, Use)] = &[
    ("apisix", Section),
    ("apisix.allow_admin", Ignored("it stands in deployment.admin since APISIX 3.0")),
    ("apisix.control", Ignored("there is no control API; see /debug/snapshot on the metrics port")),
    ("apisix.data_encryption", Section),
    ("apisix.data_encryption.enable", Ignored("private keys are always encrypted")),
    ("apisix.data_encryption.enable_encrypt_fields", Ignored("private keys are always encrypted")),
    ("apisix.data_encryption.keyring", Served),
    ("apisix.delete_uri_tail_slash", Served),
    ("apisix.disable_sync_configuration_during_start", Ignored(ALWAYS)),
    ("apisix.disable_upstream_healthcheck", Ignored("leave `checks` out of the upstreams")),
    ("apisix.dns_resolver", Ignored("names are resolved as /etc/resolv.conf says")),
    ("apisix.dns_resolver_valid", Ignored("the records' own TTL counts")),
    ("apisix.enable_admin", Served),
    ("apisix.enable_control", Ignored("there is no control API; see /debug/snapshot on the metrics port")),
    ("apisix.enable_dev_mode", Ignored("see nginx_config.worker_processes")),
    ("apisix.enable_http2", Ignored("HTTP/2 is offered unless an ApisixTls says otherwise")),
    ("apisix.enable_ipv6", Ignored("write the addresses to listen on, as `[::]:9080`")),
    ("apisix.enable_resolv_search_opt", Ignored("names are resolved as /etc/resolv.conf says")),
    ("apisix.enable_reuseport", Ignored(ALWAYS)),
    ("apisix.enable_server_tokens", Ignored("the version is never told")),
    ("apisix.events", Ignored(LUA)),
    ("apisix.extra_lua_cpath", Ignored(LUA)),
    ("apisix.extra_lua_path", Ignored(LUA)),
    ("apisix.id", Ignored("no server information is written to etcd")),
    ("apisix.lru", Ignored(LUA)),
    ("apisix.lua_module_hook", Ignored(LUA)),
    ("apisix.match_uri_encoded_slash", Served),
    ("apisix.node_listen", Served),
    ("apisix.normalize_uri_like_servlet", Served),
    ("apisix.proxy_cache", Ignored("there is no cache")),
    ("apisix.proxy_mode", Served),
    ("apisix.proxy_protocol", Section),
    ("apisix.proxy_protocol.enable_tcp_pp", Served),
    ("apisix.proxy_protocol.enable_tcp_pp_to_upstream", Served),
    ("apisix.proxy_protocol.listen_http_port", Served),
    ("apisix.proxy_protocol.listen_https_port", Served),
    ("apisix.resolver_timeout", Ignored("names are resolved as /etc/resolv.conf says")),
    ("apisix.router", Section),
    ("apisix.router.http", Served),
    ("apisix.router.ssl", Ignored(ALWAYS)),
    ("apisix.show_upstream_status_in_response_header", Ignored("the access log tells it")),
    ("apisix.ssl", Section),
    ("apisix.ssl.enable", Served),
    ("apisix.ssl.enable_http2", Ignored("HTTP/2 is offered unless an ApisixTls says otherwise")),
    ("apisix.ssl.fallback_sni", Served),
    ("apisix.ssl.key_encrypt_salt", Served),
    ("apisix.ssl.listen", Served),
    ("apisix.ssl.listen_port", Served),
    ("apisix.ssl.ssl_ciphers", Ignored("the suites are fixed: AES-GCM and ChaCha20-Poly1305 with ephemeral keys")),
    ("apisix.ssl.ssl_protocols", Served),
    ("apisix.ssl.ssl_session_tickets", Ignored("tickets are always made, and bound to the client policy")),
    ("apisix.ssl.ssl_trusted_certificate", Served),
    ("apisix.status", Ignored("see /livez and /readyz on the metrics port")),
    ("apisix.stream_proxy", Section),
    ("apisix.stream_proxy.only", Ignored("listeners are opened where they are named")),
    ("apisix.stream_proxy.tcp", Served),
    ("apisix.stream_proxy.udp", Served),
    ("apisix.trusted_addresses", Served),
    ("apisix.worker_startup_time_threshold", Ignored(NGINX)),
    ("deployment", Section),
    ("deployment.admin", Section),
    ("deployment.admin.admin_api_mtls", Section),
    ("deployment.admin.admin_api_mtls.admin_ssl_ca_cert", Served),
    ("deployment.admin.admin_api_mtls.admin_ssl_cert", Served),
    ("deployment.admin.admin_api_mtls.admin_ssl_cert_key", Served),
    ("deployment.admin.admin_api_version", Served),
    ("deployment.admin.admin_key", Served),
    ("deployment.admin.admin_key_required", Served),
    ("deployment.admin.admin_listen", Section),
    ("deployment.admin.admin_listen.ip", Served),
    ("deployment.admin.admin_listen.port", Served),
    ("deployment.admin.allow_admin", Served),
    ("deployment.admin.enable_admin_cors", Served),
    ("deployment.admin.enable_admin_ui", Ignored("there is no dashboard")),
    ("deployment.admin.https_admin", Served),
    ("deployment.certs", Ignored("name them in deployment.etcd.tls")),
    ("deployment.config_provider", Ignored("it stands in deployment.role_traditional")),
    ("deployment.etcd", Section),
    ("deployment.etcd.health_check_timeout", Ignored(ETCD)),
    ("deployment.etcd.host", Served),
    ("deployment.etcd.password", Served),
    ("deployment.etcd.prefix", Served),
    ("deployment.etcd.resync_delay", Ignored(ETCD)),
    ("deployment.etcd.startup_retry", Ignored(ETCD)),
    ("deployment.etcd.timeout", Served),
    ("deployment.etcd.tls", Section),
    ("deployment.etcd.tls.cert", Served),
    ("deployment.etcd.tls.key", Served),
    ("deployment.etcd.tls.sni", Served),
    ("deployment.etcd.tls.verify", Served),
    ("deployment.etcd.use_grpc", Ignored("etcd's JSON gateway is used, as by APISIX's default")),
    ("deployment.etcd.user", Served),
    ("deployment.etcd.watch_timeout", Ignored(ETCD)),
    ("deployment.role", Served),
    ("deployment.role_control_plane", Section),
    ("deployment.role_control_plane.conf_server", Ignored("data planes read etcd themselves")),
    ("deployment.role_control_plane.config_provider", Served),
    ("deployment.role_data_plane", Section),
    ("deployment.role_data_plane.config_provider", Served),
    ("deployment.role_data_plane.control_plane", Ignored("data planes read etcd themselves")),
    ("deployment.role_traditional", Section),
    ("deployment.role_traditional.config_provider", Served),
    ("discovery", Ignored(DISCOVERY)),
    ("ext-plugin", Ignored(PLUGINS)),
    ("graphql", Ignored("GraphQL is not read")),
    ("http", Ignored(MEMORY)),
    ("nginx_config", Section),
    ("nginx_config.enable_cpu_affinity", Ignored("threads are placed by the system")),
    ("nginx_config.envs", Ignored("the environment is the process's")),
    ("nginx_config.error_log", Ignored(LOGS)),
    ("nginx_config.error_log_level", Served),
    (
        "nginx_config.event",
        Ignored("connections are limited by the limit of open files; see --max-connections-per-source"),
    ),
    ("nginx_config.http", Section),
    ("nginx_config.http.access_log", Ignored(LOGS)),
    ("nginx_config.http.access_log_buffer", Ignored(LOGS)),
    ("nginx_config.http.access_log_format", Ignored(LOGS)),
    ("nginx_config.http.access_log_format_escape", Ignored(LOGS)),
    ("nginx_config.http.charset", Ignored("content types are passed on as they are")),
    ("nginx_config.http.client_body_timeout", Served),
    ("nginx_config.http.client_header_timeout", Ignored("keepalive_timeout includes it")),
    ("nginx_config.http.client_max_body_size", Served),
    ("nginx_config.http.custom_lua_shared_dict", Ignored(MEMORY)),
    ("nginx_config.http.enable_access_log", Ignored(LOGS)),
    ("nginx_config.http.keepalive_timeout", Served),
    ("nginx_config.http.lua_shared_dict", Ignored(MEMORY)),
    ("nginx_config.http.lua_shared_dicts", Ignored(MEMORY)),
    ("nginx_config.http.proxy_ssl_server_name", Ignored(ALWAYS)),
    ("nginx_config.http.real_ip_from", Ignored("see apisix.trusted_addresses")),
    ("nginx_config.http.real_ip_header", Ignored("see apisix.trusted_addresses")),
    ("nginx_config.http.real_ip_recursive", Ignored("see apisix.trusted_addresses")),
    ("nginx_config.http.send_timeout", Served),
    ("nginx_config.http.underscores_in_headers", Ignored("see docs/http.md")),
    ("nginx_config.http.upstream", Ignored("see keepalive_pool of the upstreams")),
    ("nginx_config.http.variables_hash_max_size", Ignored(NGINX)),
    ("nginx_config.http_admin_configuration_snippet", Ignored(NGINX)),
    ("nginx_config.http_configuration_snippet", Ignored(NGINX)),
    ("nginx_config.http_end_configuration_snippet", Ignored(NGINX)),
    ("nginx_config.http_server_configuration_snippet", Ignored(NGINX)),
    ("nginx_config.http_server_location_configuration_snippet", Ignored(NGINX)),
    ("nginx_config.main_configuration_snippet", Ignored(NGINX)),
    ("nginx_config.max_pending_timers", Ignored(NGINX)),
    ("nginx_config.max_running_timers", Ignored(NGINX)),
    ("nginx_config.meta", Ignored(MEMORY)),
    ("nginx_config.stream", Ignored(LOGS)),
    ("nginx_config.stream_configuration_snippet", Ignored(NGINX)),
    ("nginx_config.user", Ignored("the process keeps the user that started it")),
    ("nginx_config.worker_processes", Served),
    ("nginx_config.worker_rlimit_core", Ignored(NGINX)),
    ("nginx_config.worker_rlimit_nofile", Ignored("the limit of open files is raised as far as it may be")),
    ("nginx_config.worker_shutdown_timeout", Served),
    ("plugin_attr", Section),
    ("plugin_attr.prometheus", Section),
    ("plugin_attr.prometheus.default_buckets", Ignored("metrics have names of their own; see docs/architecture.md")),
    ("plugin_attr.prometheus.enable_export_server", Ignored(ALWAYS)),
    ("plugin_attr.prometheus.export_addr", Section),
    ("plugin_attr.prometheus.export_addr.ip", Served),
    ("plugin_attr.prometheus.export_addr.port", Served),
    ("plugin_attr.prometheus.export_uri", Ignored("metrics are at /metrics and at /apisix/prometheus/metrics")),
    ("plugin_attr.prometheus.metric_prefix", Ignored("metrics have names of their own")),
    ("plugin_attr.prometheus.metrics", Ignored("metrics have names of their own")),
    ("plugin_attr.prometheus.refresh_interval", Ignored("metrics are counted when they are asked for")),
    ("plugins", Ignored(PLUGINS)),
    ("stream_plugins", Ignored(PLUGINS)),
    ("wasm", Ignored(PLUGINS)),
    ("xrpc", Ignored(PLUGINS)),
];

/// Below these, names are anybody's: plugins.
const OPEN: &[(&str, &str)] = &[("plugin_attr", PLUGINS)];

/// What the keys mean before one of them is read.
///
/// # Errors
/// The keys that nobody knows, and the sections that are none.
pub(super) fn check(value: &Value) -> Result<Vec<Warning>, Vec<Error>> {
    let (mut warnings, mut errors) = Default::default();
    walk(value, "", &mut warnings, &mut errors);
    if errors.is_empty() { Ok(warnings) } else { Err(errors) }
}

fn walk(value: &Value, path: &str, warnings: &mut Vec<Warning>, errors: &mut Vec<Error>) {
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return,
        _ => {
            errors.push(Error::new(path, "must be a map of keys"));
            return;
        }
    };
    for (name, value) in map {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match KEYS.iter().find(|(known, _)| *known == key) {
            Some((_, Served)) => {}
            Some((_, Section)) => walk(value, &key, warnings, errors),
            Some((_, Ignored(why))) => warnings.push(Warning { key, why }),
            None => match OPEN.iter().find(|(open, _)| *open == path) {
                Some((_, why)) => warnings.push(Warning { key, why }),
                None => errors.push(unknown(key, name, path)),
            },
        }
    }
}

fn unknown(key: String, name: &str, path: &str) -> Error {
    match nearest(name, path) {
        Some(nearest) => Error::new(key, format!("is unknown; do you mean `{nearest}`?")),
        None => Error::new(key, "is unknown; docs/configuration.md lists the keys"),
    }
}

/// The known key that `name` is most likely meant for: the same name elsewhere, or one that is written much like it in the same place.
fn nearest(name: &str, path: &str) -> Option<&'static str> {
    let split = |key: &'static str| key.rsplit_once('.').unwrap_or(("", key));
    let distance = |key: &'static str| {
        let (parent, last) = split(key);
        let typos = strsim::damerau_levenshtein(name, last);
        (typos + usize::from(parent != path), key)
    };
    let (far, key) = KEYS.iter().map(|(key, _)| distance(key)).min()?;
    (far <= name.len() / 3 + 1).then_some(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_key_has_its_section() {
        // By section and then by name: `_` comes after `.` in no reader's eyes.
        let parts = |key: &'static str| key.split('.').collect::<Vec<_>>();
        assert!(KEYS.is_sorted_by_key(|(key, _)| parts(key)));
        for (key, _) in KEYS {
            if let Some((parent, _)) = key.rsplit_once('.') {
                assert!(KEYS.contains(&(parent, Section)), "{key}");
            }
        }
    }

    #[test]
    fn every_key_is_in_the_guide() {
        let guide = include_str!("../../docs/configuration.md");
        for (key, used) in KEYS {
            assert!(*used == Section || guide.contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn an_unknown_key_is_told_with_the_nearest_one() {
        for (value, expected) in [
            (json!({"apisx": {}}), "apisx: is unknown; do you mean `apisix`?"),
            (json!({"apisix": {"node_listn": 1}}), "apisix.node_listn: is unknown; do you mean `apisix.node_listen`?"),
            (
                json!({"admin_listen": {"port": 9180}}),
                "admin_listen: is unknown; do you mean `deployment.admin.admin_listen`?",
            ),
            (
                json!({"apisix": {"zebra_crossing": 1}}),
                "apisix.zebra_crossing: is unknown; docs/configuration.md lists the keys",
            ),
            (json!({"apisix": []}), "apisix: must be a map of keys"),
        ] {
            let errors = check(&value).unwrap_err();
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn what_has_no_meaning_is_told_once_each() {
        let value = json!({
            "apisix": {"proxy_cache": {"zones": [{"name": "a"}]}, "node_listen": 9080},
            "plugins": ["cors"],
            "plugin_attr": {"log-rotate": {"interval": 1}},
        });
        let warnings = check(&value).unwrap();
        let keys: Vec<_> = warnings.iter().map(|warning| warning.key.as_str()).collect();
        assert_eq!(keys, ["apisix.proxy_cache", "plugin_attr.log-rotate", "plugins"]);
        assert_eq!(check(&Value::Null), Ok(vec![]));
    }
}
