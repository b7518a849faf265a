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

/// What may stand beside `caSecret` in `spec.client`, and what the API server says about what may not.
const CLIENTS: &[(&str, &str)] = &[
    ("mode: Observe", ""),
    ("mode: observe", "spec.client.mode: Unsupported value"),
    ("clients: 1", "unknown field"),
    ("depth: 3, skip_mtls_uri_regex: ['^/a$']", ""),
    ("caCertificateRefs: [{name: a}, {kind: ConfigMap, name: b, namespace: c, key: d.pem}]", ""),
    ("caCertificateRefs: []", "spec.client.caCertificateRefs"),
    ("caCertificateRefs: [{kind: Pod, name: a}]", "spec.client.caCertificateRefs[0].kind"),
    ("failure: {type: Alert}", ""),
    ("failure: {type: Alert, statusCode: 403}", "with type Alert the handshake fails"),
    ("failure: {type: Alert}, skip_mtls_uri_regex: [/a]", "skip_mtls_uri_regex needs failure type Http"),
    ("failure: {problem: true, statusCode: 403}", ""),
    ("failure: {body: none, contentType: text/html}", ""),
    ("failure: {contentType: text/html}", "contentType needs body"),
    ("failure: {body: a, problem: true}", "body, problem and redirect exclude each other"),
    ("failure: {redirect: 'https://a.example/', statusCode: 307}", ""),
    ("failure: {redirect: /, statusCode: 403}", "statusCode is 301, 302, 303, 307 or 308"),
    ("failure: {statusCode: 302}", "statusCode is 301, 302, 303, 307 or 308"),
    ("failure: {redirect: 'javascript:1'}", "spec.client.failure.redirect"),
    ("forward: {clientCert: true, headers: [{name: x-a, value: Subject}]}", ""),
    ("forward: {headers: [{name: 'x a', value: Subject}]}", "spec.client.forward.headers[0].name"),
    ("forward: {headers: [{name: x-a, value: Cert}]}", "spec.client.forward.headers[0].value"),
    ("identities: [{dns: [{exact: a}], ip: [10.0.0.0/8, '::1']}, {spiffe: [{prefix: 'spiffe://a/'}]}]", ""),
    ("identities: []", "spec.client.identities"),
    ("identities: [{}]", "spec.client.identities[0]"),
    ("identities: [{dns: [{}]}]", "spec.client.identities[0].dns[0]"),
    ("identities: [{dns: [{exact: a, regex: b}]}]", "spec.client.identities[0].dns[0]"),
    ("identities: [{publicKeySha256: [q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=]}]", ""),
    ("identities: [{publicKeySha256: [abcd]}]", "spec.client.identities[0].publicKeySha256[0]"),
    ("revocation: {crlRefs: [{name: a}], scope: Leaf, unknown: Allow}", ""),
    ("revocation: {scope: Leaf}", "spec.client.revocation.crlRefs: Required value"),
];

#[test]
fn the_schema_takes_what_is_served_and_refuses_what_contradicts_itself() {
    let scene = Scene::new("schema");
    let admit = |client: &str, more: &str| {
        let object = format!(
            "apiVersion: apisix.apache.org/v2
kind: ApisixTls
metadata: {{name: t, namespace: {}}}
spec: {{hosts: [a.test], secret: {{name: s, namespace: ns}}{client}{more}}}
",
            scene.namespace
        );
        let command = format!("kubectl apply --dry-run=server --validate=strict -f - <<'END'\n{object}END");
        shell(scene.certificates.folder(), &command)
    };
    for (client, refusal) in CLIENTS {
        let done = admit(&format!(", client: {{caSecret: {{name: ca, namespace: ns}}, {client}}}"), "");
        if refusal.is_empty() {
            assert_eq!(done.code, 0, "{client}: {}", done.stderr);
        } else {
            assert!(done.code != 0 && done.stderr.contains(refusal), "{client}: {}", done.stderr);
        }
    }
    let without = admit(", client: {depth: 1}", "");
    assert!(without.stderr.contains("caSecret or caCertificateRefs is required"), "{}", without.stderr);
    let more = ", additionalSecrets: [{name: r, namespace: ns}], tls: {minVersion: TLSv1.3, alpn: [h2]}";
    assert_eq!(admit("", more).code, 0, "{}", admit("", more).stderr);
    let above = admit("", ", tls: {minVersion: TLSv1.3, maxVersion: TLSv1.2}");
    assert!(above.stderr.contains("minVersion is above maxVersion"), "{}", above.stderr);
    let unknown = admit("", ", tls: {alpn: [h3]}");
    assert!(unknown.stderr.contains("spec.tls.alpn[0]"), "{}", unknown.stderr);
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
