//! `kansoku`, the command line: a client of the aggregator's HTTP APIs, also as kubectl's plugin
//! `kubectl kansoku`. It keeps nothing but its configuration file.
//!
//! A library only so that its readers can be fuzzed: the program is [`main`].

// Both panic when nobody reads; `output` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod agents;
mod args;
mod client;
mod complete;
mod config;
mod contexts;
mod error;
mod export;
mod follow;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod labels;
mod lines;
mod login;
mod logql;
mod logs;
mod output;
mod patterns;
mod programs;
mod query;
mod server;
mod tail;
mod time;
mod top;
mod websocket;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tokio::signal::unix::{SignalKind, signal};

use args::{Cli, Command, Global, Top};
use error::{Error, Result};
use server::Server;

/// Under this name kubectl runs us as a plugin.
const PLUGIN: &str = "kubectl-kansoku";
/// The command under which cobra's programs, such as kubectl, ask for candidates.
const COMPLETE: &str = "__complete";
/// And so the person calls us then.
const PLUGIN_SHOWN: &str = "kubectl kansoku";

/// The program, from its arguments to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    // What kubectl's completion asks. Not clap's: flags in a line that is being typed are none of ours.
    if arguments.next().is_some_and(|first| first == COMPLETE) {
        let words: Vec<String> = arguments
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let found = complete::candidates(&mut Cli::command(), &words);
        // Nobody may wait for it any more.
        let _ = std::io::stdout().write_all(found.as_bytes());
        return ExitCode::SUCCESS;
    }
    let called = std::path::Path::new(&called)
        .file_name()
        .map(std::ffi::OsStr::to_os_string);
    let is_plugin = called.is_some_and(|name| name == PLUGIN);
    let cli = if is_plugin {
        let matches = Cli::command().bin_name(PLUGIN_SHOWN).get_matches();
        clap::FromArgMatches::from_arg_matches(&matches).unwrap_or_else(|e: clap::Error| e.exit())
    } else {
        Cli::parse()
    };
    let result = run(cli, is_plugin);
    let _ = std::io::stdout().flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            if !text.is_empty() {
                // kubectl's own words for errors of servers stand without a prefix.
                let is_whole =
                    text.starts_with("Error from server") || text.starts_with("Unable to connect");
                output::say(&format!("{}{text}", if is_whole { "" } else { "error: " }));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli, is_plugin: bool) -> Result<()> {
    let Cli {
        mut global,
        command,
    } = cli;
    global.config = global.config.or_else(server::config_of_environment);
    // What asks no server needs neither runtime nor address.
    let command = match command {
        Command::Check(check) => return programs::check(check),
        Command::Backup(passed) => return programs::backup(passed),
        Command::Restore(passed) => return programs::restore(passed),
        Command::Help { path } => return help(&path, is_plugin),
        Command::Config(command) => return contexts::run(&global, command),
        Command::Completion { shell } => {
            let name = if is_plugin { PLUGIN } else { "kansoku" };
            let script = complete::script(shell, &mut Cli::command(), name);
            std::io::stdout().write_all(&script)?;
            return Ok(());
        }
        command => command,
    };
    let global = server::with_environment(global);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let server = server::find(&global, is_plugin)?;
    runtime.block_on(async {
        let work = ask(&server, &global, &command);
        // So that what was started, such as kubectl proxy, ends with us.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = work => done,
            _ = interrupt.recv() => Err(Error::Exit(130)),
            _ = terminate.recv() => Err(Error::Exit(143)),
        }
    })
}

/// `kansoku help …`: what `--help` of that command prints.
fn help(path: &[String], is_plugin: bool) -> Result<()> {
    let mut root = Cli::command();
    if is_plugin {
        root = root.bin_name(PLUGIN_SHOWN);
    }
    root.build();
    let mut command = &mut root;
    for name in path {
        let known = command.get_name().to_owned();
        command = command.find_subcommand_mut(name).ok_or_else(|| {
            Error::Usage(format!("{known} has no command '{name}'; see its --help"))
        })?;
    }
    let text = command.render_long_help().to_string();
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Runs a command that asks the server.
async fn ask(server: &Server, global: &Global, command: &Command) -> Result<()> {
    match command {
        Command::Logs(args) => logs::run(server, global, args).await,
        Command::Query(args) => query::instant(&server.client, global, args).await,
        Command::Range(args) => query::range(&server.client, global, args).await,
        Command::Tail(args) => tail::run(&server.client, global, args).await,
        Command::Top(Top::Nodes(args)) => top::nodes(&server.client, global, args).await,
        Command::Top(Top::Pods(args)) => top::pods(server, global, args).await,
        Command::Labels(args) => labels::run(&server.client, global, args).await,
        Command::Patterns(args) => patterns::run(&server.client, global, args).await,
        Command::Agents(args) => agents::run(&server.client, global, args).await,
        Command::Export(args) => export::run(&server.client, args).await,
        Command::Check(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Help { .. }
        | Command::Config(_)
        | Command::Completion { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_those_of_kubectl() {
        let line = "kansoku logs -l app=x -n shop -c app -f --since=5m --tail=-1 -p --timestamps --prefix \
                    --all-containers=false --max-log-requests 9 --limit-bytes=10 --ignore-errors=true";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Logs(logs) = cli.command else {
            panic!()
        };
        assert!(logs.follow && logs.previous && logs.ignore_errors && !logs.all_containers);
        assert_eq!(
            (logs.tail, logs.limit_bytes, logs.max_log_requests),
            (Some(-1), 10, 9)
        );
        for line in [
            "kansoku",
            "kansoku logs --tial 5",
            "kansoku query",
            "kansoku -o xml labels",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
        let passed =
            Cli::try_parse_from("kansoku backup --to x --keep-last 3 -h".split(' ')).unwrap();
        let Command::Backup(passed) = passed.command else {
            panic!()
        };
        assert_eq!(passed.arguments, ["--to", "x", "--keep-last", "3", "-h"]);
    }
}
