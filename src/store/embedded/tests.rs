use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use tokio::time::timeout;

use super::*;
use crate::store::{Event, Guard, Memory};

mod drive;

pub(super) use self::drive::Drive;
use self::drive::Random;

const PATIENCE: Duration = Duration::from_secs(60);

fn put(key: &str, value: &str) -> Operation {
    Operation::Put { key: key.into(), ttl: None, value: value.into() }
}

fn transaction(operations: Vec<Operation>) -> Transaction {
    Transaction { guards: Vec::new(), operations }
}

/// The nth transaction of a writer: several keys that belong together, values small and large, a key that goes.
fn nth(n: u64) -> Transaction {
    let long = "x".repeat(usize::try_from(n * 997 % 9000).unwrap());
    let mut operations =
        vec![put("last", &n.to_string()), put(&format!("routes/{n}"), &long), put("also", &n.to_string())];
    if n > 3 {
        operations.push(Operation::Delete(format!("routes/{}", n - 3).into()));
    }
    transaction(operations)
}

/// What a store holds after the first `n` transactions.
fn after(n: u64) -> Listing {
    let memory = Memory::default();
    for n in 1..=n {
        memory.commit(&nth(n));
    }
    memory.list("")
}

fn on(drive: &Drive) -> Result<Embedded, String> {
    let mut place = Place::new(Path::new("data"));
    place.backend = Some(drive.clone());
    Embedded::at(place)
}

#[tokio::test]
async fn what_is_committed_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("a/b");
    let store = Embedded::open(&data).unwrap();
    for n in 1..=20 {
        assert_eq!(store.commit(nth(n)).await, Ok(Committed::Done(n)));
    }
    assert_eq!(store.list(""), after(20));
    drop(store);
    let store = Embedded::open(&data).unwrap();
    assert_eq!(store.list(""), after(20));
    assert_eq!(store.get("last").map(|entry| (entry.created, entry.modified)), Some((1, 20)));
    assert_eq!(store.commit(nth(21)).await, Ok(Committed::Done(21)));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("store.redb"))), (0o700, 0o600));
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing unfinished is left");
}

#[tokio::test]
async fn a_transaction_is_done_whole_or_not_at_all() {
    let store = on(&Drive::default()).unwrap();
    let first = Transaction { guards: vec![Guard::Absent("a".into())], operations: vec![put("a", "1"), put("b", "1")] };
    assert_eq!(store.commit(first.clone()).await, Ok(Committed::Done(1)));
    assert_eq!(store.commit(first).await, Ok(Committed::Refused));
    let mut watch = store.watch();
    assert_eq!(watch.recv().await, Some(Update::All(store.list(""))));
    let nothing = transaction(vec![Operation::Delete("none".into())]);
    assert_eq!(store.commit(nothing).await, Ok(Committed::Done(1)), "nothing changed");
    let operations = vec![put("a", "2"), Operation::Delete("b".into())];
    let second = Transaction { guards: vec![Guard::Unchanged("a".into(), 1), Guard::Present("b".into())], operations };
    assert_eq!(store.commit(second.clone()).await, Ok(Committed::Done(2)));
    assert_eq!(store.commit(second).await, Ok(Committed::Refused));
    let entry = Entry { value: "2".into(), created: 1, modified: 2 };
    let events = vec![Event { key: "a".into(), entry: Some(entry) }, Event { key: "b".into(), entry: None }];
    assert_eq!(watch.recv().await, Some(Update::Events(events)));
}

#[tokio::test]
async fn what_has_outlived_its_time_goes_also_while_nobody_runs() {
    let drive = Drive::default();
    let store = on(&drive).unwrap();
    let short = |key: &str| Operation::Put { key: key.into(), ttl: Some(Duration::from_millis(1)), value: "1".into() };
    let long = Operation::Put { key: "long".into(), ttl: Some(Duration::from_secs(3600)), value: "1".into() };
    store.commit(transaction(vec![put("kept", "1"), long])).await.unwrap();
    let mut watch = store.watch();
    watch.recv().await.unwrap();
    store.commit(transaction(vec![short("a"), short("b")])).await.unwrap();
    timeout(PATIENCE, watch.recv()).await.unwrap().unwrap();
    let gone = ["a", "b"].map(|key| Event { key: key.into(), entry: None });
    assert_eq!(timeout(PATIENCE, watch.recv()).await.unwrap(), Some(Update::Events(gone.to_vec())));

    // A key that is written again without a time to live stays.
    store.commit(transaction(vec![put("long", "2")])).await.unwrap();
    drop(store);
    let mut place = Place::new(Path::new("data"));
    place.backend = Some(drive.clone());
    let (disk, listing, _) = place.open().unwrap();
    let entry = Entry { value: "1".into(), created: 9, modified: 9 };
    let over = |key: &str| Event { key: key.into(), entry: Some(entry.clone()) };
    let deadlines = Deadlines::from([("c".into(), 1), ("d".into(), u64::MAX)]);
    disk.write(&[over("c"), over("d")], 9, &deadlines).unwrap();
    drop(disk);
    assert!(listing.entries.contains_key("long"));
    let store = on(&drive).unwrap();
    let keys: Vec<_> = store.list("").entries.into_keys().collect();
    assert_eq!(keys, ["d", "kept", "long"].map(Arc::from));
    assert_eq!(store.list("").revision, 10);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    let error = Embedded::open(folder.path()).unwrap_err();
    assert!(error.contains("store.redb: another process uses it"), "{error}");
    drop(store);
    Embedded::open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_disk_that_fails_refuses_writes_until_it_works_again() {
    let drive = Drive::default();
    let store = on(&drive).unwrap();
    store.commit(nth(1)).await.unwrap();
    drive.fail(true);
    for _ in 0..2 {
        let error = store.commit(nth(2)).await.unwrap_err();
        assert!(error.0.contains("store.redb"), "{error}");
    }
    assert_eq!(store.list(""), after(1), "what was there is still read");
    drive.fail(false);
    assert_eq!(store.commit(nth(2)).await, Ok(Committed::Done(2)));
    drop(store);
    assert_eq!(on(&drive).unwrap().list(""), after(2));
}

/// Whatever the disk has done of the writes since it was last asked to be done with them, all that was acknowledged is there, and a transaction
/// that was under way is done or not done.
#[tokio::test]
async fn a_loss_of_power_loses_nothing_acknowledged() {
    const LAST: u64 = 12;
    let drive = Drive::default();
    let store = on(&drive).unwrap();
    drive.acknowledge(0);
    for n in 1..=LAST {
        store.commit(nth(n)).await.unwrap();
        drive.acknowledge(n);
    }
    drop(store);
    let mut random = Random::new(6);
    let expected: Vec<_> = (0..=LAST).map(after).collect();
    let mut between = 0;
    for round in 0..150 {
        let (image, acknowledged) = drive.cut(&mut random);
        let found = on(&image).unwrap_or_else(|error| panic!("round {round}: {error}")).list("");
        let of = |n: u64| usize::try_from(n).ok().and_then(|n| expected.get(n));
        let done = Some(&found) == of(acknowledged);
        let under_way = Some(&found) == of(acknowledged + 1);
        assert!(done || under_way, "round {round}: {acknowledged} were acknowledged, {} found", found.revision);
        between += u64::from(under_way);
    }
    assert!(between > 0, "the power never failed while a transaction was under way");
}

/// A file that something else has damaged, of a store that was closed or of a process that was killed, is whole, or refused with what to do.
#[tokio::test]
async fn a_damaged_file_is_never_served_in_part() {
    /// Where redb says in one bit, without a checksum, which of the file's two newest transactions is the last.
    const WHICH_IS_LAST: usize = 9;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.redb");
    let store = Embedded::open(folder.path()).unwrap();
    for n in 1..=20 {
        store.commit(nth(n)).await.unwrap();
    }
    let killed = fs::read(&file).unwrap();
    drop(store);
    let wholes = [fs::read(&file).unwrap(), killed];
    let expected = after(20);
    let mut random = Random::new(7);
    let mut refused = [0, 0];
    for round in 0..300 {
        let whole = &wholes[round % 2];
        let mut bytes = whole.clone();
        if round % 8 < 2 {
            bytes.truncate(random.below(whole.len()));
        } else {
            for _ in 0..=random.below(64) {
                let at = random.below(whole.len());
                if at != WHICH_IS_LAST {
                    bytes[at] ^= u8::try_from(1 + random.below(255)).unwrap();
                }
            }
        }
        fs::write(&file, bytes).unwrap();
        match Embedded::open(folder.path()) {
            Ok(store) => assert!(store.list("") == expected, "round {round}"),
            Err(error) => {
                refused[round % 2] += 1;
                let told = error.starts_with(&file.display().to_string()) && error.contains("restore it from a backup");
                assert!(told, "round {round}: {error}");
            }
        }
    }
    assert!(refused[0] > 0 && refused[1] > 0, "{refused:?}");
    fs::write(&file, "").unwrap();
    let error = Embedded::open(folder.path()).unwrap_err();
    assert!(error.contains("is damaged"), "an empty file is no new store: {error}");
}

const FOLDER: &str = "PORTCULLIS_TEST_STORE";

/// Not a test: the process that the next one kills. Says the number of each transaction once it is done.
#[tokio::test]
#[ignore = "runs as a process of its own"]
async fn a_writer_without_end() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = Embedded::open(Path::new(&folder)).unwrap();
    for n in store.list("").revision + 1.. {
        assert_eq!(store.commit(nth(n)).await, Ok(Committed::Done(n)));
        println!("\ndone {n}");
    }
}

#[test]
fn a_process_that_is_killed_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(8);
    let mut before = 0;
    for _ in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "store::embedded::tests::a_writer_without_end"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut done = lines.filter_map(|line| line.strip_prefix("done ")?.parse::<u64>().ok());
        assert!(done.nth(random.below(20)).is_some(), "the writer ended");
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = done.last().unwrap_or(0).max(before + 1);
        let found = Embedded::open(folder.path()).unwrap().list("");
        assert!(found.revision >= acknowledged, "{acknowledged} were acknowledged, {} found", found.revision);
        assert_eq!(found, after(found.revision));
        before = found.revision;
    }
}
