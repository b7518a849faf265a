use std::net::IpAddr;

use super::*;
use crate::compile::TlsContext;
use crate::model::{
    BackendRef, Data, Granularity, HostPattern, IngressClass, Kind, Meta, Methods, ObjectKey, PathPattern, PortRef,
    Protocol, Protocols, Route, Rule, Service, ServiceAddress, TlsHost,
};
use crate::world::{Object, Observed};

struct Bench {
    changes: mpsc::Sender<Change>,
    current: Arc<Current>,
    /// Kept, because a closed channel means that nobody looks names up.
    names: watch::Receiver<BTreeSet<Arc<str>>>,
    published: watch::Receiver<bool>,
    /// Kept, because a closed channel means that nobody fetches.
    referenced: Option<watch::Receiver<Option<BTreeSet<ObjectRef>>>>,
    reports: watch::Receiver<Arc<Report>>,
}

/// 2027, in seconds since the epoch.
const NOW: i64 = 1_800_000_000;

const KUBE: SourceId = SourceId::Kubernetes;

impl Bench {
    fn start(world: World) -> Self {
        let context = Context {
            class: "apisix".into(),
            controller: "ours".into(),
            stream_addresses: BTreeSet::new(),
            stream_ports: None,
            tls: TlsContext::new().unwrap(),
        };
        let (changes, receiver) = mpsc::channel(64);
        let current = Arc::new(Current::default());
        let (published_sender, published) = watch::channel(false);
        let (names_sender, names) = watch::channel(BTreeSet::new());
        let (referenced_sender, referenced) = watch::channel(None);
        let (report_sender, reports) = watch::channel(Arc::new(Report::default()));
        let outputs = Outputs {
            current: current.clone(),
            names: names_sender,
            published: published_sender,
            referenced: referenced_sender,
            reports: report_sender,
        };
        let started = Instant::now();
        let clock = move || NOW + started.elapsed().as_secs().cast_signed();
        tokio::spawn(run(world, context, receiver, outputs, clock));
        Self { changes, current, names, published, referenced: Some(referenced), reports }
    }

    async fn send(&self, change: Change) {
        self.changes.send(change).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await; // paused time: everything that can happen has happened
    }

    fn generation(&self) -> u64 {
        self.current.load().generation
    }

    fn problems(&self) -> usize {
        self.reports.borrow().objects.values().map(|object| object.problems.len()).sum()
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn tls(secret: &str) -> Change {
    let value = TlsHost {
        certificates: Ok(vec![key(secret)]),
        class: None,
        client_auth: Ok(None),
        hosts: vec![HostPattern::parse("a.example").unwrap()],
        protocols: Ok(Protocols::default()),
        unreadable_hosts: vec![],
    };
    Change::Upsert {
        source: KUBE,
        key: key("t"),
        object: Object::ApisixTls(Observed { meta: Meta::default(), value: Ok(value) }),
    }
}

fn secret(name: &str) -> Change {
    secret_until(name, 4000, 1)
}

/// A Secret with a certificate that ends on the first of the month.
fn secret_until(name: &str, year: i32, month: u8) -> Change {
    let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, month, 1);
    let key_pair = rcgen::KeyPair::generate().unwrap();
    let entries = [("cert", params.self_signed(&key_pair).unwrap().pem()), ("key", key_pair.serialize_pem())];
    let value = Ok(Data::new(entries.map(|(key, pem)| (key, pem.into_bytes().into()))));
    Change::Upsert { source: KUBE, key: key(name), object: Object::Secret(Observed { meta: Meta::default(), value }) }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_before_every_kind_was_listed() {
    let bench = Bench::start(World::awaiting(&[KUBE]));
    for kind in Kind::ALL {
        assert!(!*bench.published.borrow());
        bench.send(Change::Replace { source: KUBE, kind, objects: vec![] }).await;
    }
    assert!(*bench.published.borrow());
    assert_eq!(bench.generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_waits_for_the_secret_that_it_names() {
    let bench = Bench::start(World::default());
    bench.send(tls("server")).await;
    assert_eq!(bench.generation(), 0, "the Secret is being fetched");
    assert_eq!(
        *bench.referenced.as_ref().unwrap().borrow(),
        Some([ObjectRef { kind: Kind::Secret, key: key("server") }].into())
    );
    bench.send(secret("server")).await;
    assert_eq!((bench.generation(), bench.problems()), (1, 0), "never published without its Secret");
    bench.send(tls("gone")).await;
    assert_eq!(bench.generation(), 1);
    bench.send(Change::Remove { source: KUBE, kind: Kind::Secret, key: key("gone") }).await;
    assert_eq!((bench.generation(), bench.problems()), (2, 1), "that there is none is an answer too");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_does_not_come_holds_nothing_up_for_long() {
    let bench = Bench::start(World::default());
    bench.send(tls("server")).await;
    tokio::time::sleep(FETCH).await;
    assert_eq!((bench.generation(), bench.problems()), (1, 1));
    let class =
        Object::IngressClass(Observed { meta: Meta::default(), value: Ok(IngressClass { controller: "x".into() }) });
    bench.send(Change::Upsert { source: KUBE, key: key("c"), object: class }).await;
    assert_eq!(bench.generation(), 2, "and is not waited for again");
}

#[tokio::test(start_paused = true)]
async fn without_a_cluster_nothing_is_fetched_and_nothing_waits() {
    let mut bench = Bench::start(World::default());
    bench.referenced = None;
    bench.send(tls("server")).await;
    assert_eq!(bench.generation(), 1);
}

fn external(name: &str) -> Change {
    let rule = Rule {
        backends: vec![BackendRef {
            granularity: Granularity::Endpoint,
            port: PortRef::Number(80),
            protocol: Protocol::Tcp,
            service: "x".into(),
            weight: 1,
        }],
        conditions: Arc::default(),
        hosts: vec![HostPattern::Any],
        methods: Methods::ANY,
        name: "rule".into(),
        paths: vec![PathPattern::parse("/*").unwrap()],
        priority: 0,
        strip: None,
        timeouts: None,
        upstreams: vec![],
        websocket: false,
    };
    let route = Route { class: None, rules: vec![rule], streams: vec![] };
    let service = Service { address: ServiceAddress::External(name.into()), ports: vec![] };
    let upsert = |name: &str, object| Change::Upsert { source: KUBE, key: key(name), object };
    Change::Together(vec![
        upsert("r", Object::ApisixRoute(Observed { meta: Meta::default(), value: Ok(route) })),
        upsert("x", Object::Service(Observed { meta: Meta::default(), value: Ok(service) })),
    ])
}

fn answer(name: &str, answer: Result<IpAddr, &str>) -> Change {
    let answer = answer.map(|address| [address].into()).map_err(str::to_owned);
    Change::Lookup { name: name.into(), answer }
}

#[tokio::test(start_paused = true)]
async fn a_change_waits_for_the_addresses_of_the_names_that_it_uses() {
    let bench = Bench::start(World::default());
    bench.send(external("a.example")).await;
    assert_eq!(bench.generation(), 0, "it is being looked up");
    assert_eq!(*bench.names.borrow(), ["a.example".into()].into());
    bench.send(answer("a.example", Ok([10, 0, 0, 1].into()))).await;
    assert_eq!((bench.generation(), bench.problems()), (1, 0));
    assert!(bench.current.load().dump().routes[0].ends_with("[10.0.0.1:80]"));
    bench.send(external("b.example")).await;
    assert_eq!(bench.generation(), 1);
    bench.send(answer("b.example", Err("does not exist"))).await;
    assert_eq!((bench.generation(), bench.problems()), (2, 1), "that there is none is an answer too");
    bench.send(external("a.example")).await;
    assert_eq!(bench.generation(), 2, "what is not used any more is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_is_silent_holds_nothing_up_for_long() {
    let bench = Bench::start(World::default());
    bench.send(external("a.example")).await;
    tokio::time::sleep(RESOLVE).await;
    assert_eq!((bench.generation(), bench.problems()), (1, 1));
    bench.send(secret("other")).await;
    assert_eq!(bench.generation(), 2, "and is not waited for again");
    bench.send(answer("a.example", Ok([10, 0, 0, 1].into()))).await;
    assert_eq!((bench.generation(), bench.problems()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_snapshot() {
    let bench = Bench::start(World::default());
    for _ in 0..20 {
        bench.changes.send(secret("a")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(bench.generation() <= 2, "{}", bench.generation());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_reported_when_its_time_has_come() {
    let bench = Bench::start(World::default());
    bench.send(secret_until("server", 2027, 6)).await;
    bench.send(tls("server")).await;
    let generation = bench.generation();
    let day = Duration::from_secs(86_400);
    tokio::time::sleep(day * 90).await; // NOW is the fifteenth of January
    assert_eq!((bench.problems(), bench.generation()), (0, generation), "nothing is made again for nothing");
    tokio::time::sleep(day * 30).await;
    assert_eq!(bench.problems(), 1, "it expires within 30 days");
    tokio::time::sleep(day * 30).await;
    let text = bench.reports.borrow().objects.values().next().unwrap().problems[0].invalid.to_string();
    assert!(text.contains("has expired at 2027-06-01T00:00:00Z"), "{text}");
}
