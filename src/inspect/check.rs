//! `portcullis check`.

use std::fmt::Write;
use std::process::ExitCode;

use rustls_pki_types::UnixTime;

use super::files::{self, Read};
use crate::args::CheckOptions;
use crate::model::{Effect, ObjectRef, Problem};
use crate::source::manifests::Diagnostic;

/// Prints everything that is wrong with the manifests: what is wrong in a file by itself, or else what becomes of the
/// objects together. The code is 1 where something is refused, 2 where nothing could be checked.
pub fn check(options: &CheckOptions) -> ExitCode {
    let read = match files::read(&options.manifests, &options.class, None, UnixTime::now()) {
        Ok(read) => read,
        Err(error) => return super::unusable(&error),
    };
    let findings = match &read {
        Ok(read) => Findings::of_objects(read),
        Err(diagnostics) => Findings::of_files(diagnostics),
    };
    super::print(&findings.text);
    if findings.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Findings {
    errors: usize,
    text: String,
    warnings: usize,
}

impl Findings {
    /// References are not looked at: to call a Secret missing that is in a broken file would mislead.
    fn of_files(diagnostics: &[Diagnostic]) -> Self {
        let mut findings = Self { errors: diagnostics.len(), ..Self::default() };
        for diagnostic in diagnostics {
            let _ = writeln!(findings.text, "error: {diagnostic}");
        }
        findings.total("; what the objects refer to is checked once the files can be read")
    }

    fn of_objects(read: &Read) -> Self {
        let mut findings = Self::default();
        for (object, report) in &read.compiled.report.objects {
            for problem in &report.problems {
                findings.add(read, object, problem);
            }
        }
        findings.total("")
    }

    fn add(&mut self, read: &Read, object: &ObjectRef, problem: &Problem) {
        let Problem { effect, invalid } = problem;
        let level = match effect {
            Effect::Refused | Effect::RuleRefused => {
                self.errors += 1;
                "error"
            }
            Effect::Stale | Effect::Unresolved | Effect::Warning => {
                self.warnings += 1;
                "warning"
            }
        };
        let (file, line) = read.manifests.locate(object, invalid).unwrap_or_default();
        let place = Diagnostic { file, line, message: format!("{object}: {invalid}") };
        let _ = writeln!(self.text, "{level}[{}]: {place}", invalid.reason.as_str());
    }

    fn total(mut self, why: &str) -> Self {
        let _ = match (self.errors, self.warnings) {
            (0, 0) => writeln!(self.text, "no problem found"),
            (errors, warnings) => writeln!(self.text, "errors: {errors}, warnings: {warnings}{why}"),
        };
        self
    }
}
