use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::stream;
use kube::core::{ObjectMeta, Status};

use super::*;
use crate::model::{Data, Meta, Reason};
use crate::world::{Object, Observed};

type Metadata = PartialObjectMeta<crate::api::Secret>;
type Item = Result<Event<Metadata>, watcher::Error>;

/// An API server with Secrets, which counts what is fetched.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answers: BTreeMap<ObjectKey, Answer>,
    fetched: Vec<String>,
}

#[derive(Clone)]
enum Answer {
    Forbidden,
    Refused,
    Unanswered,
    Version(u32),
}

impl Server {
    fn set(&self, name: &str, answer: Answer) {
        self.0.lock().unwrap().answers.insert(id(name), answer);
    }

    fn remove(&self, name: &str) {
        self.0.lock().unwrap().answers.remove(&id(name));
    }

    fn get(&self, key: &ObjectKey) -> Fetched {
        let mut state = self.0.lock().unwrap();
        state.fetched.push(key.name.to_string());
        match state.answers.get(key) {
            None => Fetched::Missing,
            Some(Answer::Forbidden) => Fetched::Forbidden("no".into()),
            Some(Answer::Refused) => Fetched::Refused("broken".into()),
            Some(Answer::Unanswered) => Fetched::Unanswered("away".into()),
            Some(Answer::Version(version)) => {
                let value = Data::new([("cert", version.to_string().into())]);
                Fetched::Found(
                    version.to_string(),
                    Object::Secret(Observed { meta: Meta::default(), value: Ok(value) }),
                )
            }
        }
    }

    fn fetched(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().fetched)
    }
}

fn id(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn secret(name: &str) -> ObjectRef {
    ObjectRef { kind: Kind::Secret, key: id(name) }
}

fn metadata(name: &str, version: u32) -> Metadata {
    let metadata = ObjectMeta {
        name: Some(name.into()),
        namespace: Some("ns".into()),
        resource_version: Some(version.to_string()),
        ..ObjectMeta::default()
    };
    Metadata { metadata, ..Metadata::default() }
}

/// A running source of Secrets, with the ends to push at and look at.
struct Bench {
    changes: mpsc::Receiver<Change>,
    events: mpsc::UnboundedSender<Item>,
    referenced: latest::Sender<Option<BTreeSet<ObjectRef>>>,
    server: Server,
    _task: tokio::task::JoinHandle<()>,
}

fn bench() -> Bench {
    let (sender, changes) = mpsc::channel(100);
    let (events, receiver) = mpsc::unbounded_channel();
    let (referenced, wanted) = latest::channel(None);
    let server = Server::default();
    let api = server.clone();
    let task = tokio::spawn(async move {
        let events = stream::unfold(receiver, |mut events| async move { Some((events.recv().await?, events)) });
        let watches = vec![(None, "Secret".to_owned(), events.boxed())];
        let get = |key: ObjectKey| std::future::ready(api.get(&key));
        deliver(Kind::Secret, watches, get, &sender, wanted, &Readiness::default()).await;
    });
    Bench { changes, events, referenced, server, _task: task }
}

impl Bench {
    fn want(&self, names: &[&str]) {
        self.referenced.send_replace(Some(names.iter().map(|name| secret(name)).collect()));
    }

    /// The changes that come within `seconds`, as text.
    async fn told(&mut self, seconds: u64) -> Vec<String> {
        sleep(Duration::from_secs(seconds)).await;
        let value = |object: &Object| match object {
            Object::Secret(Observed { value: Ok(secret), .. }) => {
                String::from_utf8(secret.get("cert").unwrap().to_vec()).unwrap()
            }
            Object::Secret(Observed { value: Err(invalid), .. }) => invalid.reason.as_str().to_owned(),
            other => panic!("{other:?}"),
        };
        let mut told = Vec::new();
        while let Ok(change) = self.changes.try_recv() {
            told.push(match change {
                Change::Remove { key, .. } => format!("remove {}", key.name),
                Change::Replace { objects, .. } => {
                    let list: Vec<_> = objects.iter().map(|(key, o)| format!("{}={}", key.name, value(o))).collect();
                    format!("replace [{}]", list.join(" "))
                }
                Change::Lookup { .. } | Change::Together(_) => unreachable!("not sent by this source"),
                Change::Upsert { key, object, .. } => format!("{}={}", key.name, value(&object)),
            });
        }
        told
    }
}

#[tokio::test(start_paused = true)]
async fn only_referenced_secrets_are_fetched_and_the_first_come_as_one_list() {
    let mut bench = bench();
    for name in ["a", "b", "other"] {
        bench.server.set(name, Answer::Version(1));
        bench.events.send(Ok(Event::Apply(metadata(name, 1)))).unwrap();
    }
    assert!(bench.told(100).await.is_empty(), "nobody said yet what is wanted");
    bench.want(&["a", "b", "missing"]);
    assert_eq!(bench.told(1).await, ["replace [a=1 b=1]"]);
    assert_eq!(bench.server.fetched(), ["a", "b", "missing"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_wanted_is_a_complete_list() {
    let mut bench = bench();
    bench.want(&[]);
    assert_eq!(bench.told(1).await, ["replace []"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_version_is_fetched_and_the_same_is_not() {
    let mut bench = bench();
    bench.server.set("a", Answer::Version(1));
    bench.want(&["a"]);
    bench.told(1).await;
    bench.events.send(Ok(Event::Apply(metadata("a", 1)))).unwrap();
    assert!(bench.told(1).await.is_empty());
    bench.server.set("a", Answer::Version(2));
    bench.events.send(Ok(Event::Apply(metadata("a", 2)))).unwrap();
    assert_eq!(bench.told(1).await, ["a=2"]);
    bench.server.remove("a");
    bench.events.send(Ok(Event::Delete(metadata("a", 3)))).unwrap();
    assert_eq!(bench.told(1).await, ["remove a"]);
    bench.server.set("a", Answer::Version(4));
    bench.events.send(Ok(Event::Apply(metadata("a", 4)))).unwrap();
    assert_eq!(bench.told(1).await, ["a=4"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_finds_what_was_deleted_unseen() {
    let mut bench = bench();
    bench.server.set("a", Answer::Version(1));
    bench.want(&["a"]);
    bench.told(1).await;
    bench.server.remove("a");
    for event in [Event::Init, Event::InitDone] {
        bench.events.send(Ok(event)).unwrap();
    }
    assert_eq!(bench.told(1).await, ["remove a"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_later_comes_and_what_is_not_wanted_goes() {
    let mut bench = bench();
    bench.server.set("a", Answer::Version(1));
    bench.server.set("b", Answer::Version(1));
    bench.want(&["a"]);
    bench.told(1).await;
    bench.want(&["b"]);
    assert_eq!(bench.told(1).await, ["remove a", "b=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_secret_is_told_and_asked_for_again() {
    let mut bench = bench();
    bench.server.set("a", Answer::Forbidden);
    bench.want(&["a"]);
    assert_eq!(bench.told(1).await, [format!("replace [a={}]", Reason::Forbidden.as_str())]);
    bench.server.set("a", Answer::Version(1));
    assert_eq!(bench.told(60).await, ["a=1"]);
}

#[tokio::test(start_paused = true)]
async fn one_broken_secret_does_not_hold_up_the_others() {
    let mut bench = bench();
    bench.server.set("a", Answer::Refused);
    bench.server.set("b", Answer::Version(1));
    bench.want(&["a", "b"]);
    assert_eq!(bench.told(60).await, ["replace [a=RefNotFound b=1]"]);
    bench.server.set("a", Answer::Version(1));
    assert_eq!(bench.told(60).await, ["a=1"]);
    bench.server.set("a", Answer::Refused);
    bench.events.send(Ok(Event::Apply(metadata("a", 2)))).unwrap();
    assert!(bench.told(60).await.is_empty(), "the last value stays");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_waited_for() {
    let mut bench = bench();
    bench.server.set("a", Answer::Unanswered);
    bench.want(&["a"]);
    assert!(bench.told(600).await.is_empty());
    bench.server.set("a", Answer::Version(1));
    assert_eq!(bench.told(60).await, ["replace [a=1]"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_secrets_are_polled() {
    let mut bench = bench();
    bench.server.set("a", Answer::Version(1));
    bench.want(&["a"]);
    bench.told(1).await;
    let status = Status::failure("forbidden", "x").with_code(403);
    bench.events.send(Err(watcher::Error::InitialListFailed(kube::Error::Api(status.boxed())))).unwrap();
    bench.server.set("a", Answer::Version(2));
    assert_eq!(bench.told(70).await, ["a=2"]);
    for event in [Event::Init, Event::InitDone] {
        bench.events.send(Ok(event)).unwrap();
    }
    bench.server.fetched();
    bench.told(10).await;
    bench.server.fetched();
    bench.told(600).await;
    assert!(bench.server.fetched().is_empty(), "a working watch needs no polls");
}

#[tokio::test(start_paused = true)]
async fn objects_of_another_kind_are_not_fetched() {
    let mut bench = bench();
    bench.server.set("a", Answer::Version(1));
    let other = ObjectRef { kind: Kind::ConfigMap, key: id("b") };
    bench.referenced.send_replace(Some([secret("a"), other].into()));
    assert_eq!(bench.told(1).await, ["replace [a=1]"]);
    assert_eq!(bench.server.fetched(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn many_secrets_are_fetched_a_few_at_a_time() {
    let mut wanted = Wanted::new(Kind::Secret, vec![None]);
    wanted.want(&(0..100).map(|index| secret(&index.to_string())).collect());
    let started: Vec<_> = std::iter::from_fn(|| wanted.next()).collect();
    assert_eq!(started.len(), 16);
    wanted.fetched(&started[0].0, started[0].1, Fetched::Missing);
    assert!(wanted.next().is_some() && wanted.next().is_none());
}
