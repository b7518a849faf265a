//! "Configuring Mutual Authentication via ApisixTls": the guide's own commands, in its order.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::cluster::{Done, alone, eventually, kubectl, pod, shell, try_kubectl};

const ROUTE: &str = r#"# route.yaml
apiVersion: apisix.apache.org/v2beta1
kind: ApisixRoute
metadata:
  name: httpserver-route
spec:
  http:
    - name: httpbin
      match:
        hosts:
          - mtls.httpbin.local
        paths:
          - "/*"
      backend:
        serviceName: httpbin
        servicePort: 80
"#;

const TLS: &str = "# tls.yaml
apiVersion: apisix.apache.org/v1
kind: ApisixTls
metadata:
  name: sample-tls
spec:
  hosts:
    - mtls.httpbin.local
  secret:
    name: server-secret
    namespace: default
";

const MTLS: &str = "# mtls.yaml
apiVersion: apisix.apache.org/v1
kind: ApisixTls
metadata:
  name: sample-tls
spec:
  hosts:
    - mtls.httpbin.local
  secret:
    name: server-secret
    namespace: default
  client:
    caSecret:
      name: client-ca-secret
      namespace: default
    depth: 10
";

const PLAIN_CURL: &str =
    r#"kubectl -n apisix exec -it <APISIX_POD_NAME> -- curl "http://127.0.0.1:9080/ip" -H "Host: mtls.httpbin.local""#;

const CURL: &str = r#"kubectl -n apisix exec -it <APISIX_POD_NAME> -- curl --resolve 'mtls.httpbin.local:9443:127.0.0.1' "https://mtls.httpbin.local:9443/ip" -k"#;

const CURL_WITH_CERTIFICATE: &str = r#"kubectl -n apisix exec -it <APISIX_POD_NAME> -- curl --resolve 'mtls.httpbin.local:9443:127.0.0.1' "https://mtls.httpbin.local:9443/ip" -k --cert /tmp/user.pem --key /tmp/user.key"#;

const ORIGIN: &str = r#"{
  "origin": "127.0.0.1"
}"#;

#[test]
fn the_guide_to_mutual_authentication_works_as_written() {
    let _alone = alone();
    let _leftovers = Leftovers::removed();
    let guide = Guide::new();

    // Deploy httpbin service
    guide.run("kubectl run httpbin --image kennethreitz/httpbin --port 80").ok();
    guide.run("kubectl expose pod httpbin --port 80").ok();

    // Route the traffic
    guide.run("kubectl apply -f route.yaml").ok();
    guide.answers(PLAIN_CURL, ORIGIN);

    // Certificates
    assert_eq!(guide.run("openssl verify -CAfile ./ca.pem ./server.pem").ok().trim(), "./server.pem: OK");
    assert_eq!(guide.run("openssl verify -CAfile ./ca.pem ./user.pem").ok().trim(), "./user.pem: OK");

    // Protect the route using SSL
    guide.run("kubectl apply -f ./mtls/server-secret.yaml -n default").ok();
    guide.run("kubectl apply -f tls.yaml").ok();
    guide.answers(CURL, ORIGIN);

    // Mutual Authentication
    let logged = guide.log().len();
    guide.run("kubectl apply -f ./mtls/client-ca-secret.yaml -n default").ok();
    guide.run("kubectl apply -f mtls.yaml").ok();
    guide.answers(CURL, "400 Bad Request");
    guide.logged_refusal(logged);

    // Transfer client certificate
    guide.run("kubectl -n apisix cp ./user.key <APISIX_POD_NAME>:/tmp/user.key").ok();
    guide.run("kubectl -n apisix cp ./user.pem <APISIX_POD_NAME>:/tmp/user.pem").ok();

    // Test
    guide.answers(CURL_WITH_CERTIFICATE, ORIGIN);
    // And still not without.
    guide.answers(CURL, "400 Bad Request");
}

/// A folder with the files that the guide's commands name, and the pod they go to.
struct Guide {
    folder: TempDir,
    pod: String,
}

impl Guide {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, content) in [("route.yaml", ROUTE), ("tls.yaml", TLS), ("mtls.yaml", MTLS)] {
            fs::write(folder.path().join(name), content).expect("the folder can be written");
        }
        make_certificates(folder.path());
        Self { folder, pod: pod().name }
    }

    fn run(&self, command: &str) -> Done {
        shell(self.folder.path(), &command.replace("<APISIX_POD_NAME>", &self.pod))
    }

    /// Repeats a curl of the guide for as long as what was applied may take to have effect.
    #[track_caller]
    fn answers(&self, curl: &str, wanted: &str) {
        eventually(curl, 60, || match self.run(curl) {
            done if done.code == 0 && done.stdout.contains(wanted) => Ok(()),
            done => Err(format!("{done:?}")),
        });
    }

    /// The pod's log by lines.
    fn log(&self) -> Vec<String> {
        self.run("kubectl -n apisix logs <APISIX_POD_NAME>").ok().lines().map(str::to_owned).collect()
    }

    /// Waits for the guide's two lines after those there were: why it was refused, then the request.
    fn logged_refusal(&self, before: usize) {
        eventually("the refusal is in the log", 15, || {
            let log = self.log();
            let lines = log.get(before..).unwrap_or_default();
            let reason = [
                "client certificate was not present",
                "client: 127.0.0.1",
                r#"request: "GET /ip HTTP/2.0""#,
                r#"host: "mtls.httpbin.local:9443""#,
            ];
            let refused = lines.iter().position(|line| has_in_order(line, &reason));
            let after = &lines[refused.ok_or_else(|| lines.join("\n"))? + 1..];
            if after.iter().any(|line| line.contains(r#""GET /ip HTTP/2.0" 400"#)) {
                Ok(())
            } else {
                Err(lines.join("\n"))
            }
        });
    }
}

/// What the guide leaves in the default namespace.
struct Leftovers;

impl Leftovers {
    fn removed() -> Self {
        let objects = [
            "pod/httpbin service/httpbin secret/server-secret secret/client-ca-secret",
            "apisixroutes.apisix.apache.org/httpserver-route apisixtlses.apisix.apache.org/sample-tls",
        ];
        kubectl(&format!("-n default delete --ignore-not-found --now {}", objects.join(" ")));
        Self
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        // `removed` panics when kubectl fails; here a failed test may be ending already.
        let objects = "pod/httpbin service/httpbin secret/server-secret secret/client-ca-secret";
        try_kubectl(&format!("-n default delete --ignore-not-found --now {objects}"));
        try_kubectl("-n default delete --ignore-not-found apisixroutes.apisix.apache.org/httpserver-route");
        try_kubectl("-n default delete --ignore-not-found apisixtlses.apisix.apache.org/sample-tls");
    }
}

fn has_in_order(line: &str, fragments: &[&str]) -> bool {
    let mut rest = Some(line);
    for fragment in fragments {
        rest = rest.and_then(|rest| rest.split_once(fragment)).map(|(_, after)| after);
    }
    rest.is_some()
}

/// ca.pem, server.pem and user.pem with their keys as people make them: RSA, and a client certificate without
/// extensions, which is X.509 v1. The Secrets have APISIX's own keys.
fn make_certificates(folder: &Path) {
    let script = r"
set -e
openssl genrsa -out ca.key 2048
openssl req -x509 -new -key ca.key -subj '/CN=ROOTCA' -days 3650 -out ca.pem
openssl genrsa -out server.key 2048
openssl req -new -key server.key -subj '/CN=mtls.httpbin.local' |
  openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out server.pem \
    -extfile <(echo subjectAltName=DNS:mtls.httpbin.local)
openssl genrsa -out user.key 2048
openssl req -new -key user.key -subj '/CN=user' |
  openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out user.pem
mkdir mtls
kubectl create secret generic server-secret --from-file=cert=server.pem --from-file=key=server.key \
  --dry-run=client -o yaml >mtls/server-secret.yaml
kubectl create secret generic client-ca-secret --from-file=cert=ca.pem --dry-run=client -o yaml >mtls/client-ca-secret.yaml
";
    shell(folder, script).ok();
}
