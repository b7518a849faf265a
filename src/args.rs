//! The command line. Every option can also be set by an environment variable: `--http-listen` by `PORTCULLIS_HTTP_LISTEN`;
//! several values are separated by commas there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::Config;
use crate::log::Format;
use crate::model::{HostName, Network};

/// An ingress controller and proxy that enforces mutual TLS per host.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// Reads a command line, the program's name first, and remembers which options were given.
    ///
    /// # Errors
    /// When it makes no sense, or asks for help.
    pub fn read(line: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(line)?;
        let mut args = Self::from_arg_matches(&matches)?;
        if let (Command::Run(run), Some((_, matches))) = (&mut args.command, matches.subcommand()) {
            let is_given = |id: &str| {
                matches!(matches.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
            };
            let options = matches.ids().map(clap::Id::as_str);
            run.given = options.filter(|id| is_given(id)).map(str::to_owned).collect();
        }
        Ok(args)
    }
}

/// What the program can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Read manifests and say everything that is wrong with them, with file and line. The exit code is 1 where something is.
    Check(CheckOptions),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Make a CA, certificates, a backend and manifests in a folder, serve them, and say what to try.
    Demo(DemoOptions),
    /// Say which objects decide about a request, and how: why a client is let in or refused. The exit code is 0 where the
    /// request would be served, 1 where it would be refused, 2 where the question cannot be answered.
    Explain(Box<ExplainOptions>),
    /// Serve: from Kubernetes, from directories of manifests, or both.
    Run(Box<RunOptions>),
}

/// Which objects are ours.
#[derive(Clone, Debug, clap::Args)]
pub struct ClassOptions {
    /// `spec.controller` of the IngressClasses to serve.
    #[arg(long, env = "PORTCULLIS_CONTROLLER_NAME", default_value = "apisix.apache.org/apisix-ingress-controller")]
    pub controller_name: String,

    /// The ingress class to serve even where there is no IngressClass object. Objects without a class are always served.
    #[arg(long, env = "PORTCULLIS_INGRESS_CLASS", default_value = "apisix")]
    pub ingress_class: String,
}

/// Options of `portcullis check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckOptions {
    /// Which objects are ours.
    #[command(flatten)]
    pub class: ClassOptions,

    /// A directory (or file) of manifests; repeatable.
    #[arg(long, env = "PORTCULLIS_MANIFESTS", required = true, value_delimiter = ',')]
    pub manifests: Vec<PathBuf>,
}

/// Options of `portcullis explain`.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "configuration", required = true, multiple = false, args = ["live", "manifests"])]
pub struct ExplainOptions {
    /// The request: `https://host[:port]/path`; `http://` means the plaintext port. Or a stream: `tcp://:port`, `tls://host:port`,
    /// `udp://:port`.
    pub url: String,

    /// The client's address, for routes that have `remoteAddrs`; 127.0.0.1 where it is left out.
    #[arg(long)]
    pub address: Option<std::net::IpAddr>,

    /// With `--manifests`: as of `portcullis run`.
    #[arg(long, env = "PORTCULLIS_ALLOW_PLAINTEXT_CLIENT_AUTH")]
    pub allow_plaintext_client_auth: bool,

    /// The time to judge certificates at, as `2026-11-21T13:00:00Z`; now where it is left out.
    #[arg(long)]
    pub at: Option<jiff::Timestamp>,

    /// A PEM file (`-`: standard input) with the client's certificate, then the intermediates that the client sends. Keys in
    /// it are not read.
    #[arg(long)]
    pub cert: Option<PathBuf>,

    /// Which objects are ours, with `--manifests`.
    #[command(flatten)]
    pub class: ClassOptions,

    /// Ask the process whose admin address this is. It answers from its own machine only.
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, default_missing_value = "http://127.0.0.1:9091")]
    pub live: Option<String>,

    /// With `--manifests`: as of `portcullis run`.
    #[arg(long, env = "PORTCULLIS_FALLBACK_SNI")]
    pub fallback_sni: Option<String>,

    /// A header of the request, as `name: value`; repeatable.
    #[arg(long)]
    pub header: Vec<String>,

    /// Answer from these manifests: a directory or file; repeatable.
    #[arg(long, value_delimiter = ',')]
    pub manifests: Vec<PathBuf>,

    /// The request's method.
    #[arg(long, default_value = "GET")]
    pub method: String,

    /// How the answer looks.
    #[arg(long, default_value = "text")]
    pub output: Format,

    /// The host that the client names in the TLS handshake, where it is not the URL's; empty for none.
    #[arg(long)]
    pub sni: Option<String>,
}

/// Options of `portcullis demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoOptions {
    /// Where the demo's files are made. Files that exist are kept, so that you can edit them.
    #[arg(long, default_value = "portcullis-demo")]
    pub folder: PathBuf,
}

/// Options of `portcullis run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunOptions {
    /// The share of requests that the access log tells of, 0 to 1. Those that are refused or that fail are always in it.
    #[arg(long, env = "PORTCULLIS_ACCESS_LOG_SAMPLE", default_value = "1", value_parser = share)]
    pub access_log_sample: f64,

    /// Address for health, metrics and debug pages.
    #[arg(long, env = "PORTCULLIS_ADMIN_LISTEN", default_value = "0.0.0.0:9091")]
    pub admin_listen: SocketAddr,

    /// Serve hosts that require a client certificate on the plaintext port too, without one. For migrations only: whoever
    /// reaches that port is let in.
    #[arg(long, env = "PORTCULLIS_ALLOW_PLAINTEXT_CLIENT_AUTH")]
    pub allow_plaintext_client_auth: bool,

    /// Which objects are ours.
    #[command(flatten)]
    pub class: ClassOptions,

    /// APISIX's config.yaml. Where it is left out, ./conf/config.yaml and /usr/local/apisix/conf/config.yaml are looked for. Options that
    /// are given come before what it says.
    #[arg(long, env = "PORTCULLIS_CONFIG")]
    pub config: Option<PathBuf>,

    /// The folder of the Admin API's database, its keys, and the copy of what etcd said.
    #[arg(long, env = "PORTCULLIS_DATA", default_value = "data")]
    pub data: PathBuf,

    /// How long requests under way may take to finish after SIGTERM.
    #[arg(long, env = "PORTCULLIS_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,

    /// The host that a TLS client without SNI is taken to have named. Without it such clients are refused.
    #[arg(long, env = "PORTCULLIS_FALLBACK_SNI", value_parser = host)]
    pub fallback_sni: Option<HostName>,

    /// Addresses for plaintext HTTP; repeatable.
    #[arg(long, env = "PORTCULLIS_HTTP_LISTEN", default_value = "0.0.0.0:9080", value_delimiter = ',')]
    pub http_listen: Vec<SocketAddr>,

    /// Addresses for plaintext HTTP where every connection begins with a header of the PROXY protocol; repeatable.
    #[arg(long, env = "PORTCULLIS_HTTP_PROXY_PROTOCOL_LISTEN", value_delimiter = ',')]
    pub http_proxy_protocol_listen: Vec<SocketAddr>,

    /// Addresses for TLS; repeatable.
    #[arg(long, env = "PORTCULLIS_HTTPS_LISTEN", default_value = "0.0.0.0:9443", value_delimiter = ',')]
    pub https_listen: Vec<SocketAddr>,

    /// Addresses for TLS where every connection begins with a header of the PROXY protocol; repeatable.
    #[arg(long, env = "PORTCULLIS_HTTPS_PROXY_PROTOCOL_LISTEN", value_delimiter = ',')]
    pub https_proxy_protocol_listen: Vec<SocketAddr>,

    /// Follow the Kubernetes API server: of the cluster the program runs in, or of the current kubeconfig. On by itself in a
    /// cluster without `--manifests`.
    #[arg(long, env = "PORTCULLIS_KUBERNETES")]
    pub kubernetes: bool,

    /// The options that were given, by a flag or a variable: the others may be set by config.yaml.
    #[arg(skip)]
    pub given: BTreeSet<String>,

    /// How log lines look.
    #[arg(long, env = "PORTCULLIS_LOG_FORMAT", default_value = "text")]
    pub log_format: Format,

    /// What is logged: a level, or directives such as `info,portcullis=debug`.
    #[arg(long, env = "PORTCULLIS_LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    /// A directory (or file) of manifests to serve and to watch; repeatable.
    #[arg(long, env = "PORTCULLIS_MANIFESTS", value_delimiter = ',')]
    pub manifests: Vec<PathBuf>,

    /// Bytes that a request's body may have, as `10MiB`; any number where it is left out or 0.
    #[arg(long, env = "PORTCULLIS_MAX_BODY_SIZE", value_parser = bytes)]
    pub max_body_size: Option<u64>,

    /// Connections that one source (an IPv4 address, or a /64 of IPv6) may have open; 0 for any number. Half of what a listener
    /// holds where it is left out. Trusted addresses are not limited.
    #[arg(long, env = "PORTCULLIS_MAX_CONNECTIONS_PER_SOURCE")]
    pub max_connections_per_source: Option<usize>,

    /// Bytes of memory that the process may use, as `512MiB`; 0 for any number. The container's limit where it is left out.
    /// Near it load is shed: new connections are closed, and requests answered with 503.
    #[arg(long, env = "PORTCULLIS_MEMORY_LIMIT", value_parser = bytes)]
    pub memory_limit: Option<u64>,

    /// Addresses for plain TCP streams (APISIX's `stream_proxy.tcp`); repeatable.
    #[arg(long, env = "PORTCULLIS_STREAM_TCP_LISTEN", value_delimiter = ',')]
    pub stream_tcp_listen: Vec<SocketAddr>,

    /// Addresses for TLS streams, which end here (APISIX's `stream_proxy.tcp` with `tls: true`); repeatable.
    #[arg(long, env = "PORTCULLIS_STREAM_TLS_LISTEN", value_delimiter = ',')]
    pub stream_tls_listen: Vec<SocketAddr>,

    /// Addresses for UDP (APISIX's `stream_proxy.udp`); repeatable.
    #[arg(long, env = "PORTCULLIS_STREAM_UDP_LISTEN", value_delimiter = ',')]
    pub stream_udp_listen: Vec<SocketAddr>,

    /// How long requests under way may take to finish on a connection whose client is not let in any more.
    #[arg(long, env = "PORTCULLIS_TRUST_GRACE", default_value = "10s", value_parser = duration)]
    pub trust_grace: Duration,

    /// Networks of the proxies in front of this one; repeatable. Only they are believed about who their clients are
    /// (X-Forwarded-For, -Host, -Port, -Proto and X-Real-IP), and only they may use the PROXY protocol.
    #[arg(long, env = "PORTCULLIS_TRUSTED_ADDRESSES", value_delimiter = ',', value_parser = network)]
    pub trusted_addresses: Vec<Network>,

    /// A namespace to follow; repeatable. All namespaces where none is given.
    #[arg(long, env = "PORTCULLIS_WATCH_NAMESPACE", value_delimiter = ',')]
    pub watch_namespace: Vec<String>,

    /// Threads for traffic; the number of CPUs where it is left out.
    #[arg(long, env = "PORTCULLIS_WORKERS")]
    pub workers: Option<usize>,
}

impl RunOptions {
    /// How many addresses are listened on for traffic.
    pub fn listeners(&self) -> usize {
        [
            &self.http_listen,
            &self.http_proxy_protocol_listen,
            &self.https_listen,
            &self.https_proxy_protocol_listen,
            &self.stream_tcp_listen,
            &self.stream_tls_listen,
            &self.stream_udp_listen,
        ]
        .iter()
        .map(|addresses| addresses.len())
        .sum()
    }

    /// Whether to follow the API server where config.yaml was found or not: without anything to serve a pod follows its cluster.
    pub fn follows_kubernetes(&self, has_config: bool) -> bool {
        let in_cluster = || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        self.kubernetes || (self.manifests.is_empty() && !has_config && in_cluster())
    }

    /// Takes over what `config` says, but for the options that were given.
    pub fn adopt(&mut self, config: &Config) {
        fn set<T>(given: &BTreeSet<String>, option: &str, place: &mut T, value: Option<T>) {
            if let Some(value) = value.filter(|_| !given.contains(option)) {
                *place = value;
            }
        }
        let unless_empty = |list: &Vec<_>| Some(list.clone()).filter(|list| !list.is_empty());
        let given = &self.given;
        set(given, "admin_listen", &mut self.admin_listen, config.metrics);
        set(given, "drain_timeout", &mut self.drain_timeout, config.worker_shutdown_timeout);
        set(given, "fallback_sni", &mut self.fallback_sni, config.fallback_sni.clone().map(Some));
        set(given, "http_listen", &mut self.http_listen, config.http.clone());
        let list = unless_empty(&config.http_proxy_protocol);
        set(given, "http_proxy_protocol_listen", &mut self.http_proxy_protocol_listen, list);
        set(given, "https_listen", &mut self.https_listen, config.https.clone());
        let list = unless_empty(&config.https_proxy_protocol);
        set(given, "https_proxy_protocol_listen", &mut self.https_proxy_protocol_listen, list);
        set(given, "log_level", &mut self.log_level, config.log_level.map(str::to_owned));
        set(given, "max_body_size", &mut self.max_body_size, config.max_body_size.map(Some));
        set(given, "stream_tcp_listen", &mut self.stream_tcp_listen, unless_empty(&config.stream_tcp));
        set(given, "stream_tls_listen", &mut self.stream_tls_listen, unless_empty(&config.stream_tls));
        set(given, "stream_udp_listen", &mut self.stream_udp_listen, unless_empty(&config.stream_udp));
        let trusted = Some(config.trusted_addresses.clone()).filter(|networks| !networks.is_empty());
        set(given, "trusted_addresses", &mut self.trusted_addresses, trusted);
        set(given, "workers", &mut self.workers, config.workers.map(Some));
    }
}

/// Reads `90s`, `1m30s` or `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| format!("`{text}` is no duration; write for example `30s` or `1m30s`"))
}

fn host(text: &str) -> Result<HostName, String> {
    HostName::parse(text).ok_or_else(|| format!("`{text}` is no host name"))
}

/// Reads a number of bytes, as `10MiB` or `1024`.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let with_unit = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
    let (number, bits) = with_unit.unwrap_or((text, 0));
    let number = number.parse().ok().and_then(|number: u64| number.checked_mul(1 << bits));
    number.ok_or_else(|| format!("`{text}` is no number of bytes; write for example `10MiB` or `1024`"))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("`{text}` is no share; write a number from 0 to 1"))
}

fn network(text: &str) -> Result<Network, String> {
    Network::parse(text).map(Network::to_canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_the_documented_defaults() {
        let Command::Run(run) = Args::try_parse_from(["portcullis", "run"]).unwrap().command else { panic!("no run") };
        assert_eq!(run.drain_timeout, Duration::from_secs(30));
        assert_eq!(run.http_listen, ["0.0.0.0:9080".parse().unwrap()]);
        assert!(!run.allow_plaintext_client_auth);
        assert_eq!((run.fallback_sni, run.trust_grace), (None, Duration::from_secs(10)));
    }

    #[test]
    fn a_config_yaml_sets_what_is_not_given() {
        let line = ["portcullis", "run", "--http-listen", "127.0.0.1:1", "--workers", "3"];
        let Command::Run(mut run) = Args::read(line).unwrap().command else { panic!("no run") };
        let text = "apisix: {node_listen: 80, ssl: {listen: [{port: 443}]}}\nnginx_config: {worker_processes: 9, error_log_level: warn}";
        run.adopt(&Config::parse(text, |_| None).unwrap().0);
        assert_eq!((run.http_listen, run.workers), (vec!["127.0.0.1:1".parse().unwrap()], Some(3)), "given");
        assert_eq!((run.https_listen, run.log_level.as_str()), (vec!["0.0.0.0:443".parse().unwrap()], "warn"));
        assert_eq!(run.admin_listen, "0.0.0.0:9091".parse().unwrap(), "not said");
    }

    #[test]
    fn every_option_is_a_value_of_the_chart() {
        const TEMPLATE: &str = include_str!("../charts/portcullis/templates/deployment.yaml");
        // What no pod of the chart is for, or what is fixed there.
        const OTHERS: [&str; 4] = ["config", "data", "help", "manifests"];
        let kinds = ["tcp", "tls", "udp", "http", "https"].map(|kind| TEMPLATE.replace("{{ $kind }}", kind));
        let run = <Args as clap::CommandFactory>::command().find_subcommand("run").unwrap().clone();
        for option in run.get_arguments().filter_map(clap::Arg::get_long).filter(|option| !OTHERS.contains(option)) {
            let passed = format!(" --{option}");
            let is_passed = |text: &String| text.lines().any(|line| line.split('=').next().unwrap().ends_with(&passed));
            assert!(kinds.iter().any(is_passed), "--{option}");
        }
    }

    #[test]
    fn a_question_needs_one_configuration() {
        let parse =
            |options: &[&str]| Args::try_parse_from([&["portcullis", "explain", "https://a.test/"], options].concat());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--live", "--manifests", "x"]).is_err());
        assert!(parse(&["--manifests", "x"]).is_ok());
        let Command::Explain(live) = parse(&["--live"]).unwrap().command else { panic!("another command") };
        assert_eq!(live.live.as_deref(), Some("http://127.0.0.1:9091"));
        assert_eq!((live.url.as_str(), live.output), ("https://a.test/", Format::Text));
    }

    #[test]
    fn sizes_and_shares_are_read() {
        assert_eq!((bytes("1024"), bytes("10MiB"), bytes("0")), (Ok(1024), Ok(10 << 20), Ok(0)));
        assert!(["", "MiB", "10MB", "-1", "1.5GiB", "99999999999GiB"].iter().all(|text| bytes(text).is_err()));
        assert_eq!((share("0.25"), share("1")), (Ok(0.25), Ok(1.0)));
        assert!(["", "1.1", "-0.1", "NaN", "half"].iter().all(|text| share(text).is_err()));
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("-5s").is_err() && duration("x").is_err() && duration("").is_err());
    }
}
