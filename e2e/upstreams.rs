//! ApisixUpstreams: how requests reach a Service, and nodes that a route reaches by name.

use crate::cluster::{apply, eventually, shell};
use crate::scene::{Reply, Scene, gateway};

/// The host's certificate, and no route yet.
fn scene(name: &str) -> Scene {
    let scene = Scene::new(name);
    scene.server_secret("server");
    scene.tls(false);
    scene
}

/// Gets a path from the host.
fn get(scene: &Scene, path: &str) -> Reply {
    let Scene { host, .. } = scene;
    let target = format!("--connect-to ::{}:443 https://{host}:9443{path}", gateway());
    let done = shell(scene.certificates.folder(), &format!("curl -sSk --max-time 20 -w '\\n%{{http_code}}' {target}"));
    let (body, status) = done.stdout.rsplit_once('\n').unwrap_or_default();
    Reply { body: body.to_owned(), exit: done.code, status: status.parse().unwrap_or_default(), stderr: done.stderr }
}

#[track_caller]
fn answers(scene: &Scene, path: &str, status: u16) -> Reply {
    eventually(&format!("{path} is answered {status}"), 60, || get(scene, path).with_status(status))
}

fn upstream(scene: &Scene, name: &str, spec: &str) {
    let head = "apiVersion: apisix.apache.org/v2\nkind: ApisixUpstream\n";
    apply(&scene.namespace, &format!("{head}metadata: {{name: {name}}}\nspec: {spec}\n"));
}

/// Waits until a condition of an object has a status; gives its reason.
#[track_caller]
fn condition(scene: &Scene, object: &str, kind: &str, status: &str) -> String {
    scene.kubectl(&format!("wait --for=condition={kind}={status} {object} --timeout=60s")).ok();
    let path = format!("jsonpath={{.status.conditions[?(@.type==\"{kind}\")].reason}}");
    scene.kubectl(&format!("get {object} -o {path}")).ok()
}

#[test]
fn an_upstream_says_how_its_service_is_reached() {
    let scene = scene("upstream");
    scene.route();
    answers(&scene, "/delay/3", 200);
    upstream(&scene, "httpbin", "{loadbalancer: {type: least_conn}, retries: 1, timeout: {connect: 1s, read: 1s}}");
    condition(&scene, "apisixupstream/httpbin", "Programmed", "True");
    answers(&scene, "/ip", 200);
    answers(&scene, "/delay/3", 504);
    let port = "{port: 80, loadbalancer: {type: least_conn}, timeout: {read: 30s}, passHost: rewrite, upstreamHost: port.test}";
    upstream(&scene, "httpbin", &format!("{{timeout: {{read: 1s}}, portLevelSettings: [{port}]}}"));
    answers(&scene, "/delay/3", 200);
    let headers = answers(&scene, "/headers", 200).body;
    assert!(headers.contains("\"port.test\""), "{headers}");
    condition(&scene, "apisixupstream/httpbin", "Programmed", "True");
}

#[test]
fn a_route_leads_to_the_external_nodes_of_an_upstream() {
    let scene = scene("external-nodes");
    let name = format!("httpbin.{}.svc.cluster.local", scene.namespace);
    let alias = |name: &str| {
        apply(
            &scene.namespace,
            &format!(
                "apiVersion: v1
kind: Service
metadata: {{name: alias}}
spec: {{type: ExternalName, externalName: {name}}}
"
            ),
        );
    };
    alias(&name);
    upstream(&scene, "outside", "{passHost: node, externalNodes: [{type: Service, name: alias, port: 80, weight: 1}]}");
    apply(
        &scene.namespace,
        &format!(
            "apiVersion: apisix.apache.org/v2
kind: ApisixRoute
metadata: {{name: route}}
spec:
  http:
    - name: all
      match: {{hosts: [{}], paths: ['/*']}}
      upstreams: [{{name: outside}}]
",
            scene.host
        ),
    );
    let headers = answers(&scene, "/headers", 200).body;
    assert!(headers.contains(&name), "passHost node: {headers}");
    for object in ["apisixroute/route", "apisixupstream/outside"] {
        condition(&scene, object, "Programmed", "True");
    }
    // A name of the zone that has none (RFC 6761 section 6.4).
    alias("nowhere.invalid.");
    answers(&scene, "/ip", 503);
    assert_eq!(condition(&scene, "apisixupstream/outside", "ResolvedRefs", "False"), "NotResolved");
    condition(&scene, "apisixroute/route", "ResolvedRefs", "False");
    alias(&name);
    answers(&scene, "/ip", 200);
    condition(&scene, "apisixupstream/outside", "ResolvedRefs", "True");
    scene.kubectl("delete apisixupstream outside").ok();
    answers(&scene, "/ip", 503);
    assert_eq!(condition(&scene, "apisixroute/route", "ResolvedRefs", "False"), "RefNotFound");
}
