//! kansoku-agent: reads the command line, builds the pipeline, runs it until it is told to stop.
//!
//! Exit status: 0 after a clean end or a successful `--dry-run`, 1 for a mistake that the reader of
//! the configuration finds or a failure while running, 255 when a plugin refuses to start.

use std::io::Write;
use std::process::ExitCode;

use kansoku_agent::command_line::{self, CommandLine, Invocation};
use kansoku_agent::{lifecycle, log, resident, state};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: starting touches much of the program.
    resident::release_program_pages();
    if std::env::args().nth(1).as_deref() == Some("node-exporter") {
        return kansoku_agent::node_exporter::main(std::env::args().skip(2));
    }
    if std::env::args().nth(1).as_deref() == Some("import") {
        return kansoku_agent::import::main(std::env::args().skip(2));
    }
    match command_line::parse(std::env::args().skip(1)) {
        Ok(CommandLine::Print(text)) => {
            // Whoever reads may stop early: `kansoku-agent -h | head`.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(CommandLine::Run(invocation)) => run(&invocation),
        Err(message) => {
            eprintln!("kansoku-agent: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: &Invocation) -> ExitCode {
    if let Some(folder) = &invocation.workdir
        && let Err(error) = std::env::set_current_dir(folder)
    {
        eprintln!(
            "kansoku-agent: cannot change to folder {}: {error}",
            folder.display()
        );
        return ExitCode::FAILURE;
    }
    let configuration = match lifecycle::configure(invocation) {
        Ok(configuration) => configuration,
        Err(refusal) => return ExitCode::from(refusal.exit_status),
    };
    if invocation.report {
        let report = state::report(&configuration);
        let _ = std::io::stdout().write_all(report.as_bytes());
        return ExitCode::SUCCESS;
    }
    if invocation.dry_run {
        eprintln!("configuration test is successful");
        return ExitCode::SUCCESS;
    }
    match lifecycle::run(configuration, invocation) {
        Ok(()) => ExitCode::from(kansoku_agent::inputs::exec::exit_status()),
        Err(error) => {
            log::error("agent", format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
