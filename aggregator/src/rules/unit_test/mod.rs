//! Unit tests of rules, as `promtool test rules` runs them: series in, alerts and values out.
//!
//! A test has a store of its own in memory; time is what the test says. The messages are promtool's.

mod compare;
mod input;
mod memory;
mod run;

use std::path::{Path, PathBuf};

use regex::Regex;

use super::file::{self, Language};
use super::globs;
use super::group::Running;
use input::{TestFile, TestGroup};

const FAILED: u8 = 1;

/// Runs the tests of files and prints how they went; gives the exit code.
#[must_use]
pub fn run_files(files: &[PathBuf], pattern: Option<&str>) -> u8 {
    let wanted = match pattern.map(Regex::new).transpose() {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("--run is no regular expression: {error}");
            return FAILED;
        }
    };
    let mut code = 0;
    for path in files {
        let errors = match input::read(path) {
            Ok(file) => run_file(&file, wanted.as_ref()),
            Err(message) => vec![message],
        };
        if errors.is_empty() {
            println!("  SUCCESS");
        } else {
            code = FAILED;
            eprintln!("  FAILED:");
            for error in errors {
                eprintln!("{error}");
                println!();
            }
        }
        println!();
    }
    code
}

/// Runs the tests of a file; gives what went wrong.
fn run_file(file: &TestFile, wanted: Option<&Regex>) -> Vec<String> {
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
            Err(message) => return vec![message],
        }
    }
    let is_wanted = |test: &&TestGroup| wanted.is_none_or(|w| w.is_match(&test.name));
    let tests = file.tests.iter().filter(is_wanted);
    tests
        .flat_map(|test| run_test(file, test, &paths))
        .collect()
}

fn run_test(file: &TestFile, test: &TestGroup, paths: &[PathBuf]) -> Vec<String> {
    let interval_ms = test.interval_ms.unwrap_or(file.evaluation_interval_ms);
    match load(paths, interval_ms, &file.group_eval_order) {
        Ok(groups) => run::run(test, interval_ms, file, &groups),
        Err(errors) => errors,
    }
}

/// The groups of the files, those that the test names first in its order.
fn load(
    paths: &[PathBuf],
    interval_ms: i64,
    order: &[String],
) -> Result<Vec<Running>, Vec<String>> {
    let mut groups = Vec::new();
    for path in paths {
        let read = file::read(&path.to_string_lossy(), Language::Promql)?;
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
