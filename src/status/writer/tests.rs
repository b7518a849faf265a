use std::collections::VecDeque;
use std::sync::Mutex;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

use super::*;
use crate::compile::ObjectReport;
use crate::model::{Effect, Invalid, Meta, Problem};

/// An API server that knows some statuses and records what is written.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The codes of the next answers to a write; 200 where there are none.
    answers: VecDeque<u16>,
    events: Vec<Value>,
    routes: Vec<Value>,
    writes: Vec<(String, Value)>,
}

impl Server {
    fn client(&self) -> Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = self.clone();
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let (code, json) = server.answer(&head.method, head.uri.path(), &body);
                let body = Body::from(serde_json::to_vec(&json).unwrap());
                answer.send_response(Response::builder().status(code).body(body).unwrap());
            }
        });
        Client::new(service, "ns")
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        let mut state = self.0.lock().unwrap();
        let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
        if path.contains("/events") {
            state.events.push(body.clone());
            return (200, body);
        }
        if *method == Method::GET {
            let items = if path.ends_with("/apisixroutes") { state.routes.clone() } else { Vec::new() };
            return (200, json!({"metadata": {}, "items": items}));
        }
        let code = state.answers.pop_front().unwrap_or(200);
        if code != 200 {
            return (code, json!({"status": "Failure", "message": "x", "reason": "x", "code": code}));
        }
        state.writes.push((path.to_owned(), body["status"]["conditions"].clone()));
        body["metadata"]["uid"] = "1-2-3".into();
        (200, body)
    }

    fn writes(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.0.lock().unwrap().writes)
    }
}

struct Bench {
    leader: watch::Sender<bool>,
    reports: watch::Sender<Arc<Report>>,
    server: Server,
}

fn bench() -> Bench {
    let server = Server::default();
    let (reports, report) = watch::channel(Arc::new(Report::default()));
    let (leader, leads) = watch::channel(true);
    tokio::spawn(run(server.client(), Options::default(), report, leads));
    Bench { leader, reports, server }
}

impl Bench {
    async fn report(&self, objects: &[(&str, i64, Option<&str>)]) {
        let object = |(name, generation, problem): &(&str, i64, Option<&str>)| {
            let refusal = |message| Problem { effect: Effect::Refused, invalid: Invalid::spec("spec", message) };
            let report = ObjectReport {
                meta: Meta { created: 0, generation: *generation },
                problems: problem.iter().copied().map(refusal).collect(),
                source: SourceId::Kubernetes,
            };
            (ObjectRef { kind: Kind::ApisixRoute, key: ObjectKey::new("ns", *name) }, report)
        };
        let report = Report { objects: objects.iter().map(object).collect() };
        self.reports.send_replace(Arc::new(report));
        sleep(Duration::from_secs(5)).await;
    }

    fn answer(&self, codes: &[u16]) {
        self.server.0.lock().unwrap().answers.extend(codes);
    }
}

#[tokio::test(start_paused = true)]
async fn only_differences_are_written() {
    let bench = bench();
    bench.report(&[("a", 1, None), ("b", 1, None)]).await;
    let writes = bench.server.writes();
    assert_eq!(writes.len(), 2);
    assert_eq!(writes[0].0, "/apis/apisix.apache.org/v2/namespaces/ns/apisixroutes/a/status");
    assert_eq!(writes[0].1[0]["observedGeneration"], 1);
    bench.report(&[("a", 1, None), ("b", 2, None)]).await;
    let writes = bench.server.writes();
    assert_eq!(writes.len(), 1);
    assert!(writes[0].0.contains("/b/"));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_repeats_nothing() {
    let bench = bench();
    bench.leader.send_replace(false);
    sleep(Duration::from_secs(1)).await;
    bench.report(&[("a", 1, None), ("b", 1, None)]).await;
    assert!(bench.server.writes().is_empty(), "not the leader");
    let report = bench.reports.borrow().clone();
    let conditions = conditions(report.objects.values().next().unwrap(), &[], &Time(Timestamp::UNIX_EPOCH));
    let metadata = json!({"name": "a", "namespace": "ns"});
    let route = json!({"metadata": metadata, "spec": {}, "status": {"conditions": conditions}});
    bench.server.0.lock().unwrap().routes.push(route);
    bench.leader.send_replace(true);
    sleep(Duration::from_secs(1)).await;
    let writes = bench.server.writes();
    assert_eq!(writes.len(), 1);
    assert!(writes[0].0.contains("/b/"));
    bench.report(&[("a", 2, None)]).await;
    assert_eq!(bench.server.writes()[0].1[0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_tried_again_and_a_missing_object_is_not() {
    let bench = bench();
    bench.answer(&[409, 500]);
    bench.report(&[("a", 1, None)]).await;
    assert_eq!(bench.server.writes().len(), 1);
    bench.answer(&[404]);
    bench.report(&[("a", 2, None)]).await;
    assert!(bench.server.writes().is_empty());
    bench.report(&[("a", 3, None)]).await;
    assert_eq!(bench.server.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_object_that_fails_does_not_hold_up_the_others() {
    let bench = bench();
    bench.answer(&[500]);
    bench.report(&[("a", 1, None), ("b", 1, None)]).await;
    let order: Vec<_> = bench.server.writes().iter().map(|(path, _)| path.contains("/a/")).collect();
    assert_eq!(order, [false, true]);
}

#[tokio::test(start_paused = true)]
async fn the_newest_report_wins() {
    let bench = bench();
    bench.answer(&[500; 100]);
    bench.report(&[("a", 1, None)]).await;
    bench.report(&[("a", 2, None)]).await;
    bench.server.0.lock().unwrap().answers.clear();
    sleep(Duration::from_secs(60)).await;
    let writes = bench.server.writes();
    assert_eq!((writes.len(), &writes[0].1[0]["observedGeneration"]), (1, &json!(2)));
}

#[tokio::test(start_paused = true)]
async fn a_refused_object_gets_one_event() {
    let bench = bench();
    bench.report(&[("a", 1, Some("no such thing"))]).await;
    bench.report(&[("a", 2, Some("no such thing"))]).await;
    let events = std::mem::take(&mut bench.server.0.lock().unwrap().events);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["reason"], "InvalidSpec");
    assert_eq!(events[0]["regarding"]["uid"], "1-2-3");
}

#[tokio::test(start_paused = true)]
async fn writes_are_paced_after_a_burst() {
    let mut pace = Pace::default();
    let begin = Instant::now();
    for _ in 0..BURST {
        pace.wait().await;
    }
    assert!(begin.elapsed() < INTERVAL * 2);
    for _ in 0..100 {
        pace.wait().await;
    }
    assert!(begin.elapsed() >= INTERVAL * 90);
}
