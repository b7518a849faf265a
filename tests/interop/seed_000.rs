//! "Enable Upstream Mutual TLS": openssl's commands, the nginx and the request of the document. What it does on a web page is
//! done by the Admin API.

use serde_json::json;

use crate::machine::{Machine, nginx};

const OPENSSL: &str = r#"
# Generate the CA certificate and private key
openssl req  -x509 -nodes -new -keyout ca.key -out ca.crt -days 3650 -subj "/C=/ST=/L=/O=/OU=web/CN=private_ca"

# Generate the server certificate sign request and its private key
openssl req -newkey rsa:2048 -nodes -days 3650 -keyout server.key -out server.req

# Generate the server certificate
openssl x509 -req -days 3650 -set_serial 01 -in server.req -out server.crt -CA ca.crt -CAkey ca.key

# Generate the client certificate sign request and its private key
openssl req -newkey rsa:2048 -nodes -days 3650 -keyout client.key -out client.req -subj "/C=/ST=/L=/O=/OU=web/CN=mtls.httpbin.org"

# Generate the client certificate
openssl x509 -req -days 3650 -set_serial 01 -in client.req -out client.crt -CA ca.crt -CAkey ca.key
"#;

const MTLS_CONF: &str = r#"# mtls.conf
server {
    listen 8443 ssl;
    ssl_certificate conf.d/server.crt;
    ssl_certificate_key conf.d/server.key;
    ssl_trusted_certificate conf.d/ca.crt;

    location / {
        return 200 "mtls upstream";
    }
}
"#;

const CURL: &str = "curl http://127.0.0.1:9080/v1/anything  -H 'Host: umtls.httpbin.org' -i";

#[test]
fn the_guide_to_upstream_mutual_tls_works_as_written() {
    let machine = Machine::new();

    // Sign Certificates. Whoever is asked for a name presses return.
    machine.write("sign", OPENSSL);
    machine.run("bash -e sign 2>sign.log < <(yes '' | head -20)").ok();
    machine.run("openssl verify -CAfile ca.crt server.crt client.crt").ok();

    // Deploy Backend Service: the folders that the container mounts.
    machine.write("nginx/nginx.conf", &nginx("include conf.d/httpbin.conf;"));
    machine.write("nginx/conf.d/httpbin.conf", MTLS_CONF);
    machine.run("cp ca.crt server.crt server.key nginx/conf.d/").ok();
    let upstream = machine.start_nginx(8443);
    let _gateway = machine.start_portcullis();

    // Create SSL Object
    let client = json!({"type": "client", "cert": machine.read("client.crt"), "key": machine.read("client.key")});
    machine.create("/ssls/umtls", &client);

    // Create Service, and the route `anything` in it
    machine.create(
        "/services/upstream-mtls-app",
        &json!({
            "name": "upstream-mtls-app",
            "path_prefix": "/v1",
            "hosts": ["umtls.httpbin.org"],
            "upstream": {"scheme": "https", "nodes": {"127.0.0.1:8443": 1}, "tls": {"client_cert_id": "umtls"}},
        }),
    );
    machine.create(
        "/routes/anything",
        &json!({"name": "anything", "uri": "/anything", "methods": ["GET"], "service_id": "upstream-mtls-app"}),
    );

    // Test mTLS
    let answer = machine.answers(CURL, "HTTP/1.1 200 OK").to_lowercase();
    for line in ["content-type: application/octet-stream", "content-length: 13", "\r\n\r\nmtls upstream"] {
        assert!(answer.contains(line), "{answer}");
    }
    // An exact path, one method, one host.
    for (other, status) in [
        (CURL.replace("/v1/anything", "/v1/anything/more"), "404"),
        (CURL.replace("/v1/anything", "/anything"), "404"),
        (CURL.replace("-i", "-i -X POST"), "404"),
        (CURL.replace("umtls", "other"), "404"),
    ] {
        machine.run(&other).says(&format!("HTTP/1.1 {status} ")).unwrap();
    }

    // The document's nginx asks for no certificate. One that does gets ours.
    drop(upstream);
    let asks = "ssl_client_certificate conf.d/ca.crt;\n    ssl_verify_client on;\n\n    location";
    machine.write("nginx/conf.d/httpbin.conf", &MTLS_CONF.replace("location", asks));
    let _upstream = machine.start_nginx(8443);
    machine.answers(CURL, "mtls upstream");
    let without = json!({"upstream": {"tls": null}});
    let (status, answer) = machine.admin("PATCH", "/services/upstream-mtls-app", &without);
    assert_eq!(status, 200, "{answer}");
    let refused = machine.answers(CURL, "HTTP/1.1 400 Bad Request");
    assert!(refused.contains("No required SSL certificate was sent"), "{refused}");
}
