//! Unit tests of rules, as `promtool test rules` runs them: series in, alerts and values out.
//!
//! A test has a store of its own in memory; time is what the test says. The messages are promtool's.

mod compare;
mod input;
mod junit;
mod memory;
mod run;

use std::path::{Path, PathBuf};
use std::time::Instant;

use regex::Regex;

use super::file::{self, Language};
use super::globs;
use super::group::Running;
use crate::output::line;
use input::{TestFile, TestGroup};
use junit::Suite;

const FAILED: u8 = 1;

/// How tests are run and told; the names are those of promtool's flags.
#[derive(Debug, Clone, Default)]
pub struct TestOptions {
    /// Only tests with such a name.
    pub run: Option<String>,
    /// A file for JUnit's XML.
    pub junit: Option<PathBuf>,
    /// Show alerts that differ line by line, in colours.
    pub diff: bool,
    /// Tell when tests begin and end, and what is in the store behind them.
    pub debug: bool,
    pub ignore_unknown_fields: bool,
}

/// Runs the tests of files and prints how they went; gives the exit code.
#[must_use]
pub fn run_files(files: &[PathBuf], options: &TestOptions) -> u8 {
    let wanted = match options.run.as_deref().map(Regex::new).transpose() {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("--run is no regular expression: {error}");
            return FAILED;
        }
    };
    let (mut code, mut suites) = (0, Vec::new());
    for path in files {
        let mut suite = Suite::new(path.display().to_string());
        let errors = match input::read(path, options.ignore_unknown_fields) {
            Ok(file) => run_file(&file, wanted.as_ref(), options, &mut suite),
            Err(message) => {
                suite.abort(&message);
                vec![message]
            }
        };
        suites.push(suite);
        if errors.is_empty() {
            line(format_args!("  SUCCESS"));
        } else {
            code = FAILED;
            eprintln!("  FAILED:");
            for error in errors {
                eprintln!("{error}");
                line(format_args!(""));
            }
        }
        line(format_args!(""));
    }
    if let Some(path) = &options.junit
        && let Err(error) = std::fs::write(path, junit::xml(&suites))
    {
        eprintln!("failed to write {}: {error}", path.display());
        return FAILED;
    }
    code
}

/// Runs the tests of a file; gives what went wrong.
fn run_file(
    file: &TestFile,
    wanted: Option<&Regex>,
    options: &TestOptions,
    suite: &mut Suite,
) -> Vec<String> {
    let mut paths = Vec::new();
    for pattern in &file.rule_files {
        match globs::files(pattern, &file.folder) {
            Ok(found) => {
                if found.is_empty() {
                    let whole = file.folder.join(pattern);
                    eprintln!("  WARNING: no file match pattern {}", whole.display());
                }
                paths.extend(found);
            }
            Err(message) => {
                suite.abort(&message);
                return vec![message];
            }
        }
    }
    let is_wanted = |test: &&TestGroup| wanted.is_none_or(|w| w.is_match(&test.name));
    let mut all = Vec::new();
    for test in file.tests.iter().filter(is_wanted) {
        let begun = Instant::now();
        if options.debug {
            line(format_args!("DEBUG: Starting test {}", test.name));
        }
        let errors = run_test(file, test, &paths, options);
        if options.debug {
            line(format_args!(
                "DEBUG: Test {} finished, took {:?}",
                test.name,
                begun.elapsed()
            ));
        }
        suite.case(&test.name, &errors);
        all.extend(errors);
    }
    all
}

fn run_test(
    file: &TestFile,
    test: &TestGroup,
    paths: &[PathBuf],
    options: &TestOptions,
) -> Vec<String> {
    let interval_ms = test.interval_ms.unwrap_or(file.evaluation_interval_ms);
    let ignores = options.ignore_unknown_fields;
    match load(paths, interval_ms, &file.group_eval_order, ignores) {
        Ok(groups) => run::run(test, interval_ms, file, &groups, options),
        Err(errors) => errors,
    }
}

/// Runs tests that lie in no file over rules that do not either; gives what went wrong. Tests that need more
/// than so many evaluations are left out.
#[must_use]
pub fn run_texts(rules: &[u8], tests: &[u8], evaluations_max: i64) -> Vec<String> {
    let file = match input::parse("tests", tests, PathBuf::new(), false) {
        Ok(file) => file,
        Err(error) => return vec![error.to_string()],
    };
    let mut errors = Vec::new();
    for test in &file.tests {
        if run::n_evaluations(test, &file) > evaluations_max {
            continue;
        }
        let interval_ms = test.interval_ms.unwrap_or(file.evaluation_interval_ms);
        let groups = match file::parse("rules", rules, Language::Promql) {
            Ok(groups) => groups.into_iter(),
            Err(wrong) => return wrong,
        };
        let groups: Vec<Running> = groups.map(|g| Running::new(g, interval_ms, 0)).collect();
        errors.extend(run::run(
            test,
            interval_ms,
            &file,
            &groups,
            &TestOptions::default(),
        ));
    }
    errors
}

/// The groups of the files, those that the test names first in its order.
fn load(
    paths: &[PathBuf],
    interval_ms: i64,
    order: &[String],
    ignores_unknown: bool,
) -> Result<Vec<Running>, Vec<String>> {
    let mut groups = Vec::new();
    for path in paths {
        let path = path.to_string_lossy();
        let read = file::read_with(&path, Language::Promql, ignores_unknown)?;
        groups.extend(read.into_iter().map(|g| Running::new(g, interval_ms, 0)));
    }
    // What is not named comes with the first, as in promtool.
    let place = |g: &Running| {
        order
            .iter()
            .position(|name| *name == g.group.name)
            .unwrap_or(0)
    };
    groups.sort_by_key(place);
    Ok(groups)
}

/// The folder that relative names in a file mean.
fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests;
