//! Every second other authorities, other revocation lists and another server certificate: no answer is wrong, and memory stays flat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::backend::Backend;
use crate::forger::Forger;
use crate::ledger::{Client, Host, Ledger, Truth};
use crate::memory::Memory;
use crate::objects::{client_tls, reference, route_for_everything, secret, tls, trusts};
use crate::pki::{Certified, PKI};
use crate::program::Program;
use crate::traffic::{Tally, Traffic, Worker};
use crate::{ALONE, setting};

/// Between two changes.
const PACE: Duration = Duration::from_secs(1);

/// How long revocation lists are good, in seconds.
const YEAR: i64 = 365 * 24 * 3600;

/// The serial number of the certificate that is revoked at times.
const REVOCABLE: u64 = 0x4711;

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// Who issues the clients' certificates.
struct Authorities {
    good: Forger,
    rotated: Forger,
    stranger: Forger,
}

impl Authorities {
    fn new() -> Self {
        let [good, rotated, stranger] = ["good", "rotated", "stranger"].map(Forger::root);
        Self { good, rotated, stranger }
    }

    fn certificate(&self, client: Client) -> Option<Certified> {
        match client {
            Client::Anonymous => None,
            Client::Good => Some(self.good.client(|_| ())),
            Client::Revocable => Some(self.good.client(|params| params.serial_number = Some(REVOCABLE.into()))),
            Client::Rotated => Some(self.rotated.client(|_| ())),
            Client::Stranger => Some(self.stranger.client(|_| ())),
        }
    }

    /// What is in force from change `number` on: the truth, and the objects that say so.
    fn state(&self, number: usize) -> (Truth, Vec<Value>) {
        let (trusted, revoked) = (number.is_multiple_of(2), number % 3 == 1);
        let server = PKI.servers.issue(&Host::ALL.map(Host::name), ExtendedKeyUsagePurpose::ServerAuth);
        let bundle = format!("{}{}", self.good.pem, if trusted { &self.rotated.pem } else { "" });
        let serials: &[u64] = if revoked { &[1, REVOCABLE] } else { &[1] };
        let lists = self.good.crl(serials, YEAR) + &self.rotated.crl(&[], YEAR);
        let objects = vec![
            secret("server", &[("cert", &server.pem), ("key", &server.key.serialize_pem())]),
            secret("bundle", &[("cert", &bundle)]),
            secret("lists", &[("ca.crl", &lists)]),
        ];
        (Truth { revoked, server: server.chain[0].clone(), trusted }, objects)
    }

    fn hosts(&self) -> [Value; 5] {
        let revocation = json!({"crlRefs": [{"name": "lists"}]});
        let failure = json!({"type": "Alert"});
        let alert = json!({"caSecret": reference("bundle"), "failure": failure, "revocation": revocation});
        let lists = json!({"caSecret": reference("good"), "revocation": revocation});
        [
            secret("good", &[("cert", &self.good.pem)]),
            client_tls("alert", &[Host::Alert.name()], alert),
            client_tls("authorities", &[Host::Authorities.name()], trusts("bundle")),
            client_tls("lists", &[Host::Lists.name()], lists),
            tls("open", &[Host::Open.name()]),
        ]
    }
}

/// Makes a change every second for `time`. Returns the longest time from a change to its being in force.
async fn rotate(authorities: &Authorities, program: &Program, traffic: &Traffic, time: Duration) -> (Duration, Memory) {
    let (mut memory, mut longest, mut changes) = (Memory::default(), Duration::ZERO, 0);
    let mut tick = tokio::time::interval(PACE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + time;
    while Instant::now() < end {
        tick.tick().await;
        memory.add(program.memory());
        changes += 1;
        let (truth, objects) = authorities.state(changes);
        // Nothing else changes the configuration: a later generation is this change.
        let generation = program.enforced().await;
        traffic.ledger.begin(truth);
        let start = Instant::now();
        program.rotate(&objects);
        program.enforces_more_than(generation).await;
        traffic.ledger.settle();
        longest = longest.max(start.elapsed());
    }
    (longest, memory)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_wrong_while_authorities_lists_and_certificates_change() {
    let _alone = ALONE.lock().await;
    let (authorities, backend) = (Authorities::new(), Backend::start().await);
    let (truth, rotated) = authorities.state(0);
    let staying = authorities.hosts().into_iter().chain(route_for_everything(backend.address));
    let program = Program::start(&staying.collect::<Vec<_>>(), &rotated).await;
    let traffic = Arc::new(Traffic {
        backend,
        https: program.https,
        ledger: Ledger::new(truth),
        over: AtomicBool::new(false),
        tally: Tally::default(),
    });
    let mut workers = JoinSet::new();
    for client in Client::ALL {
        let certificate = authorities.certificate(client);
        for host in Host::ALL {
            for alpn in ["h2", "http/1.1"] {
                for version in VERSIONS {
                    let worker = Worker::new((client, host), certificate.as_ref(), alpn, version, traffic.clone());
                    workers.spawn(worker.run());
                }
            }
        }
    }
    let time = Duration::from_secs(setting("PORTCULLIS_SOAK_SECONDS", 20));
    let (longest, memory) = rotate(&authorities, &program, &traffic, time).await;
    traffic.over.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    program.stop();

    let tally = &traffic.tally;
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let (before, after) = memory.thirds();
    println!(
        "soak: {time:?}, {} changes, each in force after {longest:?} at most; {} full and {} resumed handshakes; {} served, {} \
         refused, {} during a change; {} wrong; memory {} KiB, then {} KiB",
        traffic.ledger.now(),
        of(&tally.full),
        of(&tally.resumed),
        of(&tally.served),
        of(&tally.refused),
        of(&tally.either),
        of(&tally.wrongs),
        before >> 10,
        after >> 10,
    );
    assert_eq!(of(&tally.wrongs), 0, "the first of them: {:#?}", tally.wrong.lock().unwrap());
    assert_eq!(traffic.backend.left(), 0, "requests went upstream that nobody waited for");
    assert!(memory.is_flat(), "memory grows: {before} bytes, then {after}");
    for (what, count) in [
        ("full handshake", &tally.full),
        ("resumption", &tally.resumed),
        ("answer", &tally.served),
        ("refusal", &tally.refused),
    ] {
        assert!(of(count) > 0, "not one {what}");
    }
}
