//! One host with a backend, a route and certificates, in a namespace of its own.

use std::sync::MutexGuard;

use crate::certificates::Certificates;
use crate::cluster::{Done, alone, apply, eventually, json, kubectl, shell, text, try_kubectl};

/// A namespace that goes away with the value, and the host that it publishes.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) certificates: Certificates,
    pub(crate) host: String,
    pub(crate) namespace: String,
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    /// A namespace with httpbin in it, an authority `ca` with a certificate for the host, and the client `user`.
    pub(crate) fn new(name: &str) -> Self {
        let alone = alone();
        // Another run's namespace may be on its way out still.
        let namespace = format!("{name}-{}", std::process::id());
        let host = format!("{namespace}.test");
        let certificates = Certificates::new();
        kubectl(&format!("create namespace {namespace}"));
        let scene = Self { certificates, host, namespace, _alone: alone };
        eventually("the namespace's ServiceAccount", 30, || match scene.kubectl("get serviceaccount default") {
            Done { code: 0, .. } => Ok(()),
            done => Err(done.stderr),
        });
        scene.kubectl("run httpbin --image kennethreitz/httpbin --port 80").ok();
        scene.kubectl("expose pod httpbin --port 80").ok();
        scene.certificates.authority("ca");
        scene.certificates.server("server", "ca", &scene.host);
        scene.certificates.client("user", "ca");
        scene.kubectl("wait --for=condition=Ready pod/httpbin --timeout=120s").ok();
        scene
    }

    /// [`Scene::new`] with everything applied: waits until the host serves `user` and nobody else.
    pub(crate) fn mutual(name: &str) -> Self {
        let scene = Self::new(name);
        scene.route();
        scene.server_secret("server");
        scene.ca_secret("ca");
        scene.tls(true);
        scene.serves("user");
        scene.refuses(None);
        scene
    }

    /// The route `route` from the host to httpbin.
    pub(crate) fn route(&self) {
        apply(
            &self.namespace,
            &format!(
                "apiVersion: apisix.apache.org/v2
kind: ApisixRoute
metadata: {{name: route}}
spec:
  http:
    - name: all
      match: {{hosts: [{}], paths: ['/*']}}
      backends: [{{serviceName: httpbin, servicePort: 80}}]
",
                self.host
            ),
        );
    }

    /// The `ApisixTls` named `tls`, with client authentication or without.
    pub(crate) fn tls(&self, mutual: bool) {
        let Self { host, namespace, .. } = self;
        let client =
            if mutual { format!("client: {{caSecret: {{name: ca, namespace: {namespace}}}}}") } else { String::new() };
        apply(
            namespace,
            &format!(
                "apiVersion: apisix.apache.org/v2
kind: ApisixTls
metadata: {{name: tls}}
spec:
  hosts: [{host}]
  secret: {{name: server, namespace: {namespace}}}
  {client}
"
            ),
        );
    }

    /// The Secret `server` with one of the certificates.
    pub(crate) fn server_secret(&self, certificate: &str) {
        self.secret("server", &format!("--from-file=cert={certificate}.pem --from-file=key={certificate}.key"));
    }

    /// The Secret `ca` with one of the authorities.
    pub(crate) fn ca_secret(&self, authority: &str) {
        self.secret("ca", &format!("--from-file=cert={authority}.pem"));
    }

    /// Runs kubectl in the namespace.
    pub(crate) fn kubectl(&self, arguments: &str) -> Done {
        try_kubectl(&format!("-n {} {arguments}", self.namespace))
    }

    /// Gets /ip from the host by the gateway's Service, with a client's certificate or none.
    pub(crate) fn fetch(&self, client: Option<&str>) -> Reply {
        self.fetch_from(&format!("{}:443", gateway()), client)
    }

    /// As [`Scene::fetch`], from an address.
    pub(crate) fn fetch_from(&self, address: &str, client: Option<&str>) -> Reply {
        let host = &self.host;
        let client = client.map(|name| format!("--cert {name}.pem --key {name}.key")).unwrap_or_default();
        let done = shell(
            self.certificates.folder(),
            &format!(
                "curl -sSk --max-time 10 --connect-to ::{address} {client} -w '\\n%{{http_code}}' https://{host}:9443/ip"
            ),
        );
        let (body, status) = done.stdout.rsplit_once('\n').unwrap_or_default();
        Reply {
            body: body.to_owned(),
            exit: done.code,
            status: status.parse().unwrap_or_default(),
            stderr: done.stderr,
        }
    }

    /// Waits until a client is served.
    #[track_caller]
    pub(crate) fn serves(&self, client: &str) {
        eventually("the client is served", 30, || self.fetch(Some(client)).with_status(200));
    }

    /// Waits until a client, or one without a certificate, gets 400.
    #[track_caller]
    pub(crate) fn refuses(&self, client: Option<&str>) {
        eventually("the client is refused", 30, || self.fetch(client).with_status(400));
    }

    fn secret(&self, name: &str, content: &str) {
        let namespace = &self.namespace;
        let create = format!("kubectl -n {namespace} create secret generic {name} {content} --dry-run=client -o yaml");
        shell(self.certificates.folder(), &format!("{create} | kubectl apply -f -")).ok();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "{}",
                try_kubectl("-n apisix logs -l app.kubernetes.io/name=portcullis --tail=40 --prefix").stdout
            );
            println!("{}", self.kubectl("get apisixroutes,apisixtlses,endpointslices,pods,events -o wide").stdout);
        }
        try_kubectl(&format!("delete namespace {} --wait=false", self.namespace));
    }
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) body: String,
    /// curl's exit code: 0 when there was an answer, 35 when the TLS handshake was refused.
    pub(crate) exit: i32,
    pub(crate) status: u16,
    pub(crate) stderr: String,
}

impl Reply {
    pub(crate) fn with_status(self, status: u16) -> Result<Self, String> {
        if self.status == status { Ok(self) } else { Err(format!("{} {} {}", self.status, self.body, self.stderr)) }
    }
}

/// The address of the gateway's Service.
pub(crate) fn gateway() -> String {
    use std::sync::OnceLock;
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| text(&json("-n apisix get service portcullis-gateway")["spec"]["clusterIP"])).clone()
}
