//! Class D: the handshake and the request look the host up differently (Traefik CVE-2026-48491 and CVE-2026-53622, Caddy
//! CVE-2026-27588: among many hosts, in another case, under a wildcard).

use portcullis::model::HostName;
use portcullis::snapshot::Policy;
use serde_json::json;

use crate::attacker::Attacker;
use crate::objects::{client_tls, tls};
use crate::stage::Stage;

/// Hosts of every object: more than Caddy's hundred, in total more than ten thousand.
const HOSTS: usize = 1000;

/// How the objects differ: `None` is without client authentication, else the depth.
const OBJECTS: [Option<u32>; 11] =
    [None, Some(0), None, Some(1), None, Some(2), None, Some(3), Some(4), Some(5), Some(6)];

/// Numbers that look like chance, the same in every run (Knuth's MMIX generator).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    /// A host of one to four labels; the names are few, so that hosts and wildcards meet.
    fn host(&mut self) -> String {
        let labels: Vec<_> = (0..=self.below(4)).map(|_| &"abcdefghi"[self.below(9)..][..1]).collect();
        format!("{}.n{}.test", labels.join("."), self.below(40))
    }

    /// The host as a client might write it.
    fn disguise(&mut self, host: &str) -> String {
        let mut form: String =
            host.chars().map(|c| if self.below(3) == 0 { c.to_ascii_uppercase() } else { c }).collect();
        if self.below(4) == 0 {
            form.push('.');
        }
        form
    }
}

/// What a person would do: compare with every pattern, exact ones first, then the longest wildcard.
fn reference(patterns: &[(String, Option<u32>)], host: &str) -> Option<u32> {
    let host = host.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    let exact = patterns.iter().find(|(pattern, _)| pattern == host);
    let wildcards =
        patterns.iter().filter(|(pattern, _)| pattern.strip_prefix('*').is_some_and(|end| host.ends_with(end)));
    exact.or_else(|| wildcards.max_by_key(|(pattern, _)| pattern.len())).and_then(|(_, depth)| *depth)
}

async fn stage(chance: &mut Chance) -> (Stage, Vec<(String, Option<u32>)>) {
    let mut patterns: Vec<(String, Option<u32>)> = Vec::new();
    let mut taken = std::collections::HashSet::new();
    let mut objects = Vec::new();
    for (index, depth) in OBJECTS.into_iter().enumerate() {
        let mut hosts = Vec::new();
        while hosts.len() < HOSTS {
            let host = if chance.below(5) == 0 { format!("*.{}", chance.host()) } else { chance.host() };
            if taken.insert(host.clone()) {
                hosts.push(host);
            }
        }
        let written: Vec<_> = hosts.iter().map(|host| chance.disguise(host)).collect();
        let written: Vec<_> = written.iter().map(String::as_str).collect();
        let (name, ca) = (format!("tls-{index}"), json!({"name": "clients", "namespace": "default"}));
        objects.push(match depth {
            None => tls(&name, &written),
            Some(depth) => client_tls(&name, &written, json!({"caSecret": ca, "depth": depth})),
        });
        patterns.extend(hosts.into_iter().map(|host| (host, depth)));
    }
    (Stage::new(objects).await, patterns)
}

fn depth(policy: &Policy) -> Option<u32> {
    match policy {
        Policy::Open => None,
        Policy::Require(auth) => Some(auth.requirements.depth),
        Policy::Refuse(why) => panic!("{why}"),
    }
}

#[tokio::test]
async fn class_d_handshake_and_request_find_the_same_policy_among_many_hosts() {
    let mut chance = Chance(4);
    let (stage, patterns) = stage(&mut chance).await;
    assert!(patterns.len() > 10_000);
    let snapshot = stage.snapshot();
    let (mut handshakes, mut open) = (0, 0);
    for _ in 0..3000 {
        let host = chance.host();
        let (sni, sent) = (chance.disguise(&host), format!("{}:443", chance.disguise(&host)));
        let (sni, name) = (HostName::parse(&sni).unwrap(), HostName::parse(&sent).unwrap());
        let expected = reference(&patterns, &host);
        assert_eq!(depth(snapshot.policy(&name)), expected, "{sent}");
        if let Some(tls) = snapshot.handshake(&sni) {
            assert!(tls.policy.same(snapshot.policy(&name)), "{sni} {sent}");
            handshakes += 1;
        }
        open += usize::from(expected.is_none());
    }
    assert!(handshakes > 500 && (300..2700).contains(&open), "{handshakes} {open}: the hosts are no good test");
}

#[tokio::test]
async fn class_d_no_request_gets_in_that_comparing_by_hand_would_refuse() {
    let mut chance = Chance(7);
    let (stage, patterns) = stage(&mut chance).await;
    let open = patterns.iter().find(|(pattern, depth)| depth.is_none() && !pattern.starts_with('*')).unwrap();
    for alpn in ["http/1.1", "h2"] {
        let attacker = Attacker::new(&rustls::version::TLS13, alpn, None);
        let mut connection = attacker.connect(stage.https, &open.0).await.connection;
        for _ in 0..150 {
            let host = chance.host();
            let sent = chance.disguise(&host);
            let before = stage.passed();
            let expected = if reference(&patterns, &host).is_none() { 200 } else { 421 };
            assert_eq!(connection.status(&sent, "/").await, Some(expected), "{alpn} {sent}");
            assert_eq!(stage.passed() - before, usize::from(expected == 200));
        }
    }
}
