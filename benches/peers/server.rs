//! A server of any kind, ready and checked.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use hyper::StatusCode;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::authority::{Certificates, Identity};
use crate::client::{Client, Protocol};
use crate::process::Process;
use crate::{naive, nginx, portcullis};

/// The servers compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Nginx,
    Naive,
    Portcullis,
}

impl Peer {
    /// One line about the program.
    pub(crate) fn version(self) -> anyhow::Result<String> {
        match self {
            Self::Nginx => nginx::version(),
            Self::Naive => Ok(naive::version()),
            Self::Portcullis => portcullis::version(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nginx => "nginx",
            Self::Naive => "naive",
            Self::Portcullis => "portcullis",
        })
    }
}

/// What all servers of a run have in common.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) backend: SocketAddr,
    pub(crate) certificates: Certificates,
}

impl Scene {
    pub(crate) fn new(backend: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { backend, certificates: Certificates::new()? })
    }
}

/// How a server is started, by its kind.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The program and its arguments.
    pub(crate) command: Vec<OsString>,
    /// A page that answers 200 as soon as the server is ready, where there is one.
    pub(crate) ready: Option<SocketAddr>,
}

/// A running server.
pub(crate) struct Server {
    /// The client that it lets in.
    pub(crate) client: Client,
    pub(crate) peer: Peer,
    pub(crate) process: Process,
    _folder: TempDir,
}

impl Server {
    /// Starts `peer` and waits until it is ready. `valgrind` is the command to run it under, empty for none.
    ///
    /// # Errors
    /// When it does not serve the trusted client, or serves anybody else.
    pub(crate) async fn start(peer: Peer, scene: &Scene, valgrind: &[OsString]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = free_address()?;
        let launch = match peer {
            Peer::Nginx => nginx::launch(folder.path(), address, scene)?,
            Peer::Naive => naive::launch(folder.path(), address, scene)?,
            Peer::Portcullis => portcullis::launch(folder.path(), address, scene)?,
        };
        let mut command = valgrind.to_vec();
        command.extend(launch.command);
        let output = folder.path().join("output");
        let mut process = Process::start(&command, &File::create(&output)?)?;
        let client = |identity: Option<&Identity>| Client::new(address, &scene.certificates, identity);
        let trusted = client(Some(&scene.certificates.client))?;
        let patience = Duration::from_secs(if valgrind.is_empty() { 20 } else { 120 });
        let deadline = Instant::now() + patience;
        while let Err(error) = ready(launch.ready, &trusted).await {
            if Instant::now() > deadline || !process.runs() {
                bail!("{peer} does not serve: {error:#}\n{}", fs::read_to_string(output)?);
            }
            sleep(Duration::from_millis(20)).await;
        }
        refused(&client(None)?).await.with_context(|| format!("{peer} and no certificate"))?;
        if peer != Peer::Naive {
            // The naive proxy breaks the handshake off.
            refused(&client(Some(&scene.certificates.stranger))?)
                .await
                .with_context(|| format!("{peer} and a stranger"))?;
        }
        Ok(Self { client: trusted, peer, process, _folder: folder })
    }
}

/// A loopback address nobody listens on. Another program may take it before the server does: the start then fails.
pub(crate) fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Writes a file of the server's.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> std::io::Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    Ok(path)
}

async fn ready(page: Option<SocketAddr>, client: &Client) -> anyhow::Result<()> {
    if let Some(address) = page {
        portcullis::ready(address).await?;
    }
    client.connect(Protocol::Http1).await?.only_request().await
}

/// Checks that the client is answered, with the 400 that both servers give those without a good certificate.
async fn refused(client: &Client) -> anyhow::Result<()> {
    let status = client.connect(Protocol::Http1).await?.status().await?;
    ensure!(status == StatusCode::BAD_REQUEST, "the answer is {status}, not 400");
    Ok(())
}
