//! Destinations that answer record by record.

use kansoku_outputs::RecordRef;

use super::*;

/// Refuses records that begin with "bad", takes those with "late" only the second time, and notes
/// every request.
#[derive(Default)]
struct Rowwise {
    requests: Mutex<Vec<(String, Vec<String>)>>,
    delivered: Mutex<Vec<String>>,
}

impl Output for Rowwise {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        let all: Vec<Vec<String>> = request.batches.iter().map(|b| texts(b)).collect();
        let mut requests = self.requests.lock().unwrap();
        let first = requests.is_empty();
        requests.push((request.id.to_owned(), all.concat()));
        let (mut retry, mut rejected) = (Vec::new(), Vec::new());
        for (batch, texts) in all.into_iter().enumerate() {
            for (row, text) in texts.into_iter().enumerate() {
                let record = RecordRef {
                    batch: batch as u32,
                    row: row as u32,
                };
                if text.starts_with("bad") {
                    rejected.push((record, format!("status 400: {text}")));
                } else if text.starts_with("late") && first {
                    retry.push(record);
                } else {
                    self.delivered.lock().unwrap().push(text);
                }
            }
        }
        let outcome = if retry.is_empty() && rejected.is_empty() {
            Outcome::Delivered
        } else {
            Outcome::Partial {
                retry,
                rejected,
                reason: "some were late".into(),
                after: None,
            }
        };
        Box::pin(std::future::ready(outcome))
    }

    fn takes(&self, _: &RecordBatch) -> bool {
        true
    }
}

#[test]
fn only_what_has_to_be_repeated_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let output = Arc::new(Rowwise::default());
    let mut spec = OutputSpec::new("o".into(), TagMatch::wildcard("*"), output.clone());
    spec.retry = quick();
    let spec = PipelineSpec {
        outputs: vec![spec],
        storage_path: Some(dir.path().to_owned()),
        ..PipelineSpec::default()
    };
    let batches = vec![
        batch("t", 0, &["a", "late 1", "bad 1", "late 2"]),
        batch("t", 4, &["late 3", "bad 2", "bad 2"]),
        batch("t", 7, &["b"]),
    ];
    let (acks, metrics) = run_spec(spec, batches);
    assert_eq!(acks, [4, 7, 8]);
    let requests = output.requests.lock().unwrap();
    let sent: Vec<String> = requests
        .iter()
        .flat_map(|(_, texts)| texts.clone())
        .collect();
    assert_eq!(
        sent.iter().filter(|t| t.starts_with("late")).count(),
        6 - late_alone(&requests)
    );
    assert!(
        requests.len() > 1 && requests[0].0 != requests[1].0,
        "a name of its own"
    );
    let mut delivered = output.delivered.lock().unwrap().clone();
    delivered.sort();
    assert_eq!(delivered, ["a", "b", "late 1", "late 2", "late 3"]);
    let counters = &metrics.outputs[0];
    assert_eq!(counters.proc_records.get(), 5);
    assert_eq!(counters.dead_letter_records.get(), 3);
    let index = std::fs::read_to_string(dir.path().join("rejected/o.jsonl")).unwrap();
    assert_eq!(
        index.matches("status 400: bad").count(),
        2,
        "one line per reason"
    );
}

/// How many of the late records were not in the first request, and so were sent once only.
fn late_alone(requests: &[(String, Vec<String>)]) -> usize {
    let late = requests[0].1.iter().filter(|t| t.starts_with("late"));
    3 - late.count()
}

/// Refuses so many records of every request, without saying which.
struct Unnamed(u64);

impl Output for Unnamed {
    fn send<'a>(&'a self, _: Request<'a>) -> SendFuture<'a> {
        Box::pin(std::future::ready(Outcome::SomeRejected {
            n_records: self.0,
            reason: "too old".into(),
        }))
    }

    fn takes(&self, _: &RecordBatch) -> bool {
        true
    }
}

#[test]
fn records_refused_without_a_name_are_counted_and_not_sent_again() {
    for (n_refused, delivered, dropped, kept) in
        [(0, 5, 0, 0), (2, 3, 2, 0), (5, 0, 5, 5), (9, 0, 5, 5)]
    {
        let dir = tempfile::tempdir().unwrap();
        let output = Arc::new(Unnamed(n_refused));
        let spec = PipelineSpec {
            outputs: vec![OutputSpec::new("o".into(), TagMatch::wildcard("*"), output)],
            storage_path: Some(dir.path().to_owned()),
            ..PipelineSpec::default()
        };
        let (acks, metrics) = run_spec(spec, vec![batch("t", 0, &["a", "b", "c", "d", "e"])]);
        assert_eq!(acks, [5]);
        let counters = &metrics.outputs[0];
        assert_eq!(counters.proc_records.get(), delivered);
        assert_eq!(counters.dropped_records.get(), dropped);
        assert_eq!(counters.dead_letter_records.get(), kept);
        assert_eq!(counters.retries.get(), 0);
    }
}
