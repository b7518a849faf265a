//! Two pods: both serve, one of them writes status.

use crate::cluster::{Pod, eventually, install, json, kubectl, pods};
use crate::scene::Scene;

#[test]
fn two_replicas_serve_and_one_of_them_writes_status() {
    let scene = Scene::mutual("replicas");
    install(2);
    let _one_again = OneAgain;
    let both = pods();
    assert_eq!(both.len(), 2);
    for pod in &both {
        enforces(&scene, pod);
    }

    let first = leader(None);
    observed(&scene);
    kubectl(&format!("-n apisix delete pod {} --wait=false", first.name));
    // The other one or the deleted one's successor: whoever asks first.
    let second = leader(Some(&first));
    // A change that only a leader can acknowledge.
    scene.kubectl("patch apisixtls tls --type=merge -p {\"spec\":{\"client\":{\"depth\":3}}}").ok();
    observed(&scene);
    enforces(&scene, &second);
}

/// One replica again when dropped, for the tests that come after.
struct OneAgain;

impl Drop for OneAgain {
    fn drop(&mut self) {
        install(1);
    }
}

/// Waits until a pod serves the client, and refuses who has no certificate.
fn enforces(scene: &Scene, pod: &Pod) {
    let address = format!("{}:9443", pod.ip);
    eventually("the pod serves", 30, || {
        scene.fetch_from(&address, Some("user")).with_status(200)?;
        scene.fetch_from(&address, None).with_status(400)
    });
}

/// The pod that holds the Lease, when the one before has lost it.
fn leader(before: Option<&Pod>) -> Pod {
    eventually("one of the pods leads", 60, || {
        let lease = json("-n apisix get lease portcullis-leader");
        // Nobody, for a moment, when the leader gave it back.
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        if before.is_some_and(|before| holder.contains(&before.name)) {
            return Err(format!("still {holder}"));
        }
        let pods = pods();
        let leader = pods.iter().find(|pod| holder.contains(&pod.name));
        leader.cloned().ok_or_else(|| format!("{holder} is none of {pods:?}"))
    })
}

/// Waits until the status of the route and of the certificate is about their present form.
fn observed(scene: &Scene) {
    for object in ["apisixroute/route", "apisixtls/tls"] {
        eventually("status is up to date", 60, || {
            let object = json(&format!("-n {} get {object}", scene.namespace));
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let current = |c: &serde_json::Value| c["observedGeneration"] == object["metadata"]["generation"];
            if !conditions.is_empty() && conditions.iter().all(current) { Ok(()) } else { Err(object.to_string()) }
        });
    }
}
