use kube::core::Status;

use super::*;
use crate::api::IngressClass;

type Item = Result<Event<IngressClass>, watcher::Error>;

fn class(name: &str, namespace: &str) -> IngressClass {
    let mut class = IngressClass::default();
    class.metadata.name = Some(name.into());
    class.metadata.namespace = Some(namespace.into());
    class
}

fn refused(code: u16) -> Item {
    let status = Status::failure(&format!("answer {code}"), "x").with_code(code);
    Err(watcher::Error::InitialListFailed(kube::Error::Api(status.boxed())))
}

/// The changes that come out when `steps` happen, each at a watch, one after the other.
async fn changes(watches: usize, steps: Vec<(usize, Item)>, readiness: &Readiness) -> Vec<String> {
    let (sender, mut receiver) = mpsc::channel(100);
    let mut inputs = Vec::new();
    let mut streams = Vec::new();
    for index in 0..watches {
        let (input, events) = mpsc::channel::<Item>(100);
        inputs.push(input);
        let events = stream::unfold(events, |mut events| async move { Some((events.recv().await?, events)) });
        streams.push((format!("watch {index}"), events.boxed()));
    }
    let steps = async {
        for (watch, item) in steps {
            inputs[watch].send(item).await.unwrap();
            while inputs[watch].capacity() < 100 {
                tokio::task::yield_now().await;
            }
        }
        drop(inputs);
    };
    tokio::join!(follow(streams, &sender, readiness), steps);
    drop(sender);
    let mut told = Vec::new();
    while let Some(change) = receiver.recv().await {
        told.push(match change {
            Change::Remove { key, .. } => format!("remove {key}"),
            Change::Replace { objects, .. } => {
                let keys: Vec<_> = objects.iter().map(|(key, _)| key.to_string()).collect();
                format!("replace [{}]", keys.join(" "))
            }
            Change::Lookup { .. } | Change::Together(_) => unreachable!("not sent by a watch"),
            Change::Upsert { key, .. } => format!("upsert {key}"),
        });
    }
    told
}

#[tokio::test]
async fn a_list_replaces_the_kind_when_it_is_complete() {
    let readiness = Readiness::default();
    let steps = vec![
        (0, Ok(Event::Init)),
        (0, Ok(Event::InitApply(class("a", "")))),
        (0, refused(500)),
        (0, Ok(Event::Init)),
        (0, Ok(Event::InitApply(class("b", "")))),
        (0, Ok(Event::InitDone)),
        (0, Ok(Event::Apply(class("c", "")))),
        (0, Ok(Event::Delete(class("b", "")))),
        (0, Ok(Event::Init)),
        (0, Ok(Event::InitDone)),
    ];
    let told = changes(1, steps, &readiness).await;
    assert_eq!(told, ["replace [b]", "upsert c", "remove b", "replace []"]);
    assert_eq!(readiness.to_text(true), "watch 0: ok\nready\n");
}

#[tokio::test]
async fn namespaces_make_one_list_and_then_fail_apart() {
    let steps = vec![
        (0, Ok(Event::Init)),
        (0, Ok(Event::InitApply(class("a", "x")))),
        (0, Ok(Event::InitDone)),
        (0, Ok(Event::Apply(class("b", "x")))),
        (0, Ok(Event::Delete(class("a", "x")))),
        (1, Ok(Event::Init)),
        (1, Ok(Event::InitApply(class("a", "y")))),
        (1, Ok(Event::InitDone)),
        (1, Ok(Event::Apply(class("c", "y")))),
        (1, Ok(Event::Init)),
        (1, Ok(Event::InitApply(class("d", "y")))),
        (1, Ok(Event::InitDone)),
    ];
    let told = changes(2, steps, &Readiness::default()).await;
    assert_eq!(told, ["replace [x/b y/a]", "upsert y/c", "remove y/a", "remove y/c", "upsert y/d"]);
}

#[tokio::test]
async fn a_kind_that_is_not_served_counts_as_listed() {
    let readiness = Readiness::default();
    let told = changes(1, vec![(0, refused(404))], &readiness).await;
    assert!(told.is_empty(), "one answer is not believed");
    let told = changes(1, vec![(0, refused(404)), (0, refused(404)), (0, refused(404))], &readiness).await;
    assert_eq!(told, ["replace []"]);
    assert!(readiness.to_text(false).contains("does not serve this kind"));
}

#[tokio::test]
async fn a_kind_that_vanishes_keeps_its_objects() {
    let listed = [Ok(Event::Init), Ok(Event::InitApply(class("a", ""))), Ok(Event::InitDone)];
    let steps = listed.into_iter().chain([refused(404), refused(404), refused(404)]).map(|item| (0, item));
    assert_eq!(changes(1, steps.collect(), &Readiness::default()).await, ["replace [a]"]);
}

#[tokio::test]
async fn a_refused_kind_is_never_complete_and_says_so() {
    let readiness = Readiness::default();
    assert!(changes(1, vec![(0, refused(403)), (0, refused(403))], &readiness).await.is_empty());
    assert_eq!(readiness.to_text(false), "watch 0: answer 403\nready\n");
}
