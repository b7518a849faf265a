use std::fs;
use std::io::Write as _;
use std::path::Path;

use tokio::time::timeout;

use super::*;

fn class(name: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: {name}}}\nspec: {{controller: c}}\n---\n"
    )
}

fn follow(root: &Path) -> mpsc::Receiver<Change> {
    let (sender, changes) = mpsc::channel(16);
    tokio::spawn(Manifests::open(vec![root.to_owned()]).unwrap().run(sender));
    changes
}

/// The names of the classes after the next change; `None` when there is none for `wait`.
async fn next(changes: &mut mpsc::Receiver<Change>, wait: Duration) -> Option<Vec<String>> {
    let Change::Together(all) = timeout(wait, changes.recv()).await.ok()?.unwrap() else { panic!("one change") };
    all.into_iter().find_map(|change| match change {
        Change::Replace { kind: Kind::IngressClass, objects, .. } => {
            Some(objects.iter().map(|(key, _)| key.to_string()).collect())
        }
        _ => None,
    })
}

/// Waits until the classes are `names`.
async fn until(changes: &mut mpsc::Receiver<Change>, names: &[&str]) {
    while next(changes, LONG).await.expect("another change") != names {}
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_half_written_file_is_not_read_and_others_are() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.yaml");
    fs::write(&path, class("a1") + &class("a2")).unwrap();
    let mut changes = follow(root.path());
    assert_eq!(next(&mut changes, LONG).await.unwrap(), ["a1", "a2"]);
    assert_eq!(next(&mut changes, Duration::from_millis(500)).await, None, "nothing has changed");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(class("a1").as_bytes()).unwrap();
    assert_eq!(next(&mut changes, Duration::from_millis(300)).await, None, "half of the file is written");
    fs::write(root.path().join("b.yaml"), class("b")).unwrap();
    assert_eq!(next(&mut changes, LONG).await.unwrap(), ["a1", "a2", "b"]);
    file.write_all(class("a3").as_bytes()).unwrap();
    drop(file);
    assert_eq!(next(&mut changes, LONG).await.unwrap(), ["a1", "a3", "b"]);
}

#[tokio::test]
async fn a_file_that_nobody_closes_is_read_in_the_end() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.yaml");
    fs::write(&path, class("a1")).unwrap();
    let mut changes = follow(root.path());
    assert_eq!(next(&mut changes, LONG).await.unwrap(), ["a1"]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(class("a2").as_bytes()).unwrap();
    assert_eq!(next(&mut changes, LONG).await.unwrap(), ["a2"]);
    drop(file);
}

#[tokio::test]
async fn what_the_watch_does_not_see_is_found_by_reading_again() {
    use std::os::unix::fs::symlink;
    let above = tempfile::tempdir().unwrap();
    let at = |name: &str| above.path().join(name);
    for (folder, name) in [("one", "a"), ("two", "b")] {
        fs::create_dir(at(folder)).unwrap();
        fs::write(at(folder).join("x.yaml"), class(name)).unwrap();
    }
    symlink("one", at("root")).unwrap();
    let mut changes = follow(&at("root"));
    assert_eq!(next(&mut changes, LONG).await.unwrap(), ["a"]);
    tokio::time::sleep(Duration::from_millis(500)).await; // the watch is armed
    symlink("two", at("new")).unwrap();
    fs::rename(at("new"), at("root")).unwrap();
    assert_eq!(next(&mut changes, LONG).await.unwrap(), ["b"]);
    // The new folder may not be watched yet, so that the file can be seen before there is anything in it.
    fs::write(at("two").join("y.yaml"), class("c")).unwrap();
    until(&mut changes, &["b", "c"]).await;
}

#[tokio::test]
async fn without_a_watch_the_folders_are_read_from_time_to_time() {
    let root = tempfile::tempdir().unwrap();
    let gone = root.path().join("above/folder");
    fs::create_dir_all(&gone).unwrap();
    fs::write(gone.join("a.yaml"), class("a")).unwrap();
    let manifests = Manifests::open(vec![gone.clone()]).unwrap();
    let away = root.path().join("away");
    fs::rename(root.path().join("above"), &away).unwrap(); // what is not there cannot be watched
    let (sender, mut changes) = mpsc::channel(16);
    tokio::spawn(manifests.run(sender));
    assert_eq!(next(&mut changes, LONG).await.unwrap(), ["a"], "it is served all the same");
    fs::write(away.join("folder/b.yaml"), class("b")).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    fs::rename(&away, root.path().join("above")).unwrap();
    until(&mut changes, &["a", "b"]).await;
}
