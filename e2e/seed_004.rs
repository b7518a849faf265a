//! "mTLS everywhere": the document's own commands and manifests, in its order. All certificates come from cert-manager;
//! clients, the Admin API, etcd, the gateway and its upstream prove to each other who they are.
//!
//! What the document leaves out is in `seed_004/omitted.yaml`, and the SSL object of its last request is made here.

use std::fs;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::cluster::{Done, alone, charts, eventually, exec, json, shell, text, try_kubectl, zsh};

const INSTALL: &str = r"helm install \
  cert-manager jetstack/cert-manager \
  --namespace cert-manager \                       #2
  --create-namespace \                             #2
  --version v1.11.0 \
  --set installCRDs=true \
  --set prometheus.enabled=false                   #3";

const LIST: &str = r"curl --resolve 'admin:32180:127.0.0.1' https://admin:32180/apisix/admin/routes \                     #1
     --cert =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.tls\.crt }' | base64 -d) \  #2
     --key =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.tls\.key }' | base64 -d) \   #2
     --cacert =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.ca\.crt }' | base64 -d) \ #2
     -H 'X-API-KEY: edd1c9f034335f136f87ad84b625c8f1'";

const PUT: &str = r#"curl --resolve 'admin:32180:127.0.0.1' https://admin:32180/apisix/admin/routes/1 \
     --cert =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.tls\.crt }' | base64 -d) \     #1
     --key =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.tls\.key }' | base64 -d) \      #1
     --cacert =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.ca\.crt }' | base64 -d) \    #1
     -H 'X-API-KEY: edd1c9f034335f136f87ad84b625c8f1' -X PUT -i -d "{
        \"uri\": \"/\",
        \"upstream\": {
          \"scheme\": \"https\",                                                                        #2
          \"nodes\": {
            \"upstream:443\": 1
          },
          \"tls\": {
            \"client_cert\": \"$(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.tls\.crt }' | base64 -d)\", #3
            \"client_key\": \"$(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.tls\.key }' | base64 -d)\"   #3
          }
        }
     }""#;

const GET: &str = r"curl --resolve 'upstream:32443:127.0.0.1' https://upstream:32443/ \
     --cert =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.tls\.crt }' | base64 -d) \
     --key =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.tls\.key }' | base64 -d) \
     --cacert =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.ca\.crt }' | base64 -d)";

/// The SSL object that the document does not show: its host's certificate, and who may be a client.
const PUT_SSL: &str = r#"curl --resolve 'admin:32180:127.0.0.1' https://admin:32180/apisix/admin/ssls/1 \
     --cert =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.tls\.crt }' | base64 -d) \
     --key =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.tls\.key }' | base64 -d) \
     --cacert =(kubectl get secret curl-secret -n tls -o jsonpath='{ .data.ca\.crt }' | base64 -d) \
     -H 'X-API-KEY: edd1c9f034335f136f87ad84b625c8f1' -X PUT -i -d "{
        \"sni\": \"upstream\",
        \"cert\": \"$(kubectl get secret upstream-secret -n tls -o jsonpath='{ .data.tls\.crt }' | base64 -d)\",
        \"key\": \"$(kubectl get secret upstream-secret -n tls -o jsonpath='{ .data.tls\.key }' | base64 -d)\",
        \"client\": {
          \"ca\": \"$(kubectl get secret root-secret -n tls -o jsonpath='{ .data.tls\.crt }' | base64 -d)\"
        }
     }""#;

#[test]
fn the_post_on_mutual_tls_everywhere_works_as_written() {
    let _alone = alone();
    let post = Post::new();

    // Generating certificates with cert-manager
    // `helm repo add` is left out: the chart is in the folder that stands for the repository.
    zsh(&charts(), &without_callouts(INSTALL)).ok();
    let pods = post.run("kubectl get pods -n cert-manager").ok();
    for name in ["cert-manager-cainjector-", "cert-manager-webhook-", "cert-manager-"] {
        assert!(pods.lines().any(|line| line.starts_with(name) && line.contains("Running")), "{pods}");
    }
    post.applies("issuers.yaml");
    post.shows("kubectl get certificate -n tls", &["selfsigned-ca   True    root-secret"]);

    // Quick overview of a sample Apache APISIX architecture
    post.applies("certificates.yaml");
    let ready = [
        "selfsigned-ca   True    root-secret",
        "apisix-client   True    apisix-client-secret",
        "etcd-server     True    etcd-secret",
    ];
    post.shows("kubectl get certificates -n tls", &ready);

    // cert-manager's Certificates
    post.shows(
        "kubectl get secrets -n tls",
        &[
            "apisix-client-secret   kubernetes.io/tls   3",
            "etcd-secret            kubernetes.io/tls   3",
            "root-secret            kubernetes.io/tls   3",
        ],
    );
    // The document forgets to say of which kind it is.
    let secret = post.run("kubectl describe secret apisix-client-secret -n tls").ok();
    assert!(["ca.crt:", "tls.crt:", "tls.key:"].iter().all(|key| secret.contains(key)), "{secret}");
    post.run(r"kubectl get secret etcd-secret -n tls -o jsonpath='{ .data.tls\.crt }' | base64").ok();

    // Configuring mTLS between etcd and APISIX
    post.applies("omitted.yaml");
    post.applies("etcd.yaml");
    post.applies("apisix.yaml");
    post.shows("kubectl get pods -n tls", &["apisix   1/1     Running", "etcd     1/1     Running"]);

    // Client access
    post.applies("client.yaml");
    let _admin = Port::forwarded(32180);
    eventually(LIST, 90, || {
        let answer = post.run(LIST);
        // Members of an object have no order.
        let same = serde_json::from_str(&answer.stdout).ok() == Some(serde_json::json!({"total": 0, "list": []}));
        if same { Ok(()) } else { Err(format!("{answer:?}")) }
    });

    // TLS with upstreams
    post.applies("upstream.yaml");
    post.shows("kubectl get pods -n tls", &["upstream   1/1     Running"]);
    post.answers(PUT, " 201");
    post.answers(PUT_SSL, " 201");
    let _gateway = Port::forwarded(32443);
    post.answers(GET, r#"{ "hello": "world" }"#);

    // Without a certificate nobody gets further, neither at the Admin API nor at the gateway.
    for (host, port) in [("admin", 32180), ("upstream", 32443)] {
        let connect = format!("--resolve '{host}:{port}:127.0.0.1' https://{host}:{port}/");
        let done = post.run(&format!("curl -ks -o answer -w '%{{http_code}}' {connect}"));
        assert_eq!(done.stdout, "400", "{host}: {done:?}");
    }

    every_certificate_is_renewed_under_traffic(&post);
}

/// "We won't handle certificates rotation", says the document. Here cert-manager renews each certificate while clients ask
/// the gateway and the Admin API, and no request fails.
fn every_certificate_is_renewed_under_traffic(post: &Post) {
    post.client_files();
    let [gateway, admin] =
        [Flow::start(post, "upstream:32443/?[1-20]"), Flow::start(post, "admin:32180/apisix/admin/routes/1?[1-20]")];
    for (certificate, secret) in [
        ("selfsigned-ca", "root-secret"),
        ("etcd-server", "etcd-secret"),
        ("apisix-client", "apisix-client-secret"),
        ("apisix-server", "apisix-server-secret"),
        ("curl-client", "curl-secret"),
        ("upstream-server", "upstream-secret"),
    ] {
        post.renews(secret, &format!("../cert-manager/ctl renew {certificate} -n tls"));
    }
    // With keys of their own too: cert-manager keeps a key as long as it has it.
    for secret in ["apisix-client-secret", "apisix-server-secret"] {
        post.renews(secret, &format!("kubectl delete secret {secret} -n tls"));
    }
    // The certificate of the Admin API is a file in the pod: the new one is served without a restart, and so is etcd's.
    let etcd = text(&json("-n tls get service etcd")["spec"]["clusterIP"]);
    for (address, secret) in [("127.0.0.1:32180", "apisix-server-secret"), (&format!("{etcd}:2379"), "etcd-secret")] {
        eventually(&format!("the new certificate is served at {address}"), 150, || {
            match (post.served(address, "admin"), post.serial(secret)) {
                (served, stored) if served == stored => Ok(()),
                (served, stored) => Err(format!("{served}, not {stored}")),
            }
        });
    }
    // The host's own is an object: whoever renews it writes it, as once before.
    post.answers(PUT_SSL, " 200");
    eventually("the host's new certificate is served", 30, || {
        match (post.served("127.0.0.1:32443", "upstream"), post.serial("upstream-secret")) {
            (served, stored) if served == stored => Ok(()),
            (served, stored) => Err(format!("{served}, not {stored}")),
        }
    });
    // The client's new certificate and the gateway's toward etcd do: a write reaches etcd and the gateway.
    post.answers(PUT, " 200");
    post.answers(GET, r#"{ "hello": "world" }"#);
    for flow in [gateway, admin] {
        flow.end();
    }
}

/// A folder, and what the document leaves in the cluster: it goes away with the value.
struct Post {
    folder: TempDir,
}

impl Post {
    fn new() -> Self {
        let post = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        post.clean();
        post
    }

    fn clean(&self) {
        self.run("helm uninstall --ignore-not-found --wait --timeout 100s cert-manager -n cert-manager");
        try_kubectl("delete namespace tls cert-manager --ignore-not-found --timeout=120s");
    }

    /// Runs a command of the document in its author's shell.
    fn run(&self, command: &str) -> Done {
        zsh(self.folder.path(), &without_callouts(command))
    }

    /// Applies one of its manifests.
    #[track_caller]
    fn applies(&self, manifest: &str) {
        let manifest = format!("{}/e2e/seed_004/{manifest}", env!("CARGO_MANIFEST_DIR"));
        self.run(&format!("kubectl apply -f {manifest}")).ok();
    }

    /// Repeats a curl for as long as what was applied before may take to have effect.
    #[track_caller]
    fn answers(&self, curl: &str, wanted: &str) {
        eventually(curl, 90, || match self.run(curl) {
            done if done.code == 0 && done.stdout.contains(wanted) => Ok(()),
            done => Err(format!("{done:?}")),
        });
    }

    /// Repeats a command until its output has lines that begin so, apart from the width of the columns.
    #[track_caller]
    fn shows(&self, command: &str, wanted: &[&str]) {
        let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        eventually(command, 120, || {
            let shown = self.run(command).ok();
            let has = |wanted: &&str| shown.lines().any(|line| columns(line).starts_with(&columns(wanted)));
            if wanted.iter().all(has) { Ok(()) } else { Err(shown) }
        });
    }

    /// The client's certificate and key and its authority as files.
    fn client_files(&self) {
        for (entry, file) in [(r"tls\.crt", "client.pem"), (r"tls\.key", "client.key"), (r"ca\.crt", "ca.pem")] {
            let get = format!("kubectl get secret curl-secret -n tls -o jsonpath='{{ .data.{entry} }}'");
            self.run(&format!("{get} | base64 -d >{file}")).ok();
        }
    }

    /// Runs a command after which cert-manager makes a Secret's certificate anew, and waits for that.
    #[track_caller]
    fn renews(&self, secret: &str, command: &str) {
        let before = self.serial(secret);
        shell(&charts(), command).ok();
        eventually(&format!("{secret} has a new certificate"), 60, || match self.serial(secret) {
            serial if serial.starts_with("serial=") && serial != before => Ok(()),
            other => Err(other),
        });
    }

    /// The serial number of the certificate in a Secret, or why there is none.
    fn serial(&self, secret: &str) -> String {
        let get = format!(r"kubectl get secret {secret} -n tls -o jsonpath='{{ .data.tls\.crt }}' | base64 -d");
        let done = self.run(&format!("{get} | openssl x509 -noout -serial"));
        if done.code == 0 { done.stdout } else { done.stderr }
    }

    /// The serial number of the certificate that a server presents, or why there is none.
    fn served(&self, address: &str, name: &str) -> String {
        let connect =
            format!("openssl s_client -connect {address} -servername {name} -cert client.pem -key client.key");
        let done = self.run(&format!("{connect} </dev/null 2>/dev/null | openssl x509 -noout -serial"));
        if done.code == 0 { done.stdout } else { done.stderr }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for what in
                ["get pods,certificates,events -n tls", "logs apisix -n tls --tail=60", "logs etcd -n tls --tail=20"]
            {
                println!("{}", try_kubectl(what).stdout);
            }
        }
        self.clean();
    }
}

/// A port of the node that answers on loopback, as a desktop's cluster has it; kube-proxy with nftables serves the node's
/// own address alone.
struct Port(Child);

impl Port {
    fn forwarded(port: u16) -> Self {
        let listen = format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=128");
        let mut command = exec(&["socat", &listen, &format!("TCP:10.200.0.2:{port}")]);
        Self(command.stdin(Stdio::null()).spawn().expect("socat runs"))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Requests one after another, twenty on a connection, until it is ended.
struct Flow<'a> {
    loops: Child,
    log: String,
    post: &'a Post,
}

impl<'a> Flow<'a> {
    fn start(post: &'a Post, target: &str) -> Self {
        let (host, _) = target.split_once('/').expect("a target has a path");
        let log = format!("{}.log", host.replace(':', "-"));
        let curl = format!(
            "curl -s --max-time 60 --resolve {host}:127.0.0.1 --cert client.pem --key client.key --cacert ca.pem \
             -H 'X-API-KEY: edd1c9f034335f136f87ad84b625c8f1' -w '%{{stderr}}%{{http_code}} %{{errormsg}}\\n' 'https://{target}'"
        );
        let script = format!("while [ ! -e stop ]; do {curl} >/dev/null 2>>{log}; sleep 0.1; done");
        let mut command: Command = exec(&["bash", "-c", &script]);
        let loops = command.current_dir(post.folder.path()).stdin(Stdio::null()).spawn().expect("bash runs");
        let flow = Self { loops, log, post };
        eventually("requests flow", 30, || flow.check(20));
        flow
    }

    /// What it got so far, which must be successes and at least so many.
    fn check(&self, least: usize) -> Result<(), String> {
        let log = fs::read_to_string(self.post.folder.path().join(&self.log)).unwrap_or_default();
        let failed: Vec<_> = log.lines().filter(|line| line.trim() != "200").collect();
        assert!(failed.is_empty(), "{}: {failed:?}", self.log);
        if log.lines().count() >= least { Ok(()) } else { Err(log) }
    }

    fn end(mut self) {
        fs::write(self.post.folder.path().join("stop"), "").expect("the folder can be written");
        let status = self.loops.wait().expect("the loop ends");
        assert!(status.success(), "{status}");
        self.check(100).expect("enough requests");
    }
}

impl Drop for Flow<'_> {
    fn drop(&mut self) {
        let _ = self.loops.kill();
        let _ = self.loops.wait();
    }
}

/// The text without the numbers that refer to remarks below it.
fn without_callouts(text: &str) -> String {
    let line = |line: &str| match line.rsplit_once(" #") {
        Some((before, number)) if number.chars().all(|c| c.is_ascii_digit()) => before.trim_end().to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
