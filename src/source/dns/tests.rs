mod name_server;

use std::net::IpAddr;

use hickory_resolver::Hosts;
use hickory_resolver::config::ResolverOpts;
use hickory_resolver::proto::op::ResponseCode;
use tokio::time::timeout;

use self::name_server::{NameServer, Reply};
use super::resolver::Found;
use super::*;

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn host(number: u8) -> IpAddr {
    [127, 0, 0, number].into()
}

fn resolver(server: &NameServer, search: &[&str]) -> Resolver {
    let hosts = "127.0.0.9 fixed.example short\n";
    let mut found = Hosts::default();
    found.read_hosts_conf(hosts.as_bytes()).unwrap();
    Resolver::new(server.config(search), ResolverOpts::default(), found).unwrap()
}

fn found(hosts: &[u8], ttl: u64) -> Found {
    let addresses = hosts.iter().map(|number| host(*number)).collect();
    Found { addresses, partial: None, ttl: Duration::from_secs(ttl) }
}

#[tokio::test]
async fn a_lookup_gives_every_address_and_the_shortest_ttl() {
    let server = NameServer::start().await;
    server.set("a.example", Reply::Addresses(vec![host(2), host(1)], 7));
    server.set("alias.example", Reply::Alias("a.example", 5));
    server.set("six.example", Reply::Addresses(vec!["::1".parse().unwrap()], 3));
    let resolver = resolver(&server, &[]);
    assert_eq!(resolver.lookup("A.example.").await, Ok(found(&[1, 2], 7)));
    assert_eq!(resolver.lookup("alias.example").await, Ok(found(&[1, 2], 5)));
    let six = resolver.lookup("six.example").await.unwrap();
    assert_eq!(six.addresses, ["::1".parse().unwrap()].into());
    assert_eq!(resolver.lookup("fixed.example").await.unwrap().addresses, [host(9)].into(), "the hosts file");
    server.set("a.example", Reply::Addresses(vec![host(3)], 0));
    assert_eq!(resolver.lookup("a.example").await, Ok(found(&[3], 0)), "nothing is kept");
}

#[tokio::test]
async fn a_short_name_is_searched_for() {
    let server = NameServer::start().await;
    server.set("web.ns.svc.cluster.local", Reply::Addresses(vec![host(1)], 30));
    server.set("web.other.svc.cluster.local", Reply::Addresses(vec![host(2)], 30));
    server.set("web", Reply::Addresses(vec![host(3)], 30));
    server.set("short.ns.svc.cluster.local", Reply::Addresses(vec![host(4)], 30));
    let resolver = resolver(&server, &["ns.svc.cluster.local", "svc.cluster.local"]);
    assert_eq!(resolver.lookup("web").await, Ok(found(&[1], 30)));
    assert_eq!(resolver.lookup("web.other").await, Ok(found(&[2], 30)));
    server.set("web.other", Reply::Addresses(vec![host(5)], 30));
    assert_eq!(resolver.lookup("web.other").await, Ok(found(&[5], 30)), "one dot: first as it is");
    assert_eq!(resolver.lookup("web.").await, Ok(found(&[3], 30)));
    assert_eq!(resolver.lookup("short").await.unwrap().addresses, [host(9)].into(), "the hosts file comes first");
    server.set("web.ns.svc.cluster.local", Reply::Code(ResponseCode::ServFail));
    resolver.lookup("web").await.expect_err("a failure does not lead to another name");
}

#[tokio::test]
async fn why_there_is_no_address_is_said_in_the_same_words_every_time() {
    let server = NameServer::start().await;
    server.set("empty.example", Reply::Addresses(vec![], 1));
    server.set("broken.example", Reply::Code(ResponseCode::ServFail));
    server.set("refused.example", Reply::Code(ResponseCode::Refused));
    server.set("silent.example", Reply::Silence);
    let resolver = resolver(&server, &[]);
    for (name, why) in [
        ("gone.example", "does not exist (NXDOMAIN)"),
        ("empty.example", "has no address"),
        ("broken.example", "cannot be looked up: the name server says Server Failure"),
        ("refused.example", "cannot be looked up: the name server says Query Refused"),
        ("silent.example", "cannot be looked up: no name server answers"),
        (&format!("{}.example", "x".repeat(64)), "is no domain name"),
    ] {
        let twice = futures::future::join(resolver.lookup(name), resolver.lookup(name)).await;
        assert_eq!(twice, (Err(why.to_owned()), Err(why.to_owned())), "{name}");
    }
}

#[tokio::test]
async fn a_name_is_followed_as_long_as_it_is_wanted() {
    let server = NameServer::start().await;
    server.set("a.example", Reply::Addresses(vec![host(1)], 0));
    let (wanted_sender, wanted) = watch::channel(BTreeSet::from(["a.example".into()]));
    let (sender, mut changes) = mpsc::channel(1);
    let running = tokio::spawn(run(resolver(&server, &[]), wanted, sender));
    let mut until = async |expected: Result<BTreeSet<IpAddr>, &str>| {
        let seen = async {
            while let Some(Change::Lookup { name, answer }) = changes.recv().await {
                if name == "a.example".into() && answer == expected.clone().map_err(str::to_owned) {
                    return;
                }
            }
            panic!("nothing follows the name any more");
        };
        timeout(PATIENCE, seen).await.expect("the answer is told");
    };
    until(Ok([host(1)].into())).await;
    server.set("a.example", Reply::Addresses(vec![host(2)], 0));
    until(Ok([host(2)].into())).await;
    server.set("a.example", Reply::Code(ResponseCode::NXDomain));
    until(Err("does not exist (NXDOMAIN)")).await;
    server.asked("a.example", 1).await;
    server.set("a.example", Reply::Addresses(vec![host(3)], 300));
    until(Ok([host(3)].into())).await;
    drop(wanted_sender);
    timeout(PATIENCE, running).await.expect("it ends").unwrap();
    assert!(changes.recv().await.is_none(), "with all that it follows");
}

#[tokio::test]
async fn half_an_answer_does_not_replace_a_whole_one() {
    let server = NameServer::start().await;
    let six: IpAddr = "::1".parse().unwrap();
    server.set("a.example", Reply::Addresses(vec![host(1)], 0));
    server.set("half.example", Reply::Six(vec![six], 0));
    let (_wanted, wanted) = watch::channel(BTreeSet::from(["a.example".into(), "half.example".into()]));
    let (sender, mut changes) = mpsc::channel(1);
    tokio::spawn(run(resolver(&server, &[]), wanted, sender));
    let mut until = async |wanted: &str, expected: Result<IpAddr, &str>| {
        let expected = expected.map(|address| BTreeSet::from([address])).map_err(str::to_owned);
        let seen = async {
            while let Some(Change::Lookup { name, answer }) = changes.recv().await {
                if *name == *wanted && answer == expected {
                    return;
                }
            }
        };
        timeout(PATIENCE, seen).await.expect("the answer is told");
    };
    until("half.example", Ok(six)).await;
    until("a.example", Ok(host(1))).await;
    server.set("a.example", Reply::Six(vec![six], 0));
    until("a.example", Err("cannot be looked up: the name server says Server Failure")).await;
}
