//! The Admin API over TLS, and with certificates of clients.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use http::Request;
use portcullis::admin_api::{AdminApi, PUBLIC_KEY, Settings, TlsFiles};
use portcullis::store::{Memory, Store};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::pki::{Authority, Certified, PKI};
use crate::scene::{Answer, Scene, keyring, send_over, settings};

/// Writes what the server shows, and whom it trusts.
fn write(folder: &Path, clients: &Authority) -> TlsFiles {
    let server = PKI.servers.issue(&["admin"], ExtendedKeyUsagePurpose::ServerAuth);
    let path = |name: &str, text: String| {
        let (unfinished, path) = (folder.join("unfinished"), folder.join(name));
        fs::write(&unfinished, text).unwrap();
        fs::rename(unfinished, &path).unwrap();
        path
    };
    TlsFiles {
        certificate: path("tls.crt", server.pem.clone()),
        client_ca: Some(path("ca.crt", clients.certificate.pem())),
        key: path("tls.key", server.key.serialize_pem()),
    }
}

fn config(client: Option<&Certified>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(PKI.servers.certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match client {
        Some(client) => builder.with_client_auth_cert(client.chain.clone(), client.private_key()).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

async fn ask(scene: &Scene, client: Option<&Certified>) -> Answer {
    let stream = TcpStream::connect(scene.address).await.unwrap();
    let stream = TlsConnector::from(config(client)).connect("admin".try_into().unwrap(), stream).await.unwrap();
    let request = Request::get("/apisix/admin/routes").header("host", "admin").header("x-api-key", PUBLIC_KEY);
    send_over(stream, request.body(String::new().into()).unwrap()).await
}

#[tokio::test]
async fn clients_need_a_certificate_of_the_authority_that_the_file_holds_now() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Some(write(folder.path(), &PKI.clients));
    let scene = Scene::with(Settings { keys: Vec::new(), tls, ..settings() }).await;
    let good = ask(&scene, Some(&PKI.clients.client())).await;
    assert_eq!((good.status.as_u16(), good.body.as_str()), (200, "{\"total\":0,\"list\":[]}\n"));
    assert_eq!(ask(&scene, Some(&PKI.clients.deep_client())).await.status, 200);
    let none = ask(&scene, None).await;
    assert_eq!(none.status, 400);
    assert!(none.body.contains("400 No required SSL certificate was sent"), "{}", none.body);
    let other = ask(&scene, Some(&PKI.others.client())).await;
    assert_eq!(other.status, 400);
    assert!(other.body.contains("400 The SSL certificate error"), "{}", other.body);

    write(folder.path(), &PKI.others);
    assert_eq!(ask(&scene, Some(&PKI.others.client())).await.status, 200);
    assert_eq!(ask(&scene, Some(&PKI.clients.client())).await.status, 400);
    fs::write(folder.path().join("tls.key"), "broken").unwrap();
    assert_eq!(ask(&scene, Some(&PKI.others.client())).await.status, 200, "the last good certificate stays");
}

#[tokio::test]
async fn clients_need_no_certificate_where_none_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Some(TlsFiles { client_ca: None, ..write(folder.path(), &PKI.clients) });
    let scene = Scene::with(Settings { tls, ..settings() }).await;
    assert_eq!(ask(&scene, None).await.status, 200);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(folder.path(), &PKI.clients);
    fs::write(folder.path().join("ca.crt"), "nothing").unwrap();
    let settings = Settings { tls: Some(files), ..settings() };
    let error = AdminApi::bind(settings, Store::Memory(Memory::default()), keyring()).await.unwrap_err();
    assert!(format!("{error:#}").contains("ca.crt"), "{error:#}");
}
