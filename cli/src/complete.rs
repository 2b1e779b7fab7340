//! Candidates for a command line that is being typed, in the protocol of cobra, which kubectl speaks
//! with the completion programs of its plugins: a candidate and its help per line, then a directive.

use std::fmt::Write;

use clap::Command;

/// Directive of cobra: complete no file names.
const NO_FILES: &str = ":4\n";

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
        if let Some(flag) = word.strip_prefix('-') {
            let flag = flag.trim_start_matches('-');
            takes_value = command.get_arguments().find(|arg| {
                let is_long = arg.get_long() == Some(flag);
                let is_short = flag.len() == 1 && arg.get_short() == flag.chars().next();
                (is_long || is_short)
                    && arg.get_action().takes_values()
                    && !arg.is_require_equals_set()
            });
        } else if let Some(inner) = command.find_subcommand(word) {
            command = inner;
        }
    }
    let mut out = String::new();
    let mut add = |text: &str, help: Option<String>| {
        if text.starts_with(current) {
            let help = help.unwrap_or_default();
            let help = help.lines().next().unwrap_or_default();
            let _ = writeln!(out, "{text}\t{help}");
        }
    };
    if let Some(arg) = takes_value {
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
            for value in arg.get_possible_values() {
                add(value.get_name(), value.get_help().map(ToString::to_string));
            }
        }
    }
    out.push_str(NO_FILES);
    out
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
        ] {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let text = candidates(&mut crate::args::Cli::command(), &words);
            let got: Vec<&str> = text
                .lines()
                .filter_map(|l| Some(l.split_once('\t')?.0))
                .collect();
            assert_eq!(got, expected, "{words:?}");
            assert!(text.ends_with(NO_FILES));
        }
    }
}
