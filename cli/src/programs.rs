//! `check` and `backup`: run by the programs that read those files, found beside this one or in PATH.
//! Arguments, output and exit code are theirs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::args::{Check, Passed};
use crate::error::{Error, Result};

const AGENT: &str = "kansoku-agent";
const AGGREGATOR: &str = "kansoku-aggregator";

/// `kansoku check …`
///
/// # Errors
/// When the program is missing, or with its exit code.
pub fn check(check: Check) -> Result<()> {
    let (program, fixed, passed) = match check {
        Check::Config(passed) => {
            let is_help = passed.arguments.iter().any(|a| a == "-h" || a == "--help");
            if passed.arguments.is_empty() || is_help {
                eprintln!(
                    "Usage: kansoku check config FILE [FLAGS OF kansoku-agent]\n\nReads the configuration as kansoku-agent does, and starts nothing."
                );
                return if is_help {
                    Ok(())
                } else {
                    Err(Error::Exit(crate::error::EXIT_USAGE))
                };
            }
            let first_is_flag = passed.arguments[0].as_encoded_bytes().starts_with(b"-");
            let fixed: &[&str] = if first_is_flag {
                &["--dry-run"]
            } else {
                &["--dry-run", "--config"]
            };
            (AGENT, fixed, passed)
        }
        Check::Rules(passed) => (AGGREGATOR, &["check", "rules"][..], passed),
        Check::Storage(passed) => (AGGREGATOR, &["check"][..], passed),
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

fn run(program: &str, fixed: &[&str], passed: Passed) -> Result<()> {
    let path = find(program).ok_or_else(|| {
        Error::failed(format!(
            "{program} is neither beside this program nor in PATH; this command runs it: install it, or run the command where it is, such as in its pod"
        ))
    })?;
    let status = Command::new(&path)
        .args(fixed)
        .args(passed.arguments)
        .status();
    let status =
        status.map_err(|e| Error::failed(format!("cannot run {}: {e}", path.display())))?;
    if status.success() {
        return Ok(());
    }
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = status
        .code()
        .or_else(|| signal.map(|n| 128 + n))
        .unwrap_or(1);
    Err(Error::Exit(u8::try_from(code).unwrap_or(1)))
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
    fn exit_codes_are_passed_on() {
        let passed = |text: &str| Passed {
            arguments: vec![text.into()],
        };
        assert!(run("sh", &["-c"], passed("exit 0")).is_ok());
        assert!(matches!(
            run("sh", &["-c"], passed("exit 7")),
            Err(Error::Exit(7))
        ));
        assert!(matches!(
            run("sh", &["-c"], passed("kill -9 $$")),
            Err(Error::Exit(137))
        ));
        let missing = run("kansoku-no-such-program", &[], passed("")).unwrap_err();
        assert!(missing.to_string().contains("neither beside"), "{missing}");
    }
}
