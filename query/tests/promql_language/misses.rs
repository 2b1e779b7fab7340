//! Cases of Prometheus that do not pass, and why.

/// Cases in `fixtures/promql_prometheus`.
pub const N_CASES: usize = 2214;

/// File, lines and reason.
pub const MISSES: &[(&str, &[usize], &str)] = &[
    (
        "aggregators.test",
        &[481],
        "a query is UTF-8 here, so that a text with a broken byte is refused earlier and in other words",
    ),
    (
        "native_histograms.test",
        &[1857, 1862, 1867, 1872, 1880, 1885, 1947, 1951, 1955],
        "a warning that Prometheus gives only inside histogram_count, where it reads without buckets and notes resets itself",
    ),
];
