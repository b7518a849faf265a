//! `portcullis demo`: everything a newcomer needs to see a client certificate being demanded, in one folder of ordinary files.

mod backend;
mod files;
mod pki;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use anyhow::Context;

use crate::args::{Args, Command, DemoOptions, RunOptions};
use crate::{app, log};

/// The host that anyone may use over TLS. Names under `localhost` lead to this machine everywhere (RFC 6761 section 6.3).
pub(crate) const OPEN_HOST: &str = "open.localhost";

/// The host that demands a client certificate.
pub(crate) const MTLS_HOST: &str = "mtls.localhost";

/// How often other ports are tried when one of them was taken in the last moment.
const ATTEMPTS: usize = 4;

/// Makes the files that are missing, starts the backend and serves until SIGINT or SIGTERM.
///
/// # Errors
/// When a file cannot be written or no port is free.
pub fn run(options: &DemoOptions) -> anyhow::Result<()> {
    let backend = backend_listener(&options.folder)?;
    files::write(&options.folder, backend.local_addr()?)?;
    thread::Builder::new().name("demo-backend".into()).spawn(move || backend::serve(&backend))?;
    let mut run = run_options(&options.folder)?;
    let log = log::start(run.log_format, &run.log_level)?;
    let serve = |run: &RunOptions| {
        app::serve(run, None, &log, |addresses| {
            let port = |of: &[SocketAddr]| of.first().map_or(0, SocketAddr::port);
            let (http, https) = (port(&addresses.http), port(&addresses.https));
            print!("{}", files::instructions(&options.folder, http, https, run.admin_listen));
        })
    };
    let mut outcome = serve(&run);
    for _ in 0..ATTEMPTS {
        if !outcome.as_ref().is_err_and(is_in_use) {
            break;
        }
        run = run_options(&options.folder)?;
        outcome = serve(&run);
    }
    log.flush();
    outcome
}

/// Whether another program, perhaps another demo, took a port between the look at it and its use.
fn is_in_use(error: &anyhow::Error) -> bool {
    let errors = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    errors.map(io::Error::kind).any(|kind| kind == io::ErrorKind::AddrInUse)
}

/// The options of `portcullis run` with the demo's manifests, on the usual ports or, where those are taken, on free ones.
fn run_options(folder: &Path) -> anyhow::Result<RunOptions> {
    use clap::Parser;
    let manifests = folder.join("manifests");
    let arguments = ["portcullis", "run", "--log-level", "warn"].map(Into::into);
    let manifests = ["--manifests".into(), manifests.into_os_string()];
    let Command::Run(mut run) = Args::try_parse_from(arguments.into_iter().chain(manifests))?.command else {
        anyhow::bail!("`run` is a command");
    };
    run.kubernetes = false;
    run.http_listen = vec![free(9080)?];
    run.https_listen = vec![free(9443)?];
    run.admin_listen = free(9091)?;
    Ok(*run)
}

/// `port` on the loopback address, or a free port when it is taken.
fn free(port: u16) -> anyhow::Result<SocketAddr> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = bind(port).or_else(|_| bind(0)).context("no port is free on 127.0.0.1")?;
    Ok(listener.local_addr()?)
}

/// The backend's listener: on the address in the manifests, where a demo of this folder ran before.
fn backend_listener(folder: &Path) -> anyhow::Result<TcpListener> {
    match files::backend_port(folder)? {
        None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free on 127.0.0.1"),
        Some(port) => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
            let file = folder.join("manifests/backend.yaml");
            format!("the backend's port {port} is taken: change it in {} or delete that file", file.display())
        }),
    }
}
