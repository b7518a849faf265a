//! `portcullis check` and `portcullis explain`: looking at a configuration without serving it.

mod check;
mod explain;
mod files;
mod live;

use std::io::Write;
use std::process::ExitCode;

pub use check::check;
pub use explain::explain;

/// The exit code where a question cannot be answered; clap's for a wrong command line.
const UNUSABLE: u8 = 2;

/// Says why a command cannot do what it was asked.
fn unusable(error: &anyhow::Error) -> ExitCode {
    eprintln!("portcullis: {error:#}");
    ExitCode::from(UNUSABLE)
}

/// Prints `text`. A reader that closes the pipe early (`| head`) has seen enough.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
