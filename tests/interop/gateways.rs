//! Two gateways on one etcd: each sees what the other was told, and goes on without etcd.

use std::time::SystemTime;

use serde_json::json;

use crate::machine::{Machine, Process, eventually, nginx};

/// A gateway in a folder of its own with its own ports: 9080, 9180 and 9091, or one more of each.
struct Gateway {
    number: u16,
    process: Option<Process>,
}

impl Gateway {
    fn new(machine: &Machine, number: u16) -> Self {
        let [http, https, admin] = [9080, 9443, 9180].map(|port| port + number);
        machine.write(
            &format!("gateway{number}.yaml"),
            &format!(
                "apisix:
  node_listen: [{http}]
  ssl: {{listen: [{{port: {https}}}]}}
deployment:
  role: traditional
  role_traditional: {{config_provider: etcd}}
  admin: {{admin_listen: {{ip: 127.0.0.1, port: {admin}}}}}
  etcd: {{host: ['http://127.0.0.1:2379'], timeout: 2}}
"
            ),
        );
        let mut gateway = Self { number, process: None };
        gateway.start(machine);
        machine.reaches(admin);
        gateway
    }

    fn start(&mut self, machine: &Machine) {
        let number = self.number;
        let pages = format!("127.0.0.1:{}", 9091 + number);
        let (config, data) = (format!("gateway{number}.yaml"), format!("data{number}"));
        let arguments = ["run", "--config", &config, "--data", &data, "--admin-listen", &pages];
        self.process = Some(machine.start(&format!("gateway{number}"), env!("CARGO_BIN_EXE_portcullis"), &arguments));
    }

    fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Waits for the answer to a request for a path.
    #[track_caller]
    fn answers(&self, machine: &Machine, path: &str, status: u16) {
        let url = format!("http://127.0.0.1:{}{path}", 9080 + self.number);
        machine.answers(&format!("curl -s -m 20 -o answer -w '%{{http_code}}' {url}"), &status.to_string());
    }

    /// Puts a route of a path's name; gives the status.
    fn put(&self, machine: &Machine, name: &str) -> u16 {
        let route = json!({"uri": format!("/{name}"), "upstream": {"nodes": {"127.0.0.1:1980": 1}}});
        machine.admin_at(9180 + self.number, "PUT", &format!("/routes/{name}"), &route).0
    }

    #[track_caller]
    fn accepts(&self, machine: &Machine, name: &str) {
        eventually(&format!("{name} is accepted"), || match self.put(machine, name) {
            200 | 201 => Ok(()),
            status => Err(status.to_string()),
        });
    }
}

fn start_etcd(machine: &Machine) -> Process {
    let arguments = ["--data-dir", "etcd"];
    let process = machine.start("etcd", "etcd", &arguments);
    machine.answers("curl -s http://127.0.0.1:2379/health", "true");
    process
}

#[test]
fn two_gateways_share_an_etcd_and_go_on_without_it() {
    let machine = Machine::new();
    machine.write("nginx/nginx.conf", &nginx("server { listen 1980; return 200 'hello'; }"));
    let _upstream = machine.start_nginx(1980);
    let etcd = start_etcd(&machine);
    let mut first = Gateway::new(&machine, 0);
    let mut second = Gateway::new(&machine, 1);

    // Each sees what the other was told.
    first.accepts(&machine, "one");
    second.accepts(&machine, "two");
    for gateway in [&first, &second] {
        gateway.answers(&machine, "/one", 200);
        gateway.answers(&machine, "/two", 200);
        gateway.answers(&machine, "/three", 404);
    }

    // The copy for a start without etcd is written within a second of a change: one is made until it is.
    let known = SystemTime::now();
    let copy = machine.folder().join("data1/etcd-copy");
    eventually("the copy has the routes", || {
        first.put(&machine, "more");
        match copy.metadata().and_then(|copy| copy.modified()) {
            Ok(written) if written > known => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });

    // etcd is away: traffic goes on, writes are refused and say so.
    etcd.kill();
    eventually("writes are refused", || match first.put(&machine, "three") {
        503 => Ok(()),
        status => Err(status.to_string()),
    });
    for gateway in [&first, &second] {
        gateway.answers(&machine, "/one", 200);
    }
    // Also that of a gateway which starts without etcd.
    second.kill();
    second.start(&machine);
    second.answers(&machine, "/two", 200);

    // etcd is back, with all it had: writes and changes are seen again, by both.
    let _etcd = start_etcd(&machine);
    second.accepts(&machine, "three");
    for gateway in [&first, &second] {
        gateway.answers(&machine, "/three", 200);
    }
    let (status, _) = machine.admin_at(9180, "DELETE", "/routes/one", &json!({}));
    assert_eq!(status, 200);
    for gateway in [&first, &second] {
        gateway.answers(&machine, "/one", 404);
        gateway.answers(&machine, "/two", 200);
    }
    first.kill();
}
