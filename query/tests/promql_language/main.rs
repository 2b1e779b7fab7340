//! Files in Prometheus's test language, run on the engine: our own, which must all pass, and Prometheus's.
//!
//! A folder named by the environment variable KANSOKU_PROMQL_TESTS is run as a measure: it prints passes and failures per file,
//! KANSOKU_PROMQL_SHOW failures of each in full.

mod runner;

use std::path::{Path, PathBuf};

use kansoku_model::select::SeriesData;
use kansoku_query::promql::{QueryError, QueryOutput};
use runner::{Question, Witness, run_file, test_files};

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(name)
}

/// Cases in `fixtures/promql_prometheus`.
const N_CASES_OF_PROMETHEUS: usize = 2214;

#[test]
fn own_cases_pass() {
    let (n_passed, failures) = run_folder(&fixtures("promql"), false);
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(n_passed > 0, "no case found");
}

#[test]
fn cases_of_prometheus_pass() {
    let (n_passed, failures) = run_folder(&fixtures("promql_prometheus"), true);
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(n_passed, N_CASES_OF_PROMETHEUS);
}

#[test]
fn measure_a_named_folder() {
    let Ok(folder) = std::env::var("KANSOKU_PROMQL_TESTS") else {
        return;
    };
    let n_shown = std::env::var("KANSOKU_PROMQL_SHOW")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let (n_passed, failures) = run_folder(Path::new(&folder), true);
    for (file, line, message) in failures.iter().take(n_shown) {
        println!("{file}:{line}: {message}");
    }
    println!("passed {n_passed} failed {}", failures.len());
    assert!(n_passed > 0, "no case passed in {folder}");
}

/// Looks on.
struct Nobody;

impl Witness for Nobody {
    fn cleared(&mut self) {}
    fn loaded(&mut self, _: &[SeriesData]) {}
    fn answered(
        &mut self,
        _: &Question<'_>,
        _: &Result<QueryOutput, QueryError>,
    ) -> Result<(), String> {
        Ok(())
    }
}

/// How many cases pass; file, line and reason of those that do not.
fn run_folder(folder: &Path, delayed_name_removal: bool) -> (usize, Vec<(String, usize, String)>) {
    let (mut n_passed, mut failures) = (0, Vec::new());
    for path in test_files(folder) {
        let report = run_file(&path, delayed_name_removal, &mut Nobody);
        n_passed += report.n_passed;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let named = report.failures.into_iter();
        failures.extend(named.map(|(line, message)| (file.to_string(), line, message)));
    }
    (n_passed, failures)
}
