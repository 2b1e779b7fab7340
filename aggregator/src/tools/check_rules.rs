//! `check rules`: says whether rule files are right, as promtool does.
//!
//! Output and exit codes are promtool's: 0 all is well, 1 a file is wrong, 3 lint found something and
//! was told to fail.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;

use crate::output::line;
use crate::rules::file::{self, Group, Language};
use crate::rules::unit_test::{self, TestOptions};

/// What is checked, and how.
#[derive(Debug, Clone, Args)]
pub struct CheckRules {
    /// Rule files; standard input without any.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// The files are unit tests of rules, as `promtool test rules` takes them: run them.
    #[arg(long, requires = "files")]
    pub test: bool,

    /// Of unit tests, run only those whose name matches this pattern.
    #[arg(long, value_name = "REGEX", requires = "test")]
    pub run: Option<String>,

    /// Of unit tests, write the results as JUnit's XML to this file.
    #[arg(long, value_name = "FILE", requires = "test")]
    pub junit: Option<PathBuf>,

    /// Of unit tests, show alerts that differ line by line, in colours.
    #[arg(long, requires = "test")]
    pub diff: bool,

    /// Of unit tests, tell when each begins and ends, and all data behind it.
    #[arg(long, requires = "test")]
    pub debug: bool,

    /// Take files with fields that are not known.
    #[arg(long)]
    pub ignore_unknown_fields: bool,

    /// The expressions are LogQL, as in files of Loki's ruler.
    #[arg(long, conflicts_with = "test")]
    pub logql: bool,

    /// What else is looked for: duplicate-rules, all or none.
    #[arg(long, value_name = "LINT", default_value = "duplicate-rules",
        value_parser = ["all", "duplicate-rules", "none"])]
    pub lint: String,

    /// End with 3 when lint finds something.
    #[arg(long)]
    pub lint_fatal: bool,
}

const FAILED: u8 = 1;
const LINT_FAILED: u8 = 3;

/// Checks and prints; gives the exit code.
#[must_use]
pub fn run(checked: &CheckRules) -> u8 {
    if checked.test {
        let options = TestOptions {
            run: checked.run.clone(),
            junit: checked.junit.clone(),
            diff: checked.diff,
            debug: checked.debug,
            ignore_unknown_fields: checked.ignore_unknown_fields,
        };
        return unit_test::run_files(&checked.files, &options);
    }
    let language = match checked.logql {
        true => Language::Logql,
        false => Language::Promql,
    };
    let ignores = checked.ignore_unknown_fields;
    let mut code = 0;
    let mut tell = |found: Result<Vec<Group>, Vec<String>>| {
        let told = tell_one(found, checked);
        // A wrong file counts for more than a finding.
        if code != FAILED && told != 0 {
            code = told;
        }
    };
    if checked.files.is_empty() {
        line(format_args!("Checking standard input"));
        let mut bytes = Vec::new();
        let read = std::io::stdin().read_to_end(&mut bytes);
        let read = read.map_err(|e| vec![format!("failed to read standard input: {e}")]);
        let name = "standard input";
        tell(read.and_then(|_| file::parse_with(name, &bytes, language, ignores)));
    }
    for path in &checked.files {
        line(format_args!("Checking {}", path.display()));
        tell(file::read_with(&path.to_string_lossy(), language, ignores));
    }
    code
}

fn tell_one(found: Result<Vec<Group>, Vec<String>>, checked: &CheckRules) -> u8 {
    let groups = match found {
        Ok(groups) => groups,
        Err(errors) => {
            eprintln!("  FAILED:");
            errors.iter().for_each(|e| eprintln!("{e}"));
            return FAILED;
        }
    };
    let duplicates = match checked.lint.as_str() {
        "none" => Vec::new(),
        _ => duplicates(&groups),
    };
    let code = if duplicates.is_empty() {
        let n_rules: usize = groups.iter().map(|g| g.rules.len()).sum();
        line(format_args!("  SUCCESS: {n_rules} rules found"));
        0
    } else {
        eprintln!("  FAILED:");
        eprintln!("lint error {} duplicate rule(s) found.", duplicates.len());
        for (name, labels) in &duplicates {
            eprintln!("Metric: {name}\nLabel(s):");
            labels.iter().for_each(|(n, v)| eprintln!("\t{n}: {v}"));
        }
        eprintln!("Might cause inconsistency while recording expressions");
        if checked.lint_fatal { LINT_FAILED } else { 0 }
    };
    line(format_args!(""));
    code
}

/// The name and the labels of rules.
type Named<'a> = (&'a str, Vec<(&'a str, &'a str)>);

/// Rules with one name and the same labels, each once.
fn duplicates(groups: &[Group]) -> Vec<Named<'_>> {
    let rules = groups.iter().flat_map(|group| &group.rules);
    let mut named: Vec<Named<'_>> = rules
        .map(|rule| (rule.name.as_str(), rule.label_texts().collect()))
        .collect();
    named.sort();
    let mut found: Vec<Named<'_>> = Vec::new();
    for pair in named.windows(2) {
        if pair[0] == pair[1] && found.last() != Some(&pair[0]) {
            found.push(pair[0].clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_found_once() {
        let text = "groups:\n- name: g\n  rules:\n  - {record: a, expr: up}\n  - {record: b, expr: up}\n  - {record: a, expr: down}\n  - {record: a, expr: x}\n  - {record: a, expr: x, labels: {l: '1'}}\n";
        let groups = file::parse("r.yml", text.as_bytes(), Language::Promql).unwrap();
        assert_eq!(duplicates(&groups), [("a", Vec::new())]);
    }
}
