//! "SSL Certificates": the SSL object of the document, and each way of TLS toward upstreams that it names.

use serde_json::{Value, json};

use crate::machine::{Machine, nginx};

const SSL: &str = r#"    {   
    "type": "server",
    "sni": "foodservice.com",
    "cert": "<content of server.crt>",
    "key": "<content of server.key>",
    "client": {
    "ca": "<content of ca.crt>"
    }
    }"#;

const SIGN: &str = r"
set -e
new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
issue() { openssl req $new -keyout $1.key -subj /CN=$1 | openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out $1.crt -extfile <(echo $2); }
openssl req -x509 $new -keyout ca.key -out ca.crt -days 2 -subj /CN=ca
issue server subjectAltName=DNS:foodservice.com
issue upstream subjectAltName=DNS:*.foodservice.com
issue client extendedKeyUsage=clientAuth
";

/// The default ports of HTTP and HTTPS, and one that asks for a certificate and says whose it got.
const UPSTREAMS: &str = "
    ssl_certificate ../upstream.crt; ssl_certificate_key ../upstream.key; ssl_client_certificate ../ca.crt;
    server { listen 80; return 200 'plain'; }
    server { listen 443 ssl; return 200 'TLS'; }
    server { listen 8443 ssl; ssl_verify_client on; return 200 'mTLS of $ssl_client_s_dn'; }
";

const CURL: &str =
    "curl -sS --http1.1 --cacert ca.crt --resolve foodservice.com:9443:127.0.0.1 https://foodservice.com:9443";

#[test]
fn the_concepts_of_ssl_objects_hold() {
    let machine = Machine::new();
    machine.run(SIGN).ok();
    machine.write("nginx/nginx.conf", &nginx(UPSTREAMS));
    let _upstream = machine.start_nginx(80);
    let _gateway = machine.start_portcullis();
    let read = |name: &str| machine.read(name);

    // TLS Between Client Applications and APISIX
    let mut ssl: Value = serde_json::from_str(&filled(&machine)).unwrap();
    let client = ssl.as_object_mut().unwrap().remove("client").unwrap();
    machine.create("/ssls/foodservice", &ssl);
    route(&machine, "plain", &json!({"nodes": {"127.0.0.1:80": 1}}));
    machine.answers(&format!("{CURL}/plain"), "plain");

    // TLS Between APISIX and Upstreams: "use HTTPS scheme and port 443"
    route(&machine, "tls", &json!({"scheme": "https", "nodes": {"127.0.0.1:443": 1}}));
    machine.answers(&format!("{CURL}/tls"), "TLS");

    // mTLS Between Client Applications and APISIX: the object as the document has it.
    machine.write("ssl.json", &filled(&machine));
    let put = "curl -sS -i http://127.0.0.1:9180/apisix/admin/ssls/foodservice -X PUT -d @ssl.json \
        -H 'X-API-KEY: edd1c9f034335f136f87ad84b625c8f1'";
    let answer = machine.run(put).says(" 200").unwrap();
    assert!(!answer.contains("PRIVATE KEY"), "{answer}");
    ssl["client"] = client;
    let (_, stored) = machine.admin("GET", "/ssls/foodservice", &json!({}));
    for field in ["type", "sni", "cert"] {
        assert_eq!(stored["value"][field], ssl[field]);
    }
    assert_eq!(stored["value"]["client"]["ca"], ssl["client"]["ca"]);
    let with = format!("{CURL}/plain --cert client.crt --key client.key");
    machine.answers(&with, "plain");
    crate::machine::eventually("no service without a certificate", || {
        match machine.run(&format!("{CURL}/plain -w ' %{{http_code}}'")) {
            // The handshake fails, or the answer is 400: never what is behind.
            done if done.code != 0 || done.stdout.ends_with(" 400") => Ok(()),
            done => Err(format!("{done:?}")),
        }
    });

    // mTLS Between APISIX and Upstreams: the certificate in the upstream, and in an SSL object.
    let inline = json!({"client_cert": read("client.crt"), "client_key": read("client.key")});
    let shared = json!({"type": "client", "cert": read("client.crt"), "key": read("client.key")});
    machine.create("/ssls/shared", &shared);
    for (name, tls) in [("inline", inline), ("shared", json!({"client_cert_id": "shared"}))] {
        route(&machine, name, &json!({"scheme": "https", "nodes": {"127.0.0.1:8443": 1}, "tls": tls}));
        machine.answers(&with.replace("/plain", &format!("/{name}")), "mTLS of CN=client");
    }
    // What an upstream refers to is not deleted.
    let (status, answer) = machine.admin("DELETE", "/ssls/shared", &json!({}));
    assert_eq!(status, 400, "{answer}");
}

/// A route from the path of its name to an upstream.
#[track_caller]
fn route(machine: &Machine, name: &str, upstream: &Value) {
    machine.create(&format!("/routes/{name}"), &json!({"uri": format!("/{name}"), "upstream": upstream}));
}

/// The document's object with the files that it names.
fn filled(machine: &Machine) -> String {
    ["server.crt", "server.key", "ca.crt"].iter().fold(SSL.to_owned(), |text, name| {
        let content = Value::from(machine.read(name)).to_string();
        text.replace(&format!("\"<content of {name}>\""), &content)
    })
}
