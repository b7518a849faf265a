//! Upstreams: where a route's requests can go.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::balance::{self, Candidate};
use super::endpoint::Endpoint;
use super::health::Target;
use super::under_way::UnderWay;
use crate::model::{HashKey, Timeouts};

/// The `Host` that an upstream is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Host {
    /// The endpoint's address.
    Node,
    /// The client's.
    #[default]
    Pass,
    /// This one.
    Rewrite(HeaderValue),
}

/// Which endpoint is tried first.
#[derive(Debug)]
enum Balance {
    /// By what is hashed of a request, and the hashes of the endpoints' addresses.
    Hash(HashKey, Box<[u64]>),
    LeastConnections,
    PeakEwma,
    /// By turns; and the credits of the nodes, for the turns of weights that differ and of nodes that are not healthy.
    RoundRobin(Mutex<Vec<i64>>),
}

/// An endpoint's place in an upstream.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where and how it is reached.
    pub endpoint: Arc<Endpoint>,
    /// What looks after its health; `None` where nothing does.
    pub health: Option<Arc<Target>>,
    /// The name that its address was found by, without a final dot.
    pub name: Option<Arc<str>>,
    /// Nodes of a lower priority get requests only when none of a higher one is healthy, or all of those were tried (APISIX).
    pub priority: i32,
    /// Its share of the requests; 0 gets none.
    pub weight: u32,
}

impl Node {
    fn is_healthy(&self) -> bool {
        self.health.as_ref().is_none_or(|target| target.is_healthy())
    }
}

impl From<Arc<Endpoint>> for Node {
    fn from(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, health: None, name: None, priority: 0, weight: 1 }
    }
}

impl Node {
    /// The node as a `Host` field: its name, or else its address, without the port where that is the scheme's own. `None`
    /// where that cannot be one.
    pub fn host(&self) -> Option<HeaderValue> {
        let Endpoint { address, text, transport, .. } = &*self.endpoint;
        let usual = if transport.tls.is_some() { 443 } else { 80 };
        match &self.name {
            None if address.port() == usual => HeaderValue::from_str(text.rsplit_once(':').map_or(text, |(ip, _)| ip)),
            None => HeaderValue::from_str(text),
            Some(name) if address.port() == usual => HeaderValue::from_str(name),
            Some(name) => HeaderValue::try_from(format!("{name}:{}", address.port())),
        }
        .ok()
    }
}

/// The endpoints of one backend of a rule.
#[derive(Debug)]
pub struct Upstream {
    /// How many endpoints a request may try; `usize::MAX` for all.
    pub attempts: usize,
    /// The `Host` that is sent.
    pub host: Host,
    /// `namespace/service:port`, for logs.
    pub name: Arc<str>,
    /// How long after the first attempt another endpoint is still tried; `None` for ever.
    pub retry_timeout: Option<Duration>,
    /// Deadlines instead of the route's.
    pub timeouts: Option<Timeouts>,
    balance: Balance,
    /// By priority. Nodes without weight are in none.
    groups: Box<[Group]>,
    nodes: Box<[Node]>,
    next: AtomicUsize,
}

/// Nodes of one priority.
#[derive(Debug)]
struct Group {
    /// Whether their weights are equal.
    is_even: bool,
    places: Range<usize>,
}

impl Upstream {
    /// An upstream of these endpoints, each of which is tried in turn.
    pub fn new(name: Arc<str>, nodes: impl IntoIterator<Item = Node>) -> Self {
        let mut nodes: Box<[Node]> = nodes.into_iter().collect();
        nodes.sort_by_key(|node| (node.weight == 0, Reverse(node.priority)));
        let mut places = 0..0;
        let with_weight = nodes.iter().position(|node| node.weight == 0).unwrap_or(nodes.len());
        let groups = nodes[..with_weight].chunk_by(|a, b| a.priority == b.priority).map(|group| {
            places = places.end..places.end + group.len();
            Group { is_even: group.iter().all(|node| node.weight == group[0].weight), places: places.clone() }
        });
        Self {
            attempts: usize::MAX,
            balance: Balance::RoundRobin(Mutex::default()),
            groups: groups.collect(),
            host: Host::Pass,
            name,
            next: AtomicUsize::new(0),
            nodes,
            retry_timeout: None,
            timeouts: None,
        }
    }

    /// The upstream with equal requests at the same endpoint.
    #[must_use]
    pub fn hashing(self, key: HashKey) -> Self {
        let nodes = self.nodes.iter().map(|node| balance::hash(node.endpoint.text.as_bytes())).collect();
        Self { balance: Balance::Hash(key, nodes), ..self }
    }

    /// The upstream with each request at the endpoint that has the fewest under way for its weight.
    #[must_use]
    pub fn with_least_connections(self) -> Self {
        Self { balance: Balance::LeastConnections, ..self }
    }

    /// The upstream with each request at the quicker of two endpoints.
    #[must_use]
    pub fn with_peak_ewma(self) -> Self {
        Self { balance: Balance::PeakEwma, ..self }
    }

    /// The endpoints, by priority, in the order given.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Whether a request can be upgraded: HTTP/2 has no `Upgrade` (RFC 9113 section 8.6).
    pub fn upgrades(&self) -> bool {
        self.nodes.iter().all(|node| !node.endpoint.transport.http2)
    }

    /// Whether any endpoint can get requests.
    pub fn is_usable(&self) -> bool {
        !self.groups.is_empty()
    }

    /// The place of the endpoint that a request tries first. `hash` gives the [`hash`](balance::hash) of the request's key.
    ///
    /// Where no endpoint is healthy all are taken for healthy (APISIX).
    pub fn first(&self, hash: impl FnOnce(&HashKey) -> u64) -> usize {
        let key = if let Balance::Hash(key, _) = &self.balance { hash(key) } else { 0 };
        let healthy = self.groups.iter().find_map(|group| self.pick(group, key, Node::is_healthy));
        let any = || self.groups.first().and_then(|group| self.pick(group, key, |_| true));
        healthy.or_else(any).unwrap_or(0)
    }

    /// The place of the node of `group` that a request goes to whose key has the hash `key`; `None` where none is `usable`.
    fn pick(&self, group: &Group, key: u64, usable: impl Fn(&Node) -> bool) -> Option<usize> {
        let turn = || group.places.start + self.next.fetch_add(1, Ordering::Relaxed) % group.places.len();
        let nodes = || group.places.clone().map(|place| (place, &self.nodes[place])).filter(|(_, node)| usable(node));
        let candidates = |value: fn(&Node) -> u64| {
            nodes().map(move |(place, node)| Candidate { place, value: value(node), weight: node.weight })
        };
        match &self.balance {
            Balance::Hash(_, hashes) => balance::rendezvous(
                key,
                nodes().map(|(place, node)| Candidate { place, value: hashes[place], weight: node.weight }),
            ),
            Balance::LeastConnections => balance::lowest(candidates(|node| node.endpoint.under_way() + 1), turn()),
            Balance::PeakEwma => self.quicker(group, &usable),
            Balance::RoundRobin(credits) => {
                if group.is_even {
                    let place = turn();
                    if usable(&self.nodes[place]) {
                        return Some(place);
                    }
                }
                let mut credits = credits.lock().unwrap_or_else(PoisonError::into_inner);
                credits.resize(self.nodes.len(), 0);
                balance::smooth(
                    &mut credits,
                    nodes().map(|(place, node)| Candidate { place, value: (), weight: node.weight }),
                )
            }
        }
    }

    /// The better of two nodes of `group` (Mitzenmacher's power of two choices): by response time and requests under way, for
    /// its weight.
    fn quicker(&self, group: &Group, usable: impl Fn(&Node) -> bool) -> Option<usize> {
        let places = || group.places.clone().filter(|place| usable(&self.nodes[*place]));
        let count = places().count();
        if count < 2 {
            return places().next();
        }
        let now = Instant::now();
        let (one, other) = balance::two_of(count, self.next.fetch_add(1, Ordering::Relaxed) as u64);
        let candidates = [one, other].into_iter().filter_map(|index| places().nth(index)).map(|place| {
            let Node { endpoint, weight, .. } = &self.nodes[place];
            let cost = (u64::from(endpoint.latency.micros(now)) + 1).saturating_mul(endpoint.under_way() + 1);
            Candidate { place, value: cost, weight: *weight }
        });
        balance::lowest(candidates, 0)
    }

    /// The endpoints that a request may try, each once, from the place `first` on: the others are for when that one cannot be
    /// reached. After those of its priority come those of the next.
    pub fn from(&self, first: usize) -> impl Iterator<Item = &Node> {
        let group = self.groups.iter().position(|group| group.places.contains(&first)).unwrap_or(self.groups.len());
        Order { first, group, step: 0, tried: 0, upstream: self }
    }

    /// Counts a request at `node`, begun at `now`, where that decides about others.
    pub fn occupy(&self, node: &Node, now: Instant) -> Option<UnderWay> {
        let target = node.health.as_ref().filter(|target| target.passive().is_some());
        let counts = matches!(self.balance, Balance::LeastConnections | Balance::PeakEwma);
        (counts || target.is_some()).then(|| UnderWay::at(node.endpoint.clone(), target.cloned(), now))
    }
}

/// The nodes of an upstream in the order in which a request tries them.
struct Order<'a> {
    /// Where the group is begun.
    first: usize,
    /// The group, by its index.
    group: usize,
    /// How many nodes of the group were looked at.
    step: usize,
    /// How many nodes were given out.
    tried: usize,
    upstream: &'a Upstream,
}

impl<'a> Iterator for Order<'a> {
    type Item = &'a Node;

    fn next(&mut self) -> Option<&'a Node> {
        let Upstream { attempts, groups, nodes, .. } = self.upstream;
        while self.tried < *attempts {
            let Range { start, end } = groups.get(self.group)?.places;
            if self.step == end - start {
                let next = groups.get(self.group + 1)?;
                let turn = self.upstream.next.load(Ordering::Relaxed) % next.places.len();
                (self.first, self.group, self.step) = (next.places.start + turn, self.group + 1, 0);
                continue;
            }
            let node = &nodes[start + (self.first - start + self.step) % (end - start)];
            self.step += 1;
            // The first one was chosen, whatever has become of its health since.
            if self.tried == 0 || node.is_healthy() || !nodes.iter().any(|node| node.weight > 0 && node.is_healthy()) {
                self.tried += 1;
                return Some(node);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActiveCheck, Criteria, HealthCheck, Sign};
    use crate::snapshot::{CheckId, Transport, Watched};

    fn node(port: u16) -> Node {
        Arc::new(Endpoint::new(([127, 0, 0, 1], port).into(), Transport::default())).into()
    }

    #[test]
    fn the_host_of_a_node_is_its_name_or_its_address_without_the_usual_port() {
        for (port, name, host) in [
            (80, None, "127.0.0.1"),
            (8080, None, "127.0.0.1:8080"),
            (80, Some("a.example"), "a.example"),
            (8080, Some("a.example"), "a.example:8080"),
        ] {
            assert_eq!(Node { name: name.map(Arc::from), ..node(port) }.host().unwrap(), host);
        }
    }

    #[test]
    fn endpoints_take_turns() {
        let upstream = Upstream::new("a".into(), [node(1), node(2)]);
        let order = |upstream: &Upstream| {
            let first = upstream.first(|_| 0);
            upstream.from(first).map(|node| node.endpoint.address.to_string()).collect::<Vec<_>>()
        };
        let turn = || order(&upstream);
        assert_eq!(turn(), ["127.0.0.1:1", "127.0.0.1:2"]);
        assert_eq!(turn(), ["127.0.0.1:2", "127.0.0.1:1"]);
        assert_eq!(turn(), ["127.0.0.1:1", "127.0.0.1:2"]);
        let none = || Upstream::new("b".into(), []);
        for empty in [none(), none().hashing(HashKey::Address), none().with_least_connections()] {
            assert_eq!(order(&empty), [""; 0]);
        }
        let once = Upstream { attempts: 1, ..Upstream::new("c".into(), [node(1), node(2)]) };
        assert_eq!(order(&once), ["127.0.0.1:1"]);
    }

    #[test]
    fn least_connections_fill_up_and_empty() {
        let upstream = Upstream::new("a".into(), [node(1), node(2), node(3)]).with_least_connections();
        let occupy = || {
            let first = upstream.first(|_| 0);
            (first, upstream.occupy(upstream.from(first).next().unwrap(), Instant::now()))
        };
        let mut busy: Vec<_> = (0..9).map(|_| occupy()).collect();
        for place in 0..3 {
            assert_eq!(busy.iter().filter(|(at, _)| *at == place).count(), 3);
        }
        busy.retain(|(place, _)| *place != 1);
        let next: Vec<_> = (0..3).map(|_| occupy()).collect();
        assert!(next.iter().all(|(place, _)| *place == 1), "{next:?}");
    }
    /// An upstream whose nodes have these weights and priorities; the ports count from 1.
    fn weighted(nodes: &[(u32, i32)]) -> Upstream {
        let node = |(index, (weight, priority)): (usize, &(u32, i32))| Node {
            weight: *weight,
            priority: *priority,
            ..node(u16::try_from(index).unwrap() + 1)
        };
        Upstream::new("a".into(), nodes.iter().enumerate().map(node))
    }

    /// The ports of the endpoints that the next request tries.
    fn tries(upstream: &Upstream) -> Vec<String> {
        let first = upstream.first(|_| 0);
        upstream.from(first).map(|node| node.endpoint.text.strip_prefix("127.0.0.1:").unwrap().to_owned()).collect()
    }

    /// The ports of the endpoints that the next requests go to.
    fn firsts(upstream: &Upstream, requests: usize) -> String {
        (0..requests).map(|_| tries(upstream).remove(0)).collect()
    }

    /// The upstream with its endpoints watched.
    fn watched(mut upstream: Upstream) -> (Upstream, Vec<Arc<Target>>) {
        let check = HealthCheck { active: ActiveCheck::default(), passive: None };
        let id = CheckId { check: Arc::new(check), host: None, tls: None, upstream: "a".into() };
        let mut watched = Watched::new(&id, None);
        let mut targets = Vec::new();
        for node in &mut upstream.nodes {
            let target = watched.watch(&node.endpoint, HeaderValue::from_static("a"), None);
            node.health = Some(target.clone());
            targets.push(target);
        }
        (upstream, targets)
    }

    fn fail(target: &Target) {
        (0..2).for_each(|_| target.checked(Sign::TcpFailure));
    }

    fn recover(target: &Target) {
        (0..2).for_each(|_| target.checked(Sign::Success));
    }

    #[test]
    fn endpoints_come_up_by_weight() {
        assert_eq!(firsts(&weighted(&[(5, 0), (1, 0), (1, 0)]), 14), "11213111121311");
        assert_eq!(firsts(&weighted(&[(2, 0), (0, 0), (1, 0)]), 6), "131131");
        assert_eq!(tries(&weighted(&[(2, 0), (0, 0), (1, 0)])), ["1", "3"], "not even when others fail");
        assert_eq!(tries(&weighted(&[(0, 0)])), [""; 0]);
        assert!(!weighted(&[(0, 0)]).is_usable());
    }

    #[test]
    fn lower_priorities_are_for_when_higher_ones_fail() {
        let upstream = weighted(&[(1, -1), (1, 10), (1, 10), (1, 0)]);
        assert_eq!(firsts(&upstream, 4), "2323");
        assert_eq!(tries(&upstream), ["2", "3", "4", "1"]);
        assert_eq!(tries(&upstream), ["3", "2", "4", "1"]);
        let (upstream, targets) = watched(upstream);
        // By priority: 2, 3, 4, 1.
        fail(&targets[0]);
        assert_eq!(tries(&upstream), ["3", "4", "1"]);
        fail(&targets[1]);
        assert_eq!(tries(&upstream), ["4", "1"]);
        recover(&targets[0]);
        assert_eq!(tries(&upstream), ["2", "4", "1"]);
    }

    #[test]
    fn healthy_endpoints_share_what_an_unhealthy_one_does_not_get() {
        for weights in [[(1, 0); 4], [(3, 0), (1, 0), (3, 0), (2, 0)]] {
            let (upstream, targets) = watched(weighted(&weights));
            fail(&targets[1]);
            let total: u32 = weights.iter().map(|(weight, _)| weight).sum();
            let others = total - weights[1].0;
            let requests = firsts(&upstream, (total * others) as usize);
            for (index, (weight, _)) in weights.iter().enumerate() {
                let expected = if index == 1 { 0 } else { total * weight };
                let port = (index + 1).to_string();
                assert_eq!(requests.matches(&port).count(), expected as usize, "{requests}");
            }
            recover(&targets[1]);
            assert!(firsts(&upstream, total as usize).contains('2'));
        }
    }

    #[test]
    fn where_none_is_healthy_all_are_used() {
        let upstream = |balanced: fn(Upstream) -> Upstream| watched(balanced(weighted(&[(1, 1), (1, 1), (1, 0)])));
        let balances: [fn(Upstream) -> Upstream; 4] = [
            |upstream| upstream,
            |upstream| upstream.hashing(HashKey::Address),
            Upstream::with_least_connections,
            Upstream::with_peak_ewma,
        ];
        for balance in balances {
            let (upstream, targets) = upstream(balance);
            for target in &targets {
                fail(target);
            }
            let mut all = tries(&upstream);
            assert!(all[0] != "3", "the higher priority first");
            all.sort();
            assert_eq!(all, ["1", "2", "3"]);
            recover(&targets[2]);
            assert_eq!(tries(&upstream), ["3"], "one is enough, of whatever priority");
        }
    }

    #[test]
    fn equal_keys_move_only_from_an_unhealthy_endpoint() {
        let (upstream, targets) = watched(weighted(&[(1, 0), (2, 0), (1, 0)]).hashing(HashKey::Address));
        let places = || (0..100).map(|key| upstream.first(|_| balance::hash(&[key]))).collect::<Vec<_>>();
        let before = places();
        fail(&targets[1]);
        let after = places();
        assert!(before.iter().zip(&after).all(|(before, after)| *after != 1 && (before == after || *before == 1)));
        recover(&targets[1]);
        assert_eq!(places(), before);
    }

    #[test]
    fn the_quicker_endpoint_gets_the_request() {
        let upstream = weighted(&[(1, 0), (1, 0)]).with_peak_ewma();
        let (now, nodes) = (Instant::now(), upstream.nodes());
        let answer = |node: &Node, millis| {
            let began = upstream.occupy(node, now);
            began.unwrap().answered(http::StatusCode::OK, now + Duration::from_millis(millis));
        };
        answer(&nodes[0], 50);
        answer(&nodes[1], 10);
        assert_eq!(firsts(&upstream, 4), "2222");
        // Nine requests at once, at five times the speed, are as good as one in turn.
        let busy: Vec<_> = (0..9).map(|_| upstream.occupy(&nodes[1], now)).collect();
        assert_eq!(firsts(&upstream, 4), "1111");
        drop(busy);
        upstream.occupy(&nodes[1], now).unwrap().failed(Sign::TcpFailure, now);
        assert_eq!(firsts(&upstream, 4), "1111", "to refuse is not to be quick");
    }

    #[test]
    fn requests_are_signs_where_the_upstream_asks_for_them() {
        let check = |passive| Arc::new(HealthCheck { active: ActiveCheck::default(), passive });
        let mut upstream = weighted(&[(1, 0), (1, 0)]);
        let now = Instant::now();
        for (passive, healthy) in [(None, true), (Some(Criteria::passive()), false)] {
            let id = CheckId { check: check(passive), host: None, tls: None, upstream: "a".into() };
            let mut watched = Watched::new(&id, None);
            let node = &mut upstream.nodes[0];
            let target = watched.watch(&node.endpoint, HeaderValue::from_static("a"), None);
            node.health = Some(target.clone());
            let told = |status: u16| {
                if let Some(mut request) = upstream.occupy(&upstream.nodes[0], now) {
                    request.answered(http::StatusCode::from_u16(status).unwrap(), now);
                    request.failed(Sign::TcpFailure, now); // said after the answer: no news
                }
            };
            (0..4).for_each(|_| told(500));
            told(200);
            (0..4).for_each(|_| told(500));
            told(404);
            assert!(target.is_healthy());
            told(500);
            assert_eq!(target.is_healthy(), healthy);
        }
    }
}
