//! "Mutual TLS Authentication": the Admin API, etcd, routes and upstreams of the document, with its configuration files, its
//! requests and its scripts. Their indentation, which the document has lost, is restored; `/data/certs` is a folder here.

use serde_json::json;

use crate::machine::{Machine, eventually, nginx};

const ADMIN_CONFIG: &str = r#"deployment:
  admin:
    admin_listen:
      ip: 127.0.0.1
      port: 9180
    https_admin: true

    admin_api_mtls:
      admin_ssl_ca_cert: "/data/certs/mtls_ca.crt" # Path of your self-signed ca cert.
      admin_ssl_cert: "/data/certs/mtls_server.crt" # Path of your self-signed server side cert.
      admin_ssl_cert_key: "/data/certs/mtls_server.key" # Path of your self-signed server side key.
"#;

const ADMIN_CURL: &str = "curl --cacert /data/certs/mtls_ca.crt --key /data/certs/mtls_client.key --cert /data/certs/mtls_client.crt  https://admin.apisix.dev:9180/apisix/admin/routes -H 'X-API-KEY: edd1c9f034335f136f87ad84b625c8f1'";

/// The document's two pieces, and the address, which it leaves to the default although that is no HTTPS address.
const ETCD_CONFIG: &str = r#"deployment:
  role: traditional
  role_traditional:
    config_provider: etcd
  etcd:
    host: ["https://127.0.0.1:2379"]
    tls:
      cert: /data/certs/etcd_client.pem # path of certificate used by the etcd client
      key: /data/certs/etcd_client.key # path of key used by the etcd client
apisix:
  ssl:
    ssl_trusted_certificate: /path/to/certs/ca-certificates.crt # path of CA certificate used by the etcd server
"#;

/// Functions to make certificates with: `authority NAME`, `issue NAME AUTHORITY EXTENSION`.
const SIGN: &str = r"
set -e
new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
authority() { openssl req -x509 $new -keyout $1.key -out $1.pem -days 2 -subj /CN=$1; }
issue() {
  openssl req $new -keyout $1.key -subj /CN=$1 |
    openssl x509 -req -CA $2.pem -CAkey $2.key -CAcreateserial -days 2 -out $1.pem -extfile <(echo $3)
}
";

#[test]
fn the_admin_api_is_protected_as_written() {
    let machine = Machine::new();
    let certs =
        "mkdir certs; cd certs; authority mtls_ca; issue mtls_server mtls_ca subjectAltName=DNS:admin.apisix.dev
        issue mtls_client mtls_ca extendedKeyUsage=clientAuth; authority stranger
        for name in mtls_ca mtls_server mtls_client; do mv $name.pem $name.crt; done";
    machine.run(&format!("{SIGN}\n{}", certs.replace("; issue", "\nissue"))).ok();
    machine.write("conf/config.yaml", &placed(&machine, ADMIN_CONFIG));
    let _gateway = machine.start_portcullis();

    // How client calls. `admin.apisix.dev` is no name in DNS.
    let curl = placed(&machine, ADMIN_CURL).replace("curl ", "curl --resolve admin.apisix.dev:9180:127.0.0.1 ");
    eventually(&curl, || {
        let answer = machine.run(&curl);
        // Members of an object have no order.
        if serde_json::from_str(&answer.stdout).ok() == Some(json!({"total": 0, "list": []})) {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    });
    let own = "--key FOLDER/certs/mtls_client.key --cert FOLDER/certs/mtls_client.crt ";
    let own = own.replace("FOLDER", machine.folder().to_str().unwrap());
    assert!(curl.contains(&own));
    for (why, other) in [
        ("no certificate", curl.replace(&own, "")),
        ("a stranger's", curl.replace(&own, "--key certs/stranger.key --cert certs/stranger.pem ")),
        ("no TLS", curl.replace("https://", "http://")),
    ] {
        let refused = machine.run(&other);
        assert!(!refused.stdout.contains("total"), "{why}: {refused:?}");
    }
    // A key is asked for as well.
    machine.run(&curl.replace("edd1c9", "edd1c8")).says("failed to check token").unwrap();
}

#[test]
fn etcd_with_mutual_tls_is_used_as_written() {
    let machine = Machine::new();
    let certs = format!(
        "{SIGN}
        mkdir -p certs; cd certs; authority etcd_ca
        issue etcd etcd_ca subjectAltName=IP:127.0.0.1
        issue etcd_client etcd_ca extendedKeyUsage=clientAuth"
    );
    machine.run(&certs).ok();
    machine.write("conf/config.yaml", &placed(&machine, ETCD_CONFIG));
    let etcd = start_etcd(&machine);
    let gateway = machine.start_portcullis();

    let upstream = json!({"nodes": {"127.0.0.1:1980": 1}});
    let route = json!({"uri": "/hello", "upstream": upstream});
    let put = |path: &str| match machine.admin("PUT", path, &route) {
        (200 | 201, _) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually("etcd takes a route", || put("/routes/1"));
    // It is where APISIX would look for it.
    let range = r#"curl -sS --cacert certs/etcd_ca.pem --cert certs/etcd_client.pem --key certs/etcd_client.key https://127.0.0.1:2379/v3/kv/range -d "{\"key\": \"$(printf /apisix/routes/1 | base64)\"}""#;
    let stored = machine.run(&format!("{range} | python3 -c 'import base64, json, sys; print(base64.b64decode(json.load(sys.stdin)[\"kvs\"][0][\"value\"]).decode())'")).ok();
    let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
    assert_eq!((&stored["uri"], &stored["id"]), (&json!("/hello"), &json!("1")));
    // And it is there still for the next process.
    drop(gateway);
    let _gateway = machine.start_portcullis();
    eventually("the route is read", || match machine.admin("GET", "/routes/1", &json!({})) {
        (200, answer) if answer["value"]["uri"] == "/hello" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    machine.answers("curl -s -w '%{http_code}' http://127.0.0.1:9080/hello", "502");

    // New authorities and certificates on both sides: the gateway reads its files again when it connects again.
    etcd.kill();
    machine.run(&certs).ok();
    let _etcd = start_etcd(&machine);
    eventually("etcd takes a route with new certificates", || put("/routes/2"));
}

#[test]
fn the_scripts_protect_a_route_and_an_upstream_as_written() {
    let machine = Machine::new();
    // The client's chain: its own certificate, then ten authorities below the one that is trusted.
    let certs = "authority client_ca; authority stranger
        issue server client_ca subjectAltName=DNS:mtls.test.com
        above=client_ca
        for number in 1 2 3 4 5 6 7 8 9 10 11; do
          issue ca$number $above basicConstraints=critical,CA:true; above=ca$number
        done
        issue short ca10 extendedKeyUsage=clientAuth; issue long ca11 extendedKeyUsage=clientAuth
        cat short.pem ca{10,9,8,7,6,5,4,3,2,1}.pem >client.pem; cp short.key client.key
        cat long.pem ca{11,10,9,8,7,6,5,4,3,2,1}.pem >longer.pem; cp long.key longer.key";
    machine.run(&format!("{SIGN}\n{certs}")).ok();
    for (name, script) in [
        ("create-ssl.py", include_str!("seed_001/create-ssl.py")),
        ("patch_upstream_mtls.py", include_str!("seed_001/patch_upstream_mtls.py")),
    ] {
        machine.write(name, script);
    }
    machine.run("chmod 755 *.py").ok();
    machine.write(
        "nginx/nginx.conf",
        &nginx(
            "server {
                listen 8443 ssl; ssl_certificate ../server.pem; ssl_certificate_key ../server.key;
                ssl_client_certificate ../client_ca.pem; ssl_verify_client on; ssl_verify_depth 10;
                location / { return 200 'hello of $ssl_client_s_dn'; }
            }
            server { listen 1980; location / { return 200 'hello'; } }",
        ),
    );
    let _upstream = machine.start_nginx(1980);
    let _gateway = machine.start_portcullis();

    // Protect Route: "create SSL", "test it"
    machine.create("/routes/hello", &json!({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}}));
    let made = machine.run("./create-ssl.py ./server.pem ./server.key 'mtls.test.com' ./client_ca.pem 10").ok();
    assert!(made.contains("Setting mTLS") && made.contains("201"), "{made}");
    let curl = "curl --resolve 'mtls.test.com:9443:127.0.0.1' \"https://mtls.test.com:9443/hello\" -k --cert ./client.pem --key ./client.key";
    machine.answers(curl, "hello");
    let certificate = "--cert ./client.pem --key ./client.key";
    for (why, other) in [
        ("no certificate", String::new()),
        ("eleven authorities between", certificate.replace("client", "longer")),
        ("not of that authority", certificate.replace("client", "stranger")),
    ] {
        let refused = machine.run(&curl.replace(certificate, &other));
        assert!(!refused.stdout.contains("hello"), "{why}: {refused:?}");
    }

    // mTLS Between APISIX and Upstream
    machine.create("/upstreams/testmtls", &json!({"scheme": "https", "nodes": {"127.0.0.1:8443": 1}}));
    machine.create("/routes/upstream", &json!({"uri": "/upstream", "upstream_id": "testmtls"}));
    let curl = "curl -s http://127.0.0.1:9080/upstream";
    machine.answers(curl, "No required SSL certificate was sent");
    let patched = machine.run("./patch_upstream_mtls.py testmtls ./client.pem ./client.key").ok();
    assert!(patched.starts_with("200\n") && !patched.contains("PRIVATE KEY"), "{patched}");
    machine.answers(curl, "hello of CN=short");
}

/// etcd that asks for certificates, as the cluster's tests build it.
fn start_etcd(machine: &Machine) -> crate::machine::Process {
    let arguments = "--data-dir etcd --listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://127.0.0.1:2379 \
        --client-cert-auth --trusted-ca-file certs/etcd_ca.pem --cert-file certs/etcd.pem --key-file certs/etcd.key";
    let process = machine.start("etcd", "etcd", &arguments.split_whitespace().collect::<Vec<_>>());
    let health = "curl -sS --cacert certs/etcd_ca.pem --cert certs/etcd_client.pem --key certs/etcd_client.key https://127.0.0.1:2379/health";
    machine.answers(health, "true");
    process
}

/// A document's text with the paths of this machine.
fn placed(machine: &Machine, text: &str) -> String {
    let certs = machine.folder().join("certs").display().to_string();
    text.replace("/path/to/certs/ca-certificates.crt", &format!("{certs}/etcd_ca.pem")).replace("/data/certs", &certs)
}
