//! A control plane and a proxy in one process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use portcullis::compile::{Context, ObjectReport, Report, TlsContext, compile};
use portcullis::drain::{self, Drain};
use portcullis::health;
use portcullis::log::{Format, Log};
use portcullis::metrics::Metrics;
use portcullis::model::{Kind, ObjectKey, ObjectRef, SourceId};
use portcullis::proxy::{Proxy, Settings};
use portcullis::snapshot::{Current, Snapshot};
use portcullis::source::parse;
use portcullis::world::{Change, World};
use rcgen::ExtendedKeyUsagePurpose;
use rustls_pki_types::UnixTime;
use serde_json::Value;

use crate::lines::{ERRORS, Lines};
use crate::objects::{route_for_everything, secret};
use crate::pki::PKI;
use crate::upstream::{Recorder, hello};

/// A running proxy with the objects that it serves.
///
/// There are from the start: the Secret `server` with the hosts' certificate, the Secrets `clients` and `others` with an
/// authority each, and a route for every request of every host. So whatever is not refused reaches the upstream.
pub(crate) struct Stage {
    context: Context,
    current: Arc<Current>,
    _drain: Drain,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    metrics: Arc<Metrics>,
    state: Mutex<(World, Report)>,
    /// What was bound for streams.
    pub(crate) streams: Vec<SocketAddr>,
    pub(crate) upstream: Recorder,
}

/// What a stage has before the first object of a test.
fn scenery(upstream: SocketAddr) -> Vec<Value> {
    let server = PKI.servers.issue(&["*.test"], ExtendedKeyUsagePurpose::ServerAuth);
    let key = server.key.serialize_pem();
    let mut objects = route_for_everything(upstream).to_vec();
    objects.push(secret("server", &[("cert", &server.pem), ("key", &key)]));
    objects.push(secret("clients", &[("cert", &PKI.clients.certificate.pem())]));
    objects.push(secret("others", &[("cert", &PKI.others.certificate.pem())]));
    objects
}

impl Stage {
    pub(crate) async fn new(objects: impl IntoIterator<Item = Value>) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::with(Settings { http: vec![loopback], https: vec![loopback], ..Settings::default() }, objects).await
    }

    pub(crate) async fn with(settings: Settings, objects: impl IntoIterator<Item = Value>) -> Self {
        std::sync::LazyLock::force(&ERRORS);
        let upstream = hello().await;
        let current = Arc::new(Current::from_pointee(Snapshot::default()));
        let metrics = Arc::new(Metrics::new(current.clone()));
        let log = Log::new(Format::Text, Lines::default());
        let proxy = Proxy::bind(settings, current.clone(), log, metrics.clone()).unwrap();
        let addresses = proxy.local_addrs();
        let (drain, draining) = drain::channel();
        let context = Context {
            class: "apisix".into(),
            controller: "apisix.apache.org/apisix-ingress-controller".into(),
            stream_addresses: [].into(),
            stream_ports: Some(proxy.stream_ports()),
            tls: TlsContext::new().unwrap(),
        };
        let state = Mutex::new((World::default(), Report::default()));
        let (http, https, streams) = (addresses[0], addresses[1], addresses[2..].to_vec());
        let stage = Self { context, current, _drain: drain, http, https, metrics, state, streams, upstream };
        stage.apply(scenery(stage.upstream.address).into_iter().chain(objects));
        tokio::spawn(health::run(stage.current.clone()));
        tokio::spawn(proxy.run(draining));
        stage
    }

    /// As `kubectl apply`, of all objects at once.
    pub(crate) fn apply(&self, objects: impl IntoIterator<Item = Value>) {
        self.change(objects.into_iter().map(|json| {
            let text = |field: &str| json[field].as_str().unwrap().to_owned();
            let kind = parse::kind(&text("apiVersion"), &text("kind")).expect("a kind that is served");
            let (key, object) = parse::from_json(kind, json).unwrap();
            Change::Upsert { source: SourceId::Kubernetes, key, object }
        }));
    }

    /// As `kubectl delete`.
    pub(crate) fn delete(&self, kind: Kind, name: &str) {
        let key = ObjectKey::new("default", name);
        self.change([Change::Remove { source: SourceId::Kubernetes, kind, key }]);
    }

    /// Takes in what a source tells.
    pub(crate) fn change(&self, changes: impl IntoIterator<Item = Change>) {
        let (world, report) = &mut *self.state.lock().unwrap();
        world.apply(Change::Together(changes.into_iter().collect()));
        let now = UnixTime::now().as_secs().cast_signed();
        let compiled = compile(world, &self.context, &self.current.load(), now);
        *report = compiled.report;
        self.current.store(Arc::new(compiled.snapshot));
    }

    /// Forgets what was served before, as a process that starts does.
    pub(crate) fn restart(&self) {
        self.current.store(Arc::default());
        self.change([]);
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// What is wrong with an ApisixTls, each with its field.
    pub(crate) fn problems(&self, tls: &str) -> Vec<String> {
        self.problems_of(Kind::ApisixTls, tls)
    }

    /// What is wrong with an object, each with its field. Nothing is said about an object that is not ours.
    pub(crate) fn problems_of(&self, kind: Kind, name: &str) -> Vec<String> {
        let report = self.report(kind, name).into_iter();
        report.flat_map(|report| report.problems).map(|problem| problem.invalid.to_string()).collect()
    }

    /// The conditions of an ApisixTls.
    pub(crate) fn conditions(&self, tls: &str) -> [(&'static str, bool); 3] {
        let report = self.report(Kind::ApisixTls, tls).unwrap();
        report.conditions().map(|condition| (condition.kind, condition.status))
    }

    /// What is wrong with anything, with the object in front.
    pub(crate) fn all_problems(&self) -> Vec<String> {
        let (_, report) = &*self.state.lock().unwrap();
        let problems = report.objects.iter().flat_map(|(object, report)| {
            report.problems.iter().map(move |problem| format!("{object}: {}", problem.invalid))
        });
        problems.collect()
    }

    fn report(&self, kind: Kind, name: &str) -> Option<ObjectReport> {
        let object = ObjectRef { kind, key: ObjectKey::new("default", name) };
        self.state.lock().unwrap().1.objects.get(&object).cloned()
    }

    /// How many requests the upstream saw.
    pub(crate) fn passed(&self) -> usize {
        self.upstream.seen().len()
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }
}
