use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::*;

/// An API server with one lease.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    away: bool,
    lease: Option<Value>,
    version: u32,
    writes: u32,
}

impl Server {
    /// A client of this server.
    fn client(&self) -> Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = self.clone();
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let server = server.clone();
                tokio::spawn(async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                    let (status, json) = server.answer(&head.method, body);
                    if status == 0 {
                        std::future::pending::<()>().await;
                    }
                    let status = StatusCode::from_u16(status).unwrap();
                    let body = Body::from(serde_json::to_vec(&json).unwrap());
                    answer.send_response(Response::builder().status(status).body(body).unwrap());
                });
            }
        });
        Client::new(service, "ns")
    }

    fn answer(&self, method: &Method, body: Value) -> (u16, Value) {
        let failed = |code: u16| {
            let reason = if code == 404 { "NotFound" } else { "Conflict" };
            (code, json!({"status": "Failure", "message": reason, "reason": reason, "code": code}))
        };
        let mut state = self.0.lock().unwrap();
        if state.away {
            return (0, Value::Null);
        }
        match (method, &state.lease) {
            (&Method::GET, Some(lease)) => return (200, lease.clone()),
            (&Method::GET, None) => return failed(404),
            (&Method::POST, Some(_)) => return failed(409),
            (&Method::PUT, Some(lease))
                if lease["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] =>
            {
                return failed(409);
            }
            _ => {}
        }
        state.writes += 1;
        (200, state.put(body))
    }

    fn holder(&self) -> String {
        let state = self.0.lock().unwrap();
        state.lease.as_ref().and_then(|lease| lease["spec"]["holderIdentity"].as_str()).unwrap_or_default().to_owned()
    }

    fn set_away(&self, away: bool) {
        self.0.lock().unwrap().away = away;
    }
}

impl State {
    fn put(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(lease.clone());
        lease
    }
}

struct Replica {
    leader: watch::Receiver<bool>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

fn replica(server: &Server, name: &str) -> Replica {
    let (sender, leader) = watch::channel(false);
    let (stop, stopped) = oneshot::channel::<()>();
    let options = Options { holder: name.into(), namespace: "ns".into() };
    let client = server.client();
    let task = tokio::spawn(async move {
        run(client, options, sender, async {
            let _ = stopped.await;
        })
        .await;
    });
    Replica { leader, stop, task }
}

impl Replica {
    fn leads(&self) -> bool {
        *self.leader.borrow()
    }
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn one_of_two_replicas_leads() {
    let server = Server::default();
    let a = replica(&server, "a");
    seconds(1).await;
    let b = replica(&server, "b");
    seconds(100).await;
    assert!(a.leads() && !b.leads());
    let writes = server.0.lock().unwrap().writes;
    assert!((18..25).contains(&writes), "renewed every five seconds: {writes}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stops_hands_over_at_once() {
    let server = Server::default();
    let a = replica(&server, "a");
    seconds(1).await;
    let b = replica(&server, "b");
    seconds(10).await;
    let _ = a.stop.send(());
    a.task.await.unwrap();
    assert_eq!(server.holder(), "");
    seconds(3).await;
    assert!(b.leads());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_vanishes_is_replaced_when_its_lease_runs_out() {
    let server = Server::default();
    let a = replica(&server, "a");
    seconds(1).await;
    let b = replica(&server, "b");
    seconds(10).await;
    a.task.abort();
    seconds(10).await;
    assert!(!b.leads());
    seconds(15).await;
    assert!(b.leads());
    let state = server.0.lock().unwrap();
    assert_eq!(state.lease.as_ref().unwrap()["spec"]["leaseTransitions"], 2);
}

#[tokio::test(start_paused = true)]
async fn without_the_api_server_nobody_leads_for_long() {
    let server = Server::default();
    let a = replica(&server, "a");
    seconds(3).await;
    assert!(a.leads());
    server.set_away(true);
    seconds(13).await;
    assert!(!a.leads());
    server.set_away(false);
    seconds(10).await;
    assert!(a.leads());
}

#[tokio::test(start_paused = true)]
async fn a_conflict_means_that_somebody_was_faster() {
    let server = Server::default();
    let a = replica(&server, "a");
    seconds(3).await;
    assert!(a.leads());
    {
        let mut state = server.0.lock().unwrap();
        let mut lease = state.lease.clone().unwrap();
        lease["spec"]["holderIdentity"] = "b".into();
        state.put(lease);
    }
    seconds(6).await;
    assert!(!a.leads() && server.holder() == "b");
}

#[tokio::test(start_paused = true)]
async fn two_that_begin_together_do_not_both_lead() {
    let server = Server::default();
    let replicas: Vec<_> = (0..5).map(|index| replica(&server, &index.to_string())).collect();
    for _ in 0..60 {
        seconds(1).await;
        assert!(replicas.iter().filter(|replica| replica.leads()).count() <= 1);
    }
    assert_eq!(replicas.iter().filter(|replica| replica.leads()).count(), 1);
}
