//! `kansoku-agent node-exporter`: the node collectors behind node_exporter's own command line and
//! HTTP server, so that its image can be replaced and nothing else has to change.
//!
//! Not the agent: there is no pipeline, no configuration file and no state. What the flags cannot
//! say is not there.

mod command_line;
mod manual;
mod own_metrics;
mod scrape;
mod web;

use std::io::Write;
use std::process::ExitCode;

use command_line::{CommandLine, Invocation, LOG_FORMAT, LOG_LEVEL};

use kansoku_web::Severity;

use crate::collectors::node::NodeCollectors;
use crate::log::{self, Format, Level};

const COMPONENT: &str = "node_exporter";

/// Runs until it is told to stop. `args` are those after `node-exporter`.
#[must_use]
pub fn main(args: impl IntoIterator<Item = String>) -> ExitCode {
    let result = match command_line::parse(args) {
        Ok(CommandLine::Print(text)) => {
            // Whoever reads may stop early.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Ok(CommandLine::Run(invocation)) => run(*invocation),
        Err(message) => Err(anyhow::anyhow!(message)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kansoku-agent node-exporter: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: Invocation) -> anyhow::Result<()> {
    let flags = &invocation.spec.flags;
    log::set_level(Level::parse(flags.text(&LOG_LEVEL)).unwrap_or(Level::Info));
    log::set_format(match flags.text(&LOG_FORMAT) {
        "json" => Format::Json,
        _ => Format::Logfmt,
    });
    for (old, new) in &invocation.deprecated {
        log::warn(
            COMPONENT,
            format_args!("--{old} is deprecated, use --{new}"),
        );
    }
    let collectors = NodeCollectors::new(&invocation.spec, &invocation.collectors)?;
    let names = invocation.collectors.join(" ");
    log::info(COMPONENT, format_args!("enabled collectors: {names}"));
    web::serve(invocation, collectors)
}

/// What the web configuration has to say goes to the log.
fn tell(severity: Severity, message: &str) {
    match severity {
        Severity::Info => log::info(COMPONENT, message),
        Severity::Warn => log::warn(COMPONENT, message),
        Severity::Error => log::error(COMPONENT, message),
    }
}

/// The machine's kind under Go's name.
pub(crate) fn machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
