//! Manifests, read once and compiled.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use rustls_pki_types::UnixTime;

use crate::args::ClassOptions;
use crate::compile::{Compiled, Context, TlsContext, compile};
use crate::model::StreamPorts;
use crate::snapshot::Snapshot;
use crate::source::manifests::{Diagnostic, Manifests};
use crate::world::World;

/// What manifests come to.
pub(super) struct Read {
    pub(super) compiled: Compiled,
    pub(super) manifests: Manifests,
}

/// Reads and compiles `paths` as at the time `now`, for a process that has opened `stream_ports`, where that is known. The inner error is what is wrong with the files themselves.
///
/// # Errors
/// When the system has no randomness.
pub(super) fn read(
    paths: &[PathBuf],
    class: &ClassOptions,
    stream_ports: Option<StreamPorts>,
    now: UnixTime,
) -> anyhow::Result<Result<Read, Vec<Diagnostic>>> {
    let manifests = match Manifests::open(paths.to_vec()) {
        Ok(manifests) => manifests,
        Err(diagnostics) => return Ok(Err(diagnostics)),
    };
    let mut world = World::default();
    world.apply(manifests.listing());
    let context = Context {
        class: class.ingress_class.clone().into(),
        controller: class.controller_name.clone().into(),
        stream_addresses: BTreeSet::new(),
        stream_ports,
        tls: TlsContext::new()
            .context("cannot prepare TLS")?
            .trusting(|| rustls_native_certs::load_native_certs().certs),
    };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let compiled = compile(&world, &context, &Snapshot::default(), now);
    Ok(Ok(Read { compiled, manifests }))
}
