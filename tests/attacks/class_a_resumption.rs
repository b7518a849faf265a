//! Class A: a session of one host is tried on another (nginx CVE-2025-23419, Apache CVE-2025-23048).

use std::fs;
use std::sync::Arc;

use rustls::HandshakeKind;
use tempfile::tempdir;

use crate::attacker::{Attacker, ways};
use crate::objects::{client_tls, tls, trusts};
use crate::pki::PKI;
use crate::s_client::{get, s_client};
use crate::sessions::Stolen;
use crate::stage::Stage;

async fn stage() -> Stage {
    Stage::new([
        tls("open", &["open.test"]),
        client_tls("one", &["one.test", "twin.test", "*.wild.test"], trusts("clients")),
        client_tls("two", &["two.test"], trusts("others")),
    ])
    .await
}

#[tokio::test]
async fn class_a_a_session_is_resumed_by_no_other_host() {
    let stage = stage().await;
    let good = PKI.clients.client();
    for (version, alpn) in ways() {
        for (from, to, expected) in [
            ("open.test", "one.test", 400),
            ("one.test", "two.test", 400),
            ("one.test", "twin.test", 400), // equal policies: the session still belongs to one name
            ("a.wild.test", "b.wild.test", 400),
            ("a.wild.test", "one.test", 400),
            ("one.test", "open.test", 200),
        ] {
            let sessions = Arc::new(Stolen::default());
            let attacker = Attacker::resuming(version, alpn, Some(&good), sessions.resumption());
            let mut first = attacker.connect(stage.https, from).await;
            assert_eq!(first.connection.status(from, "/").await, Some(200), "{version:?} {alpn} {from}");
            assert!(!sessions.is_empty(), "{version:?}: nothing to resume, so the test shows nothing");
            attacker.hide_certificate();
            let before = stage.passed();
            let mut session = attacker.connect(stage.https, to).await;
            assert_ne!(session.kind, HandshakeKind::Resumed, "{version:?} {alpn} {from} -> {to}");
            assert_eq!(session.connection.status(to, "/").await, Some(expected), "{version:?} {alpn} {from} -> {to}");
            assert_eq!(stage.passed() - before, usize::from(expected == 200));
        }
    }
}

#[tokio::test]
async fn class_a_a_resumed_connection_reaches_no_host_of_another_policy() {
    let stage = stage().await;
    let good = PKI.clients.client();
    for (version, alpn) in ways() {
        for (from, to) in [("open.test", "one.test"), ("one.test", "two.test"), ("one.test", "open.test")] {
            let sessions = Arc::new(Stolen::default());
            let attacker = Attacker::resuming(version, alpn, Some(&good), sessions.resumption());
            attacker.connect(stage.https, from).await.connection.get(from, "/").await;
            attacker.hide_certificate();
            let before = stage.passed();
            let mut session = attacker.connect(stage.https, from).await;
            assert_eq!(session.kind, HandshakeKind::Resumed);
            assert_eq!(session.connection.status(to, "/").await, Some(421), "{version:?} {alpn} {from} -> {to}");
            assert_eq!(stage.passed(), before);
        }
    }
}

#[tokio::test]
async fn class_a_openssl_cannot_replay_a_saved_session_on_another_host() {
    let stage = stage().await;
    let folder = tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cert, key, session) = (file("cert"), file("key"), file("session"));
    let good = PKI.clients.client();
    fs::write(&cert, &good.pem).unwrap();
    fs::write(&key, good.key.serialize_pem()).unwrap();
    for (version, more) in [("-tls1_2", None), ("-tls1_2", Some("-no_ticket")), ("-tls1_3", None)] {
        for (from, to) in [("open.test", "one.test"), ("one.test", "two.test"), ("one.test", "twin.test")] {
            let saved = [version, "-servername", from, "-cert", &cert, "-key", &key, "-sess_out", &session];
            let arguments: Vec<_> = saved.into_iter().chain(more).collect();
            let output = s_client(stage.https, &arguments, &get(from)).await;
            assert!(output.contains("HTTP/1.1 200"), "{output}");

            let replay = |sni| [version, "-servername", sni, "-sess_in", &session].into_iter().chain(more);
            let before = stage.passed();
            let output = s_client(stage.https, &replay(to).collect::<Vec<_>>(), &get(to)).await;
            assert!(output.contains("HTTP/1.1 400"), "{version} {more:?} {from} -> {to}: {output}");
            assert!(!output.contains("Reused, "), "{version} {more:?} {from} -> {to}: {output}");
            assert_eq!(stage.passed(), before);

            // The same session where it belongs: by ticket it is resumed; a session id alone never is.
            let output = s_client(stage.https, &replay(from).collect::<Vec<_>>(), &get(from)).await;
            assert_eq!(output.contains("Reused, "), more.is_none(), "{version} {more:?} {from}: {output}");
            let expected = if more.is_none() || from == "open.test" { "HTTP/1.1 200" } else { "HTTP/1.1 400" };
            assert!(output.contains(expected), "{version} {more:?} {from}: {output}");
        }
    }
}
