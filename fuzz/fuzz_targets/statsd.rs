//! Any bytes as a StatsD datagram: as many log records as samples of metrics, each series with a name.
#![no_main]

use kansoku_agent::fuzzing::statsd;
use kansoku_fuzz::check;

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    let (logs, metrics) = statsd(bytes);
    check(&logs);
    let n_records: usize = logs.iter().map(kansoku_model::LogBatch::len).sum();
    assert_eq!(n_records, metrics.points().len());
    for point in metrics.points() {
        let labels = metrics.labels_of(point);
        let mut names: Vec<&str> = labels.map(|(name, _)| name).collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n, "a label twice is no series");
    }
});
