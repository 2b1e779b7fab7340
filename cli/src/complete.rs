//! Completion: the scripts of shells, and candidates for a command line that is being typed, in the protocol of
//! cobra, which kubectl speaks with the completion programs of its plugins: a candidate and its help per line, then a
//! directive.

use std::fmt::Write;

use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;

/// Directive of cobra: complete no file names.
const NO_FILES: &str = ":4\n";
/// Directive of cobra: complete what the shell does by itself, names of files.
const FILES: &str = ":0\n";

/// In fish's script: how the words before the cursor are read.
const FISH_READS: &str = "-- $cmd 2>/dev/null\n    or return\n";
/// The same for a flag that waits for its value: it stands alone then, and could not be read.
const FISH_READS_WELL: &str = "-- $cmd 2>/dev/null
    or argparse -s (__fish_kansoku_global_optspecs) -- $cmd[1..-2] 2>/dev/null
    or return
";

/// The completion script of a shell for the program `name`.
#[must_use]
pub fn script(shell: Shell, root: &mut Command, name: &str) -> Vec<u8> {
    // Into memory first: the generator panics when nobody reads its output.
    let mut script = Vec::new();
    clap_complete::generate(shell, root, name, &mut script);
    if shell == Shell::Fish {
        let text = String::from_utf8_lossy(&script);
        let optspecs = format!("__fish_{}_global_optspecs", name.replace('-', "_"));
        let better = FISH_READS_WELL.replace("__fish_kansoku_global_optspecs", &optspecs);
        script = text.replace(FISH_READS, &better).into_bytes();
    }
    script
}

/// What may stand in the place of the last of `words`.
#[must_use]
pub fn candidates(root: &mut Command, words: &[String]) -> String {
    root.build();
    let (current, before) = words
        .split_last()
        .map_or(("", words), |(last, rest)| (last.as_str(), rest));
    let mut command = &*root;
    let mut takes_value = None;
    for word in before {
        takes_value = None;
        if word.starts_with('-') {
            takes_value = valued(command, word);
        } else if let Some(inner) = command.find_subcommand(word) {
            command = inner;
        }
    }
    let mut out = String::new();
    // What stands before a value that is written to its flag: `--output=y`.
    let (fixed, typed) = match current.split_once('=') {
        Some((flag, typed)) if flag.starts_with("--") && takes_value.is_none() => {
            takes_value = flagged(command, flag);
            (format!("{flag}="), typed)
        }
        _ => (String::new(), current),
    };
    let mut add = |text: &str, help: Option<String>| {
        if text.starts_with(typed) {
            let help = help.unwrap_or_default();
            let help = help.lines().next().unwrap_or_default();
            let _ = writeln!(out, "{fixed}{text}\t{help}");
        }
    };
    let mut names_files = false;
    if let Some(arg) = takes_value {
        names_files = takes_files(arg);
        for value in arg.get_possible_values() {
            add(value.get_name(), value.get_help().map(ToString::to_string));
        }
    } else if current.starts_with('-') {
        for arg in command.get_arguments().filter(|a| !a.is_hide_set()) {
            if let Some(long) = arg.get_long() {
                add(
                    &format!("--{long}"),
                    arg.get_help().map(ToString::to_string),
                );
            }
        }
    } else {
        for inner in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            add(inner.get_name(), inner.get_about().map(ToString::to_string));
        }
        for arg in command.get_positionals() {
            names_files |= takes_files(arg);
            for value in arg.get_possible_values() {
                add(value.get_name(), value.get_help().map(ToString::to_string));
            }
        }
    }
    out.push_str(if names_files { FILES } else { NO_FILES });
    out
}

/// The flag of `word` when its value is the next word.
fn valued<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    flagged(command, word).filter(|arg| !arg.is_require_equals_set())
}

/// The flag of `word`, if it takes a value.
fn flagged<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let name = word.trim_start_matches('-');
    let is_named = |arg: &&Arg| {
        let is_long = arg.get_long() == Some(name);
        let is_short = name.chars().count() == 1 && arg.get_short() == name.chars().next();
        is_long || is_short
    };
    let found = command.get_arguments().find(is_named);
    found.filter(|arg| arg.get_action().takes_values())
}

fn takes_files(arg: &Arg) -> bool {
    matches!(
        arg.get_value_hint(),
        ValueHint::AnyPath | ValueHint::FilePath
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn candidates_by_what_was_typed() {
        for (words, expected) in [
            (&["lo"][..], &["logs"][..]),
            (&["top", ""], &["nodes", "pods"]),
            (&["logs", "--max"], &["--max-log-requests"]),
            (&["top", "pods", "--sort-by", ""], &["cpu", "memory"]),
            (&["-o", "y"], &["yaml"]),
            (&["completion", "z"], &["zsh"]),
            (&["logs", "x"], &[]),
            (&["logs", "-f", "--col"], &["--color"]),
            (&["--server", "http://x", "to"], &["top"]),
            (&["-o", "json", "top", "p"], &["pods"]),
            (&["labels", "--output=y"], &["--output=yaml"]),
            (&["logs", "--all-containers", "x"], &[]),
            (
                &["--"],
                &[
                    "--server",
                    "--context",
                    "--config",
                    "--token",
                    "--username",
                    "--password",
                    "--tenant",
                    "--kube-service",
                    "--kubeconfig",
                    "--kube-context",
                    "--request-timeout",
                    "--output",
                    "--color",
                    "--help",
                    "--version",
                ],
            ),
            (
                &["é", "-é", "-"],
                &[
                    "--server",
                    "--context",
                    "--config",
                    "--token",
                    "--username",
                    "--password",
                    "--tenant",
                    "--kube-service",
                    "--kubeconfig",
                    "--kube-context",
                    "--request-timeout",
                    "--output",
                    "--color",
                    "--help",
                    "--version",
                ],
            ),
        ] {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let text = candidates(&mut crate::args::Cli::command(), &words);
            let got: Vec<&str> = text
                .lines()
                .filter_map(|l| Some(l.split_once('\t')?.0))
                .collect();
            assert_eq!(got, expected, "{words:?}");
        }
    }

    #[test]
    fn files_are_for_the_shell_to_complete() {
        for (words, expected) in [
            (&["--kubeconfig", ""][..], FILES),
            (&["export", "logs", "-f", ""], FILES),
            (&["check", "storage", ""], FILES),
            (&["config", "set-context", "--ca=x"], FILES),
            (&["logs", ""], NO_FILES),
            (&["export", "logs", ""], NO_FILES),
        ] {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let text = candidates(&mut crate::args::Cli::command(), &words);
            assert!(text.ends_with(expected), "{words:?}: {text}");
        }
    }

    #[test]
    fn the_script_of_fish_knows_flags_that_wait_for_a_value() {
        let script = script(
            Shell::Fish,
            &mut crate::args::Cli::command(),
            "kubectl-kansoku",
        );
        let script = String::from_utf8(script).unwrap();
        let reads = "or argparse -s (__fish_kubectl_kansoku_global_optspecs) -- $cmd[1..-2]";
        assert!(script.contains(reads), "{script}");
        assert!(script.contains("function __fish_kubectl_kansoku_global_optspecs"));
    }
}
