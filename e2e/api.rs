//! Our kinds as the apiserver keeps and shows them, and what we may do there.

use serde_json::{Value, json};

use crate::cluster::{self, Done, apply, eventually, kubectl, shell, try_kubectl};
use crate::scene::Scene;

#[test]
fn a_route_written_in_the_first_version_keeps_its_fields_in_the_last() {
    let scene = Scene::new("first-version");
    apply(
        &scene.namespace,
        "apiVersion: apisix.apache.org/v2beta1
kind: ApisixRoute
metadata: {name: old}
spec:
  http:
    - name: all
      match: {hosts: [old.test], paths: ['/*']}
      backend: {serviceName: httpbin, servicePort: 80, resolveGranualrity: service}
",
    );
    let rule = rule(&scene, "v2", "old");
    assert_eq!(rule["backend"], json!({"serviceName": "httpbin", "servicePort": 80, "resolveGranualrity": "service"}));
}

#[test]
fn a_route_written_in_the_last_version_keeps_its_fields_in_the_first() {
    let scene = Scene::new("last-version");
    apply(
        &scene.namespace,
        "apiVersion: apisix.apache.org/v2
kind: ApisixRoute
metadata: {name: new}
spec:
  http:
    - name: all
      match: {hosts: [new.test], paths: ['/*']}
      backends: [{serviceName: httpbin, servicePort: http, resolveGranularity: service, weight: 7}]
",
    );
    let in_first = rule(&scene, "v2beta1", "new");
    assert_eq!(
        in_first["backends"],
        json!([{"serviceName": "httpbin", "servicePort": "http", "resolveGranularity": "service", "weight": 7}])
    );
    // A write in the old version of what was read in it loses nothing either.
    let get = format!("kubectl -n {} get apisixroutes.v2beta1.apisix.apache.org new -o json", scene.namespace);
    let replace = format!("{get} | sed 's/new\\.test/newer.test/' | kubectl replace -f -");
    // Refused when our own status came between reading and writing.
    eventually("the write in the old version", 10, || match shell(scene.certificates.folder(), &replace) {
        Done { code: 0, .. } => Ok(()),
        done => Err(done.stderr),
    });
    let rule = rule(&scene, "v2", "new");
    assert_eq!(rule["match"]["hosts"], json!(["newer.test"]));
    assert_eq!(rule["backends"], in_first["backends"]);
}

#[test]
fn conditions_tell_good_objects_from_broken_ones() {
    let scene = Scene::mutual("conditions");
    for object in ["apisixroute/route", "apisixtls/tls"] {
        for kind in ["Accepted", "ResolvedRefs", "Programmed"] {
            condition(&scene, object, kind, "True");
        }
    }

    // The Secret goes: served with the last good certificate, and status says so.
    scene.kubectl("delete secret server").ok();
    let gone = condition(&scene, "apisixtls/tls", "ResolvedRefs", "False");
    assert_eq!(gone["reason"], "RefNotFound");
    assert!(cluster::text(&gone["message"]).contains("server"), "{gone}");
    scene.server_secret("server");
    condition(&scene, "apisixtls/tls", "ResolvedRefs", "True");

    apply(
        &scene.namespace,
        &format!(
            "apiVersion: apisix.apache.org/v2
kind: ApisixTls
metadata: {{name: broken}}
spec:
  hosts: [broken.test]
  secret: {{name: absent, namespace: {0}}}
---
apiVersion: apisix.apache.org/v2
kind: ApisixRoute
metadata: {{name: broken}}
spec:
  http:
    - name: all
      match: {{hosts: [broken.test], paths: ['/*']}}
      backends: [{{serviceName: nowhere, servicePort: 80}}]
",
            scene.namespace
        ),
    );
    for (object, name) in [("apisixtls/broken", "absent"), ("apisixroute/broken", "nowhere")] {
        let refs = condition(&scene, object, "ResolvedRefs", "False");
        assert_eq!(refs["reason"], "RefNotFound", "{refs}");
        assert!(cluster::text(&refs["message"]).contains(name), "{refs}");
        condition(&scene, object, "Programmed", "False");
    }
}

#[test]
fn printer_columns_show_values() {
    let scene = Scene::mutual("columns");
    let namespace = &scene.namespace;
    for (name, values) in [
        ("/route ", [scene.host.as_str(), "/*", "httpbin", "True"]),
        ("/tls ", [scene.host.as_str(), "server", "ca", "True"]),
    ] {
        eventually("the columns have values", 30, || {
            let shown = kubectl(&format!("-n {namespace} get ar,atls -o wide"));
            let line = shown.lines().find(|line| line.contains(name)).unwrap_or_default();
            let has = |value: &&str| line.split_whitespace().any(|column| column.contains(value));
            if values.iter().all(has) && !line.contains("<none>") { Ok(()) } else { Err(shown) }
        });
    }
}

#[test]
fn a_definition_deleted_and_made_again_heals() {
    let scene = Scene::mutual("definition");
    kubectl("delete crd apisixtlses.apisix.apache.org");
    eventually("the deleted objects are not served", 30, || match scene.fetch(Some("user")) {
        reply if reply.exit == 35 => Ok(()),
        reply => Err(format!("{reply:?}")),
    });
    // What does not need the definition goes on.
    assert!(scene.kubectl("get apisixroute route").code == 0);
    kubectl("apply --server-side --force-conflicts -f crds");
    kubectl("wait --for=condition=Established crd/apisixtlses.apisix.apache.org --timeout=30s");
    eventually("the kind is served again", 30, || match try_kubectl("get apisixtlses -A").code {
        0 => Ok(()),
        code => Err(format!("kubectl ends with {code}")),
    });
    scene.tls(true);
    eventually("the object is served again", 90, || scene.fetch(Some("user")).with_status(200));
    scene.refuses(None);
}

#[test]
fn the_service_account_may_do_what_it_needs_and_no_more() {
    let _alone = cluster::alone();
    let may = |what: &str| {
        try_kubectl(&format!("auth can-i {what} --as system:serviceaccount:apisix:portcullis")).stdout.trim() == "yes"
    };
    for what in [
        "watch apisixroutes.apisix.apache.org -A",
        "patch apisixroutes.apisix.apache.org --subresource=status -A",
        "watch apisixtlses.apisix.apache.org -A",
        "patch apisixtlses.apisix.apache.org --subresource=status -A",
        "get secrets -A",
        "watch configmaps -A",
        "watch endpointslices.discovery.k8s.io -A",
        "create leases.coordination.k8s.io -n apisix",
        "update leases.coordination.k8s.io/portcullis-leader -n apisix",
        "create events.events.k8s.io -A",
    ] {
        assert!(may(what), "it needs to {what}");
    }
    for what in [
        "list pods -A",
        "create pods -n apisix",
        "create pods --subresource=exec -n apisix",
        "create configmaps -A",
        "update configmaps -A",
        "create secrets -A",
        "update secrets -A",
        "patch secrets -A",
        "delete secrets -A",
        "list nodes",
        "update apisixroutes.apisix.apache.org -A",
        "patch apisixtlses.apisix.apache.org -A",
        "delete apisixtlses.apisix.apache.org -A",
        "get leases.coordination.k8s.io/kube-scheduler -n kube-system",
        "update leases.coordination.k8s.io/another -n apisix",
        "create serviceaccounts --subresource=token -A",
        "impersonate users",
        "patch customresourcedefinitions.apiextensions.k8s.io",
    ] {
        assert!(!may(what), "it must not {what}");
    }
}

/// The first rule of a route, read in a version.
fn rule(scene: &Scene, version: &str, name: &str) -> Value {
    let kind = format!("apisixroutes.{version}.apisix.apache.org");
    let route = cluster::json(&format!("-n {} get {kind} {name}", scene.namespace));
    assert_eq!(route["apiVersion"], format!("apisix.apache.org/{version}"));
    route["spec"]["http"][0].clone()
}

/// Waits for a condition's status; it must be complete and about the object's present form.
#[track_caller]
fn condition(scene: &Scene, object: &str, kind: &str, status: &str) -> Value {
    eventually(&format!("{kind} of {object} is {status}"), 30, || {
        let object = cluster::json(&format!("-n {} get {object}", scene.namespace));
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|c| c["type"] == kind).ok_or_else(|| object.to_string())?;
        let complete = ["reason", "message", "lastTransitionTime"]
            .iter()
            .all(|f| found[f].as_str().is_some_and(|v| !v.is_empty()));
        if found["status"] == status && complete && found["observedGeneration"] == object["metadata"]["generation"] {
            Ok(found)
        } else {
            Err(found.to_string())
        }
    })
}
