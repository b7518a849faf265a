//! What happens to a host when its objects, its pod or the apiserver come and go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::cluster::{apiserver, eventually, kubectl, pod, shell};
use crate::scene::{Reply, Scene};

#[test]
fn a_secret_created_after_its_tls_is_used() {
    let scene = Scene::new("late-secret");
    scene.route();
    scene.tls(true);
    eventually("the handshake is refused without a certificate", 30, || handshake_refused(scene.fetch(None)));
    scene.server_secret("server");
    // The client authority is missing still: nobody is served, least of all without a certificate.
    sleep(Duration::from_secs(1));
    assert_ne!(scene.fetch(Some("user")).status, 200);
    assert_ne!(scene.fetch(None).status, 200);
    scene.ca_secret("ca");
    scene.serves("user");
    scene.refuses(None);
}

#[test]
fn a_rotated_authority_refuses_the_old_client_and_accepts_the_new() {
    let scene = Scene::mutual("rotated-ca");
    scene.certificates.authority("next");
    scene.certificates.client("successor", "next");
    scene.refuses(Some("successor"));
    scene.ca_secret("next");
    scene.serves("successor");
    scene.refuses(Some("user"));
}

#[test]
fn a_certificate_renewed_under_load_fails_no_request() {
    let scene = Scene::mutual("renewed");
    scene.certificates.server("renewed", "ca", &scene.host);
    let address = format!("{}:9443", pod().ip);
    let stop = AtomicBool::new(false);

    let (fresh, kept) = scope(|threads| {
        let fresh = threads.spawn(|| repeat_until(&stop, || vec![scene.fetch_from(&address, Some("user")).status]));
        let kept = threads.spawn(|| repeat_until(&stop, || on_one_connection(&scene, &address)));
        // Stops the threads also when the renewal panics: the scope waits for them.
        let stopped = StopOnDrop(&stop);
        sleep(Duration::from_secs(2));
        assert_eq!(served_serial(&scene, &address), scene.certificates.serial("server"));
        scene.server_secret("renewed");
        let renewed = scene.certificates.serial("renewed");
        eventually("the new certificate is served", 30, || match served_serial(&scene, &address) {
            serial if serial == renewed => Ok(()),
            serial => Err(serial),
        });
        sleep(Duration::from_secs(2));
        drop(stopped);
        (fresh.join().expect("no panic"), kept.join().expect("no panic"))
    });

    for (what, statuses) in [("new", fresh), ("kept", kept)] {
        assert!(statuses.len() > 20, "{} requests on {what} connections are no load", statuses.len());
        let failed: Vec<_> = statuses.iter().filter(|status| **status != 200).collect();
        assert!(failed.is_empty(), "of {} requests on {what} connections: {failed:?}", statuses.len());
    }
}

#[test]
fn a_deleted_tls_refuses_its_sni() {
    let scene = Scene::mutual("deleted-tls");
    scene.kubectl("delete apisixtls tls").ok();
    eventually("the handshake is refused", 30, || handshake_refused(scene.fetch(Some("user"))));
}

#[test]
fn a_deleted_route_is_not_found() {
    let scene = Scene::mutual("deleted-route");
    scene.kubectl("delete apisixroute route").ok();
    let reply = eventually("the route is gone", 30, || scene.fetch(Some("user")).with_status(404));
    assert_eq!(reply.body.trim(), r#"{"error_msg":"404 Route Not Found"}"#);
}

#[test]
fn a_killed_pod_comes_back_and_serves() {
    let scene = Scene::mutual("killed-pod");
    let killed = pod();
    kubectl(&format!("-n apisix delete pod {} --grace-period=0 --force", killed.name));
    let pod = eventually("another pod", 60, || match pod() {
        pod if pod.name != killed.name => Ok(pod),
        pod => Err(pod.name),
    });
    eventually("the new pod serves", 30, || {
        scene.fetch_from(&format!("{}:9443", pod.ip), Some("user")).with_status(200)
    });
    scene.serves("user");
    scene.refuses(None);
}

#[test]
fn an_apiserver_away_for_a_minute_does_not_stop_the_proxy() {
    let scene = Scene::mutual("away");
    let address = format!("{}:9443", pod().ip);
    scene.certificates.authority("next");
    scene.certificates.client("successor", "next");

    apiserver("stop");
    let back = StartOnDrop;
    let end = Instant::now() + Duration::from_mins(1);
    while Instant::now() < end {
        assert_eq!(scene.fetch_from(&address, Some("user")).status, 200);
        assert_eq!(scene.fetch_from(&address, None).status, 400);
        sleep(Duration::from_millis(500));
    }
    drop(back);

    assert_eq!(scene.fetch_from(&address, Some("user")).status, 200);
    scene.ca_secret("next");
    eventually("a change after it is picked up", 60, || {
        scene.fetch_from(&address, Some("successor")).with_status(200)?;
        scene.fetch_from(&address, Some("user")).with_status(400)
    });
    assert_eq!(address, format!("{}:9443", pod().ip), "the pod was replaced");
}

/// Stops a loop when dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts the apiserver when dropped, also by a failed assertion: the next test needs it.
struct StartOnDrop;

impl Drop for StartOnDrop {
    fn drop(&mut self) {
        apiserver("start");
    }
}

fn repeat_until(stop: &AtomicBool, mut requests: impl FnMut() -> Vec<u16>) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        statuses.extend(requests());
    }
    statuses
}

/// A hundred requests one after the other on one connection.
fn on_one_connection(scene: &Scene, address: &str) -> Vec<u16> {
    let host = &scene.host;
    let curl = "curl -sSk --max-time 30 --cert user.pem --key user.key -o /dev/null -w '%{http_code}\\n'";
    let done = shell(
        scene.certificates.folder(),
        &format!("{curl} --connect-to ::{address} 'https://{host}:9443/ip?[1-100]'"),
    );
    let mut statuses: Vec<u16> = done.stdout.lines().map(|line| line.parse().unwrap_or_default()).collect();
    // A request that did not end is a failed one, whatever was printed before.
    statuses.resize(100, 0);
    statuses
}

/// The serial number of the certificate that a host is served with.
fn served_serial(scene: &Scene, address: &str) -> String {
    let connect = format!("openssl s_client -connect {address} -servername {} </dev/null 2>/dev/null", scene.host);
    shell(scene.certificates.folder(), &format!("{connect} | openssl x509 -noout -serial")).stdout
}

/// curl's 35: the server ended the handshake.
fn handshake_refused(reply: Reply) -> Result<Reply, String> {
    if reply.exit == 35 { Ok(reply) } else { Err(format!("{reply:?}")) }
}
