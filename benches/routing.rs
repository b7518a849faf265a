//! What finding a route costs, by the number of routes.
//!
//! `cargo bench --bench routing` prints nanoseconds per look-up and how they compare with those among ten routes. It judges
//! no figure.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use portcullis::model::{HostName, HostPattern, Methods, PathPattern, Timeouts};
use portcullis::snapshot::{Backends, FormBody, HostRoutes, RequestFacts, Route, Snapshot};

/// The numbers of routes that are compared.
const SIZES: [usize; 4] = [10, 1_000, 20_000, 100_000];

/// How long each is measured, after as long unmeasured.
const TIME: Duration = Duration::from_millis(500);

/// A request's host and path.
type Target = (HostName, String);

fn route(index: usize) -> Arc<Route> {
    Arc::new(Route {
        backends: Backends::default(),
        conditions: Arc::default(),
        methods: Methods::ANY,
        name: format!("default/route/{index}").into(),
        stats: Arc::default(),
        strip: None,
        timeouts: Timeouts::default(),
        websocket: false,
    })
}

fn prefix(text: &str) -> PathPattern {
    PathPattern::Prefix(text.into())
}

fn host(name: &str) -> Option<HostName> {
    HostName::parse(name)
}

/// All routes on one host, and requests for each of them.
fn one_host(routes: usize) -> (Snapshot, Vec<Target>) {
    let paths: Vec<_> = (0..routes).map(|index| format!("/service/{index}/")).collect();
    let table = HostRoutes::new(paths.iter().enumerate().map(|(index, path)| (prefix(path), route(index))));
    let mut snapshot = Snapshot::default();
    snapshot.routes.insert(&HostPattern::Exact("shop.example.com".into()), table);
    let target = |path: &String| Some((host("shop.example.com")?, format!("{path}items/7")));
    (snapshot, paths.iter().filter_map(target).collect())
}

/// Each route on a host of its own, and requests for each of them.
fn many_hosts(routes: usize) -> (Snapshot, Vec<Target>) {
    let mut snapshot = Snapshot::default();
    let mut targets = Vec::new();
    for index in 0..routes {
        let name = format!("shop-{index}.example.com");
        let table = HostRoutes::new([(prefix("/"), route(index))]);
        snapshot.routes.insert(&HostPattern::Exact(name.as_str().into()), table);
        targets.extend(host(&name).map(|host| (host, "/service/items/7".to_owned())));
    }
    (snapshot, targets)
}

/// Nanoseconds per look-up. The targets take turns in an order that a processor does not foresee.
fn measure(snapshot: &Snapshot, targets: &[Target]) -> f64 {
    const STRIDE: usize = 7_919; // a prime that divides no size
    let headers = HeaderMap::new();
    let mut at = 0;
    let mut run = |time: Duration| {
        let start = Instant::now();
        let mut count = 0_u32;
        while start.elapsed() < time {
            for _ in 0..1_000 {
                at = (at + STRIDE) % targets.len();
                let (host, path) = &targets[at];
                let facts = RequestFacts {
                    body: &FormBody::None,
                    encrypted: true,
                    headers: &headers,
                    host,
                    method: "GET",
                    path,
                    peer: [127, 0, 0, 1].into(),
                    port: b"443",
                    query: None,
                    target: path,
                };
                assert!(black_box(snapshot.route(&facts)).is_some(), "{host}{path} has a route");
            }
            count += 1_000;
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
    };
    run(TIME);
    run(TIME)
}

fn main() {
    for (name, scene) in
        [("routes on one host", one_host as fn(usize) -> (Snapshot, Vec<Target>)), ("hosts with a route", many_hosts)]
    {
        let mut first = None;
        for size in SIZES {
            let (snapshot, targets) = scene(size);
            let nanoseconds = measure(&snapshot, &targets);
            let ratio = nanoseconds / *first.get_or_insert(nanoseconds);
            println!("{size:>7} {name}: {nanoseconds:7.1} ns per look-up, {ratio:.2} times that of {}", SIZES[0]);
        }
    }
}
