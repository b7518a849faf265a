//! `portcullis explain`.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, io};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::UnixTime;

use super::{files, live};
use crate::args::ExplainOptions;
use crate::compile::Compiled;
use crate::explain::{self, Configuration, Explanation, Question};
use crate::log::Format;
use crate::model::HostName;
use crate::proxy::Settings;
use crate::trust;

/// Prints what decides about a request. The code is 0 where it would be served, 1 where it would be refused, 2 where the
/// question cannot be answered.
pub fn explain(options: &ExplainOptions) -> ExitCode {
    let explanation = match answer(options) {
        Ok(explanation) => explanation,
        Err(error) => return super::unusable(&error),
    };
    let text = match options.output {
        Format::Json => serde_json::to_string_pretty(&explanation).unwrap_or_default() + "\n",
        Format::Text => explanation.to_string(),
    };
    super::print(&text);
    if explanation.served { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn answer(options: &ExplainOptions) -> anyhow::Result<Explanation> {
    let question = question(options)?;
    if let Some(url) = &options.live {
        return live::ask(url, &question);
    }
    let now = question.at.map_or_else(UnixTime::now, |at| UnixTime::since_unix_epoch(Duration::from_secs(at)));
    // Files do not say which ports are opened; the question says what for.
    let ports = explain::stream_ports(&question.url);
    let read = files::read(&options.manifests, &options.class, ports, now)?.map_err(|diagnostics| {
        let lines: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the manifests cannot be read:\n{}", lines.join("\n"))
    })?;
    let fallback_sni = options
        .fallback_sni
        .as_deref()
        .map(|name| HostName::parse(name).with_context(|| format!("`{name}` of --fallback-sni is no host name")));
    let settings = Settings {
        allow_plaintext_client_auth: options.allow_plaintext_client_auth,
        fallback_sni: fallback_sni.transpose()?,
        ..Settings::default()
    };
    let Compiled { report, snapshot, .. } = &read.compiled;
    Configuration { report, settings: &settings, snapshot }.explain(&question, now).map_err(anyhow::Error::msg)
}

fn question(options: &ExplainOptions) -> anyhow::Result<Question> {
    let at = options.at.map(|at| u64::try_from(at.as_second()).context("--at must be after 1970")).transpose()?;
    let certificate = match &options.cert {
        None => None,
        Some(path) => {
            let pem = read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let chain = trust::certificates(&pem).map_err(|why| anyhow::anyhow!("{} {why}", path.display()))?;
            Some(chain.iter().map(|der| pem_of(der)).collect())
        }
    };
    let ExplainOptions { address, header, method, sni, url, .. } = options.clone();
    Ok(Question { address, at, certificate, headers: header, method, sni, url })
}

/// The bytes of a file, or of standard input where the name is `-`.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return fs::read(path);
    }
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The certificate alone: the file may hold its key too, which goes nowhere.
fn pem_of(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}
