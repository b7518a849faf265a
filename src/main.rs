//! The `portcullis` program. See [`portcullis::args`] for what it can do.

use std::process::ExitCode;

use portcullis::args::{Args, Command};
use portcullis::{api, app, demo, inspect};

fn main() -> ExitCode {
    // Before anything else: kube and our own TLS use the process's default provider, and there must be only one.
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    debug_assert!(installed.is_ok(), "nothing has used TLS before main");
    let args = Args::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let outcome = match args.command {
        Command::Check(options) => return inspect::check(&options),
        Command::Crds => {
            print!("{}", api::crds_yaml().into_iter().map(|(_, yaml)| yaml).collect::<Vec<_>>().join("---\n"));
            Ok(())
        }
        Command::Demo(options) => demo::run(&options),
        Command::Explain(options) => return inspect::explain(&options),
        Command::Run(options) => app::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::FAILURE
        }
    }
}
