//! schemathesis, which makes calls from the Admin API's description of itself and holds every answer against that.

use std::sync::Arc;
use std::time::Duration;

use portcullis::admin_api::{AdminApi, PUBLIC_KEY, Settings};
use portcullis::keyring::Keyring;
use portcullis::source::apisix;
use portcullis::store::{Memory, Store};
use tokio::process::Command;

use crate::bench;

/// Of its checks those that hold for any API. That what has the right shape is accepted is none: a certificate has more to it.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      negative_data_rejection,ignored_auth,use_after_free,ensure_resource_availability";

#[tokio::test]
async fn answers_are_as_described() {
    let keyring = Arc::new(Keyring::new(&["0123456789abcdef".to_owned()]).unwrap());
    let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), streams: true, ..Settings::default() };
    let api = AdminApi::bind(settings, Store::Memory(Memory::default()), keyring.clone()).await.unwrap();
    let check = move |resources: &[_]| apisix::check(resources, &keyring).map_err(|why| why.to_string());
    let document = format!("http://{}/apisix/admin/openapi.json", api.local_addr().unwrap());
    tokio::spawn(api.checked_by(Box::new(check)).run());
    let folder = tempfile::tempdir().unwrap(); // it keeps examples where it is started
    let mut command = Command::new("python3");
    command.args(["-m", "schemathesis.cli", "run", &document, "--header", &format!("X-API-KEY: {PUBLIC_KEY}")]);
    command.args(["--checks", CHECKS, "--max-time", "45", "--continue-on-failure", "--no-color"]);
    command.env("PYTHONPATH", bench::python()).current_dir(folder.path()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(300), command.output()).await.unwrap().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}\n`e2e/run interop` installs schemathesis");
}
