//! `check`, `backup` and `restore`: run by the programs that read those files, found beside this one or in PATH.
//! They take our place, so that arguments, output, signals and exit code are theirs.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::args::{Check, Passed};
use crate::error::{Error, Result};

const AGENT: &str = "kansoku-agent";
const AGGREGATOR: &str = "kansoku-aggregator";
const CONFIG_USAGE: &str = "\
Usage: kansoku check config FILE [FLAGS OF kansoku-agent]

Reads the configuration as kansoku-agent does, and starts nothing.
";

/// `kansoku check …`
///
/// # Errors
/// When the program is missing or cannot be run.
pub fn check(check: Check) -> Result<()> {
    let (program, fixed, passed) = match check {
        Check::Config(passed) => {
            let is_help = passed.arguments.iter().any(|a| a == "-h" || a == "--help");
            if is_help {
                std::io::stdout().write_all(CONFIG_USAGE.as_bytes())?;
                return Ok(());
            }
            if passed.arguments.is_empty() {
                return Err(Error::Usage(format!(
                    "the file to check is missing\n\n{}",
                    CONFIG_USAGE.trim_end()
                )));
            }
            let fixed: &[&str] = if names_a_path(&passed) {
                &["--dry-run", "--config"]
            } else {
                &["--dry-run"]
            };
            (AGENT, fixed, passed)
        }
        Check::Rules(passed) => (AGGREGATOR, &["check", "rules"][..], passed),
        Check::Storage(passed) => {
            let fixed: &[&str] = if names_a_path(&passed) {
                &["check", "--storage.path"]
            } else {
                &["check"]
            };
            (AGGREGATOR, fixed, passed)
        }
    };
    run(program, fixed, passed)
}

/// `kansoku backup …`
///
/// # Errors
/// As [`check`].
pub fn backup(passed: Passed) -> Result<()> {
    run(AGGREGATOR, &["backup"], passed)
}

/// `kansoku restore …`
///
/// # Errors
/// As [`check`].
pub fn restore(passed: Passed) -> Result<()> {
    run(AGGREGATOR, &["restore"], passed)
}

/// Whether the first argument is no flag, but what is to be checked.
fn names_a_path(passed: &Passed) -> bool {
    let first = passed.arguments.first();
    first.is_some_and(|text| !text.as_encoded_bytes().starts_with(b"-"))
}

/// Becomes that program; comes back only if that cannot be.
fn run(program: &str, fixed: &[&str], passed: Passed) -> Result<()> {
    let path = find(program).ok_or_else(|| {
        Error::failed(format!(
            "{program} is neither beside this program nor in PATH; this command runs it: install it, or run the command where it is, such as in its pod"
        ))
    })?;
    let failed = Command::new(&path)
        .args(fixed)
        .args(passed.arguments)
        .exec();
    Err(Error::failed(format!(
        "cannot run {}: {failed}",
        path.display()
    )))
}

/// The program beside us, else in PATH.
fn find(program: &str) -> Option<PathBuf> {
    let own = std::env::current_exe()
        .ok()
        .and_then(|path| path.canonicalize().ok());
    let beside = own.and_then(|path| Some(path.parent()?.to_owned()));
    let paths: OsString = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(&paths));
    folders.map(|folder| folder.join(program)).find(|path| {
        let meta = path.metadata();
        meta.is_ok_and(|m| {
            m.is_file() && std::os::unix::fs::PermissionsExt::mode(&m.permissions()) & 0o111 != 0
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_path() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("kansoku-no-such-program"), None);
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let passed = Passed {
            arguments: Vec::new(),
        };
        let missing = run("kansoku-no-such-program", &[], passed).unwrap_err();
        assert!(missing.to_string().contains("neither beside"), "{missing}");
    }
}
