//! One lookup: hosts file, search list, A and AAAA.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use futures::future::join;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use tokio::time::timeout;

use super::{LONGEST, LOOKUPS};

/// How long one name server may take before another one, or the same once more, is asked.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How long all name servers together may take for the records of one type.
const QUERY: Duration = Duration::from_secs(5);

/// Resolves names as `resolv.conf(5)` and the hosts file say.
#[derive(Debug)]
pub struct Resolver {
    client: TokioResolver,
    hosts: Hosts,
    ndots: usize,
    search: Vec<Name>,
}

/// The addresses of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// At least one.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// The shortest TTL of the records that led to them.
    pub(super) ttl: Duration,
    /// Why there may be more: the lookup of one of the families has failed.
    pub(super) partial: Option<String>,
}

impl Resolver {
    /// The system's resolver. Its files are read once: in a pod they do not change.
    ///
    /// # Errors
    /// When the resolver cannot be made.
    pub fn system() -> Result<Self, NetError> {
        let (config, options) = system_conf::read_system_conf().unwrap_or_else(|error| {
            // As resolv.conf(5) has it.
            tracing::warn!("/etc/resolv.conf is not usable, so the name server of this machine is asked: {error}");
            let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_parts(None, vec![], vec![local]), ResolverOpts::default())
        });
        let hosts = Hosts::from_system().unwrap_or_else(|error| {
            tracing::warn!("the hosts file is not usable: {error}");
            Hosts::default()
        });
        Self::new(config, options, hosts)
    }

    /// A resolver that asks the name servers of `config`.
    ///
    /// # Errors
    /// When the resolver cannot be made.
    pub fn new(config: ResolverConfig, mut options: ResolverOpts, hosts: Hosts) -> Result<Self, NetError> {
        let search = if config.search().is_empty() {
            config.domain().cloned().into_iter().collect()
        } else {
            config.search().to_vec()
        };
        options.cache_size = 0; // each name is asked for when its TTL has ended
        options.max_active_requests = 4 * LOOKUPS;
        options.timeout = options.timeout.min(ATTEMPT);
        options.use_hosts_file = ResolveHosts::Never; // looked into before the search list, which hickory does not
        let ndots = options.ndots;
        let client = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()?;
        Ok(Self { client, hosts, ndots, search })
    }

    /// The addresses of `name`, or in a few words, which are the same every time, why there are none.
    ///
    /// The names of the search list are tried one after the other until one exists. A failure ends the search: what a later one leads to
    /// may be somebody else's.
    pub(super) async fn lookup(&self, name: &str) -> Result<Found, String> {
        let name = Name::from_str_relaxed(name).map_err(|_| "is no domain name".to_owned())?;
        if let Some(addresses) = self.in_hosts(&name) {
            return Ok(Found { addresses, partial: None, ttl: LONGEST });
        }
        let mut missing = "does not exist (NXDOMAIN)";
        for candidate in candidates(&name, &self.search, self.ndots) {
            let (v4, v6) = join(self.query(&candidate, RecordType::A), self.query(&candidate, RecordType::AAAA)).await;
            let ttl = [&v4, &v6].iter().filter_map(|found| Some(found.as_ref().ok()?.ttl)).min();
            if let Some(ttl) = ttl {
                let failed = [&v4, &v6]
                    .into_iter()
                    .filter_map(|found| found.as_ref().err())
                    .find(|error| !matches!(error, NetError::Dns(DnsError::NoRecordsFound(_))));
                let partial = failed.map(why);
                let addresses = [v4, v6].into_iter().flatten().flat_map(|found| found.addresses).collect();
                return Ok(Found { addresses: reachable(addresses), partial, ttl });
            }
            for error in [v4, v6].into_iter().filter_map(Result::err) {
                match error {
                    NetError::Dns(DnsError::NoRecordsFound(NoRecords {
                        response_code: ResponseCode::NXDomain,
                        ..
                    })) => {}
                    NetError::Dns(DnsError::NoRecordsFound(_)) => missing = "has no address",
                    other => return Err(why(&other)),
                }
            }
        }
        Err(missing.to_owned())
    }

    fn in_hosts(&self, name: &Name) -> Option<BTreeSet<IpAddr>> {
        let of = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found: BTreeSet<_> =
            [RecordType::A, RecordType::AAAA].into_iter().filter_map(of).flat_map(|found| addresses(&found)).collect();
        (!found.is_empty()).then_some(found)
    }

    async fn query(&self, name: &Name, kind: RecordType) -> Result<Found, NetError> {
        let lookup = timeout(QUERY, self.client.lookup(name.clone(), kind)).await.map_err(|_| NetError::Timeout)??;
        let found = addresses(&lookup);
        if found.is_empty() {
            return Err(NoRecords::new(lookup.query().clone(), ResponseCode::NoError).into());
        }
        let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
        Ok(Found { addresses: found, partial: None, ttl: Duration::from_secs(ttl.into()) })
    }
}

fn addresses(lookup: &Lookup) -> BTreeSet<IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

/// The absolute names that `name` may stand for, in the order in which they are tried (resolv.conf(5)): with a final dot itself, else
/// itself and with each domain of the search list, first itself where it has `ndots` dots.
fn candidates(name: &Name, search: &[Name], ndots: usize) -> Vec<Name> {
    let mut absolute = name.clone();
    absolute.set_fqdn(true);
    if name.is_fqdn() || name.is_localhost() {
        return vec![absolute];
    }
    let mut names: Vec<_> = search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
    for name in &mut names {
        name.set_fqdn(true);
    }
    let dots = usize::from(name.num_labels()).saturating_sub(1);
    names.insert(if dots >= ndots { 0 } else { names.len() }, absolute);
    names
}

/// The addresses that this machine has a route to, or else all: one with IPv4 alone does not try IPv6.
fn reachable(addresses: BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let has_route = |address: &IpAddr| {
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Connecting a datagram socket looks for a route and sends nothing.
        UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((*address, 9))).is_ok()
    };
    let reachable: BTreeSet<_> = addresses.iter().copied().filter(has_route).collect();
    if reachable.is_empty() { addresses } else { reachable }
}

/// An error in words without anything that changes from one time to the next.
fn why(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::ResponseCode(code)) => format!("cannot be looked up: the name server says {code}"),
        NetError::Timeout | NetError::NoConnections => "cannot be looked up: no name server answers".to_owned(),
        other => format!("cannot be looked up: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, search: &[&str], ndots: usize) -> Vec<String> {
        let parse = |name: &str| Name::from_str_relaxed(name).unwrap();
        let search: Vec<_> = search.iter().map(|name| parse(name)).collect();
        candidates(&parse(name), &search, ndots).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_is_searched_as_resolv_conf_says() {
        let search = &["ns.svc.cluster.local", "cluster.local."];
        assert_eq!(names("a", search, 5), ["a.ns.svc.cluster.local.", "a.cluster.local.", "a."]);
        assert_eq!(names("a.b", search, 5), ["a.b.ns.svc.cluster.local.", "a.b.cluster.local.", "a.b."]);
        assert_eq!(names("a.b", search, 1), ["a.b.", "a.b.ns.svc.cluster.local.", "a.b.cluster.local."]);
        assert_eq!(names("a.b.", search, 5), ["a.b."], "absolute");
        assert_eq!(names("localhost", search, 5), ["localhost."]);
    }

    #[test]
    fn an_address_without_a_route_is_left_out_unless_none_has_one() {
        let here: IpAddr = [127, 0, 0, 1].into();
        let nowhere: IpAddr = "ff02::1%0".parse().unwrap_or_else(|_| Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into());
        assert!(reachable([here, nowhere].into()).contains(&here));
        assert_eq!(reachable([nowhere].into()), [nowhere].into());
    }
}
