//! The store in etcd, with a real one: `e2e/run` has it from the cluster's build (`e2e/cluster/build`).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use portcullis::store::{
    Committed, Connection, Entry, Etcd, EtcdOptions, EtcdTls, Event, Guard, Listing, Operation, Store, Transaction,
    Update,
};
use rcgen::ExtendedKeyUsagePurpose;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::pki::Authority;

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// An etcd, which is gone with this.
struct Server {
    address: SocketAddr,
    folder: TempDir,
    peer: SocketAddr,
    process: Option<Child>,
    /// What it is started with beside its addresses.
    arguments: Vec<String>,
    scheme: &'static str,
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Server {
    async fn start() -> Self {
        Self::start_with("http", Vec::new()).await
    }

    async fn start_with(scheme: &'static str, arguments: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { address: free(), folder, peer: free(), process: None, arguments, scheme };
        server.run().await;
        server
    }

    /// Runs it on what its folder holds.
    async fn run(&mut self) {
        let client = format!("{}://{}", self.scheme, self.address);
        let peer = format!("http://{}", self.peer);
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/.tools/bin/etcd");
        let process = Command::new(&program)
            .args(["--log-level", "error", "--unsafe-no-fsync", "--initial-cluster", &format!("default={peer}")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg("--data-dir")
            .arg(self.data())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; `e2e/cluster/build` makes it", program.display()));
        self.process = Some(process);
        let up = async {
            while TcpStream::connect(self.address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, up).await.expect("etcd does not start");
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().unwrap();
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    fn options(&self) -> EtcdOptions {
        EtcdOptions {
            folder: None,
            hosts: vec![format!("{}://{}", self.scheme, self.address)],
            prefix: "/apisix".to_owned(),
            timeout: Duration::from_secs(30),
            tls: EtcdTls::default(),
            user: None,
        }
    }

    fn store(&self) -> Etcd {
        Etcd::start(self.options()).unwrap()
    }

    /// What etcd's own gateway answers.
    async fn ask(&self, path: &str, body: &Value) -> Value {
        let asked = Command::new("curl")
            .args(["--silent", "--max-time", "30", "--data", &body.to_string()])
            .arg(format!("http://{}{path}", self.address))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = tokio::task::spawn_blocking(move || asked.wait_with_output().unwrap()).await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn put(&self, key: &str, value: &str) {
        let (key, value) = (BASE64_STANDARD.encode(key), BASE64_STANDARD.encode(value));
        let answer = self.ask("/v3/kv/put", &json!({ "key": key, "value": value })).await;
        assert!(answer["header"].is_object(), "{answer}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put { key: key.into(), ttl: None, value: value.into() }
}

fn transaction(operations: Vec<Operation>) -> Transaction {
    Transaction { guards: Vec::new(), operations }
}

/// Writes as soon as etcd takes it.
async fn write(store: &Etcd, key: &str, value: &str) -> u64 {
    let written = async {
        loop {
            match store.commit(&transaction(vec![put(key, value)])).await {
                Ok(Committed::Done(revision)) => return revision,
                Ok(Committed::Refused) => panic!("refused without a guard"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(PATIENCE, written).await.expect("etcd takes no write")
}

/// What a watch has told so far.
struct Seen {
    all: usize,
    listing: Listing,
    updates: UnboundedReceiver<Update>,
}

impl Seen {
    fn new(store: &Etcd) -> Self {
        Self { all: 0, listing: Listing::default(), updates: store.watch() }
    }

    async fn next(&mut self) {
        match timeout(PATIENCE, self.updates.recv()).await.expect("the watch is silent").unwrap() {
            Update::All(all) => {
                self.all += 1;
                self.listing = all;
            }
            Update::Events(events) => {
                for Event { key, entry } in events {
                    match entry {
                        Some(entry) => drop(self.listing.entries.insert(key, entry)),
                        None => drop(self.listing.entries.remove(&key)),
                    }
                }
            }
        }
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.listing.entries.get(key).map(|entry| &*entry.value)
    }

    async fn until(&mut self, key: &str, value: Option<&str>) {
        while self.value(key) != value {
            self.next().await;
        }
    }

    async fn begin(&mut self) {
        while self.all == 0 {
            self.next().await;
        }
    }
}

async fn until(store: &Etcd, wanted: Connection) {
    let mut connection = store.connection();
    let reached = connection.wait_for(|connection| *connection == wanted);
    timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("never {wanted:?}")).unwrap();
}

#[tokio::test]
async fn transactions_and_lists_are_as_of_every_store() {
    let server = Server::start().await;
    let store = server.store();
    let first = Transaction { guards: vec![Guard::Absent("a".into())], operations: vec![put("a", "1"), put("b", "1")] };
    let Ok(Committed::Done(revision)) = store.commit(&first).await else { panic!("not done") };
    assert_eq!(store.commit(&first).await, Ok(Committed::Refused));
    let guards = vec![Guard::Unchanged("a".into(), revision), Guard::Present("b".into())];
    let second = Transaction { guards, operations: vec![put("a", "2"), Operation::Delete("b".into())] };
    assert_eq!(store.commit(&second).await, Ok(Committed::Done(revision + 1)));
    assert_eq!(store.commit(&second).await, Ok(Committed::Refused), "the key has changed since");
    let entry = Entry { value: "2".into(), created: revision, modified: revision + 1 };
    assert_eq!(store.get("a").await, Ok(Some(entry)));
    assert_eq!(store.get("b").await, Ok(None));

    // Several pages, and neighbours that do not belong to them.
    for n in 0..5 {
        let operations = (0..60).map(|m| put(&format!("routes/{n}-{m}"), "r")).collect();
        store.commit(&transaction(operations)).await.unwrap();
    }
    server.put("/apisix/routesx/1", "x").await;
    server.put("/apisix2/routes/1", "x").await;
    assert_eq!(store.list("routes/").await.unwrap().entries.len(), 300);
    assert_eq!(store.list("").await.unwrap().entries.len(), 302);
}

/// What APISIX writes is read, and what we write is where APISIX reads it.
#[tokio::test]
async fn the_layout_is_apisix_own() {
    let server = Server::start().await;
    server.put("/apisix/routes/", "init_dir").await;
    server.put("/apisix/routes/1", r#"{"id":"1"}"#).await;
    let store = server.store();
    let mut seen = Seen::new(&store);
    seen.begin().await;
    assert_eq!(seen.listing.entries.keys().map(|key| &**key).collect::<Vec<_>>(), ["routes/1"]);
    write(&store, "ssls/1", "{}").await;
    let found = server.ask("/v3/kv/range", &json!({ "key": BASE64_STANDARD.encode("/apisix/ssls/1") })).await;
    assert_eq!(found["kvs"][0]["value"], BASE64_STANDARD.encode("{}"));
    server.put("/apisix/routes/1", "no JSON").await;
    server.put("/apisix/routes/2", "{}").await;
    seen.until("routes/2", Some("{}")).await;
    assert_eq!(seen.value("routes/1"), Some("no JSON"), "what it means is not the store's matter");
}

#[tokio::test]
async fn two_gateways_hear_of_each_other() {
    let server = Server::start().await;
    let (one, two) = (server.store(), server.store());
    let (mut from_one, mut from_two) = (Seen::new(&one), Seen::new(&two));
    from_one.begin().await;
    from_two.begin().await;
    for n in 0..20 {
        let value = n.to_string();
        let (writer, reader) = if n % 2 == 0 { (&one, &mut from_two) } else { (&two, &mut from_one) };
        write(writer, "routes/1", &value).await;
        reader.until("routes/1", Some(&value)).await;
    }
    assert_eq!((from_one.all, from_two.all), (1, 1), "the rest were events");
}

#[tokio::test]
async fn a_time_to_live_is_a_lease() {
    let server = Server::start().await;
    let store = server.store();
    let mut seen = Seen::new(&store);
    let short = Operation::Put { key: "a".into(), ttl: Some(Duration::from_millis(1500)), value: "1".into() };
    store.commit(&transaction(vec![short, put("b", "1")])).await.unwrap();
    seen.until("a", Some("1")).await;
    seen.until("a", None).await;
    assert_eq!(store.get("a").await, Ok(None));
    assert!(store.get("b").await.unwrap().is_some());
}

#[tokio::test]
async fn a_killed_etcd_is_followed_again_from_where_it_was() {
    let mut server = Server::start().await;
    let store = server.store();
    let mut seen = Seen::new(&store);
    write(&store, "routes/1", "1").await;
    seen.until("routes/1", Some("1")).await;
    until(&store, Connection::Connected).await;
    assert!(Store::Etcd(store.clone()).is_connected());
    server.kill();
    until(&store, Connection::Lost).await;
    assert!(!Store::Etcd(store.clone()).is_connected());
    let refused = timeout(PATIENCE, store.commit(&transaction(vec![put("routes/1", "2")]))).await.unwrap();
    assert!(refused.unwrap_err().0.starts_with("etcd: "));
    server.run().await;
    // By another hand, before we are back or after.
    server.put("/apisix/routes/1", "3").await;
    seen.until("routes/1", Some("3")).await;
    until(&store, Connection::Connected).await;
    assert_eq!(seen.all, 1, "the rest were events");
}

/// Revisions that were missed are compacted: everything is listed again, so that what was deleted meanwhile is gone.
#[tokio::test]
async fn what_was_compacted_is_listed_again() {
    let mut server = Server::start().await;
    let store = server.store();
    let mut seen = Seen::new(&store);
    write(&store, "routes/1", "1").await;
    write(&store, "routes/2", "1").await;
    seen.until("routes/2", Some("1")).await;
    server.kill();
    until(&store, Connection::Lost).await;
    // Others reach it, and we do not.
    let address = std::mem::replace(&mut server.address, free());
    server.run().await;
    let key = BASE64_STANDARD.encode("/apisix/routes/1");
    server.ask("/v3/kv/deleterange", &json!({ "key": key })).await;
    server.put("/apisix/routes/3", "1").await;
    let revision = server.ask("/v3/kv/range", &json!({ "key": key })).await["header"]["revision"].clone();
    server.ask("/v3/kv/compaction", &json!({ "revision": revision })).await;
    server.kill();
    server.address = address;
    server.run().await;
    seen.until("routes/3", Some("1")).await;
    assert_eq!(seen.value("routes/1"), None);
    assert_eq!(seen.value("routes/2"), Some("1"));
    assert_eq!(seen.all, 2);
}

/// An etcd that begins anew, or from an old backup, is behind what we have heard, and would be silent for long.
#[tokio::test]
async fn an_etcd_that_was_set_back_is_listed_again() {
    let mut server = Server::start().await;
    let store = server.store();
    let mut seen = Seen::new(&store);
    for n in 0..10 {
        write(&store, &format!("routes/{n}"), "1").await;
    }
    seen.until("routes/9", Some("1")).await;
    server.kill();
    fs::remove_dir_all(server.data()).unwrap();
    server.run().await;
    server.put("/apisix/routes/new", "1").await;
    seen.until("routes/new", Some("1")).await;
    seen.until("routes/9", None).await;
}

#[tokio::test]
async fn an_etcd_that_hangs_is_noticed_and_another_endpoint_is_taken() {
    let server = Server::start().await;
    let other = free();
    // The other endpoint leads to the same etcd.
    let listener = tokio::net::TcpListener::bind(other).await.unwrap();
    let address = server.address;
    let relay = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let Ok(mut upstream) = TcpStream::connect(address).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
            });
        }
    });
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(); // accepts, and says nothing
    let hosts = [silent.local_addr().unwrap(), other].map(|address| format!("http://{address}")).to_vec();
    let store = Etcd::start(EtcdOptions { hosts, timeout: Duration::from_secs(4), ..server.options() }).unwrap();
    let mut seen = Seen::new(&store);
    seen.begin().await;
    write(&store, "routes/1", "1").await;
    seen.until("routes/1", Some("1")).await;
    until(&store, Connection::Connected).await;
    server.signal(Signal::STOP);
    until(&store, Connection::Lost).await;
    assert!(timeout(PATIENCE, store.get("routes/1")).await.unwrap().is_err());
    server.signal(Signal::CONT);
    write(&store, "routes/1", "2").await;
    seen.until("routes/1", Some("2")).await;
    relay.abort();
}

#[tokio::test]
async fn a_gateway_that_starts_while_etcd_is_away_serves_the_copy() {
    let mut server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let options = EtcdOptions { folder: Some(data.clone()), ..server.options() };
    let store = Etcd::start(options.clone()).unwrap();
    write(&store, "routes/1", "1").await;
    write(&store, "routes/2", "1").await;
    let copied = async {
        // The copy of the last state is the second or third.
        loop {
            let probe =
                Etcd::start(EtcdOptions { hosts: vec![format!("http://{}", free())], ..options.clone() }).unwrap();
            let mut seen = Seen::new(&probe);
            if timeout(Duration::from_secs(5), seen.begin()).await.is_ok() && seen.value("routes/2").is_some() {
                return;
            }
        }
    };
    timeout(PATIENCE, copied).await.expect("no copy is written");
    drop(store);
    server.kill();
    assert!(!String::from_utf8_lossy(&fs::read(data.join("etcd-copy")).unwrap()).contains("routes"));

    let store = Etcd::start(options).unwrap();
    let mut seen = Seen::new(&store);
    seen.begin().await;
    assert_eq!(*store.connection().borrow(), Connection::Copy);
    assert_eq!((seen.value("routes/1"), seen.value("routes/2")), (Some("1"), Some("1")));
    assert!(store.commit(&transaction(vec![put("routes/3", "1")])).await.is_err());
    server.run().await;
    until(&store, Connection::Connected).await;
    write(&store, "routes/3", "1").await;
    seen.until("routes/3", Some("1")).await;
}

#[tokio::test]
async fn a_user_logs_in_and_again_when_the_token_is_too_old() {
    // Tokens end after a second.
    let server = Server::start_with("http", ["--auth-token-ttl", "1"].map(str::to_owned).to_vec()).await;
    for (path, body) in [
        ("/v3/auth/user/add", json!({ "name": "root", "password": "secret" })),
        ("/v3/auth/user/grant", json!({ "user": "root", "role": "root" })),
        ("/v3/auth/enable", json!({})),
    ] {
        server.ask(path, &body).await;
    }
    let with = |password: &str| EtcdOptions {
        timeout: Duration::from_secs(5),
        user: Some(("root".to_owned(), password.to_owned())),
        ..server.options()
    };
    let wrong = Etcd::start(with("wrong")).unwrap().get("a").await.unwrap_err().0;
    assert!(wrong.contains("cannot log in to etcd as `root`") && !wrong.contains("wrong"), "{wrong}");
    assert!(server.store().get("a").await.is_err(), "nobody");
    let store = Etcd::start(with("secret")).unwrap();
    let mut seen = Seen::new(&store);
    for value in ["1", "2", "3"] {
        assert!(matches!(store.commit(&transaction(vec![put("a", value)])).await, Ok(Committed::Done(_))), "{value}");
        seen.until("a", Some(value)).await;
        tokio::time::sleep(Duration::from_secs(3)).await; // the token's age is what is tested
    }
}

#[tokio::test]
async fn mutual_tls_with_certificates_that_are_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new("etcd CA"), Authority::new("stranger"));
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let ca = file("ca.pem", &authority.certificate.pem());
    // etcd's gateway is a client of etcd, with the server's certificate.
    let certified = authority.issue_with(&["etcd.test"], ExtendedKeyUsagePurpose::ServerAuth, |params| {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    });
    let (certificate, key) = (file("tls.crt", &certified.pem), file("tls.key", &certified.key.serialize_pem()));
    let arguments = ["--cert-file", "--key-file", "--trusted-ca-file"].into_iter().zip([&certificate, &key, &ca]);
    let mut arguments: Vec<_> =
        arguments.flat_map(|(name, path)| [name.to_owned(), path.display().to_string()]).collect();
    arguments.push("--client-cert-auth".to_owned());
    let server = Server::start_with("https", arguments).await;

    let write_identity = |authority: &Authority| {
        let client = authority.client();
        (file("client.crt", &client.pem), file("client.key", &client.key.serialize_pem()))
    };
    let identity = Some(write_identity(&stranger));
    let tls = EtcdTls { ca: Some(ca.clone()), identity, sni: Some("etcd.test".to_owned()), verify: true };
    let with = |tls: &EtcdTls| EtcdOptions { tls: tls.clone(), timeout: Duration::from_secs(10), ..server.options() };
    let fails = async |tls: &EtcdTls| {
        let store = Etcd::start(with(tls)).unwrap();
        timeout(PATIENCE, store.get("a")).await.unwrap().unwrap_err().0
    };
    fails(&tls).await; // a stranger's certificate
    let store = Etcd::start(with(&tls)).unwrap();
    let mut seen = Seen::new(&store);
    write_identity(&authority);
    write(&store, "routes/1", "1").await; // the rotated one
    seen.until("routes/1", Some("1")).await;

    fails(&EtcdTls { identity: None, ..tls.clone() }).await;
    let other_name = fails(&EtcdTls { sni: Some("other.test".to_owned()), ..tls.clone() }).await;
    assert!(other_name.contains("not valid for name"), "{other_name}");
    let other_ca = file("other.pem", &stranger.certificate.pem());
    let unknown = EtcdTls { ca: Some(other_ca), ..tls.clone() };
    assert!(fails(&unknown).await.contains("UnknownIssuer"));
    Etcd::start(with(&EtcdTls { verify: false, ..unknown })).unwrap().get("a").await.unwrap();

    for (tls, said) in [
        (EtcdTls { ca: Some("/none/ca.pem".into()), ..tls.clone() }, "/none/ca.pem: cannot be read"),
        (EtcdTls { identity: Some((certificate, folder.path().join("client.key"))), ..tls.clone() }, "does not belong"),
    ] {
        let error = Etcd::start(with(&tls)).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}
