//! The pipeline as a whole, with inputs and outputs that exist only here.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use kansoku_model::{LogBatch, Position, RecordBatch, Source, SourceId, Value};
use kansoku_outputs::{Outcome, Output, Request, RetryPolicy, SendFuture};

use super::*;
use crate::plugin::{Filter, Input};

mod kept;
mod leaving;
mod partial;
mod spilled;
mod unwaiting;

/// Sends what comes through a channel and reports acknowledgements by number.
struct Scripted {
    batches: Receiver<RecordBatch>,
    acknowledged: Sender<u64>,
}

impl Input for Scripted {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        for batch in &self.batches {
            let to = batch.source().to.offset;
            let acknowledged = self.acknowledged.clone();
            let done = Box::new(move || acknowledged.send(to).expect("the test listens"));
            if link.send(batch, Some(done)).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Answers by what the batches say and notes every record that was delivered.
#[derive(Default)]
struct Picky {
    delivered: Mutex<Vec<String>>,
    max_records: usize,
    /// How many more requests fail for the time being.
    failures: AtomicU64,
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let RecordBatch::Logs(b) = batch else {
        return Vec::new();
    };
    let text = |v: &Value| match v {
        Value::Text(s) => String::from_utf8_lossy(b.bytes(*s)).into_owned(),
        other => panic!("text expected, got {other:?}"),
    };
    b.column("log")
        .map_or(Vec::new(), |c| c.values.iter().map(text).collect())
}

impl Output for Picky {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        let batches = request.batches;
        Box::pin(async move {
            let all: Vec<String> = batches.iter().flat_map(|b| texts(b)).collect();
            let failing = |n: u64| n.checked_sub(1);
            if self
                .failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, failing)
                .is_ok()
            {
                return Outcome::Retry {
                    reason: "not now".into(),
                    after: None,
                };
            }
            if self.max_records > 0 && all.len() > self.max_records {
                return Outcome::TooLarge;
            }
            if all.iter().any(|t| t.starts_with("poison")) {
                return Outcome::Rejected {
                    reason: "status 400".into(),
                };
            }
            self.delivered.lock().unwrap().extend(all);
            Outcome::Delivered
        })
    }

    fn takes(&self, batch: &RecordBatch) -> bool {
        matches!(batch, RecordBatch::Logs(_))
    }
}

fn batch(tag: &str, first: u64, lines: &[&str]) -> RecordBatch {
    let mut b = LogBatch::new(tag.into(), Arc::default(), Vec::new());
    for (i, line) in lines.iter().enumerate() {
        let row = b.push(0, Position::at(first + i as u64 + 1));
        b.set_text("log", row, line.as_bytes());
    }
    b.source = Source {
        id: SourceId(7),
        from: Position::at(first),
        to: Position::at(first + lines.len() as u64),
    };
    RecordBatch::Logs(b)
}

struct DropSecret;

impl Filter for DropSecret {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let texts = texts(&RecordBatch::Logs(batch.clone()));
        batch.retain(|row| !texts[row].contains("secret"));
    }
}

fn quick() -> RetryPolicy {
    RetryPolicy {
        base: Duration::from_millis(20),
        cap: Duration::from_millis(1),
        limit: None,
    }
}

/// Runs `batches` through the outputs (name, match) and gives back what was acknowledged.
fn run(
    batches: Vec<RecordBatch>,
    outputs: &[(&str, &str, Arc<Picky>, RetryPolicy)],
    storage_path: Option<PathBuf>,
) -> (Vec<u64>, Arc<Metrics>) {
    let output = |(name, pattern, output, retry): &(&str, &str, Arc<Picky>, RetryPolicy)| {
        let matches = TagMatch::wildcard(pattern);
        let mut spec = OutputSpec::new((*name).into(), matches, output.clone());
        spec.retry = *retry;
        spec
    };
    let spec = PipelineSpec {
        filters: vec![FilterSpec {
            name: "drop.0".into(),
            matches: TagMatch::wildcard("a*"),
            filter: Box::new(DropSecret),
        }],
        outputs: outputs.iter().map(output).collect(),
        storage_path,
        ..PipelineSpec::default()
    };
    run_spec(spec, batches)
}

/// One input without anything; [`run_spec`] makes it send.
fn scripted() -> Vec<InputSpec> {
    let (_, batches) = crossbeam_channel::unbounded();
    let (acknowledged, _) = crossbeam_channel::unbounded();
    let input = Scripted {
        batches,
        acknowledged,
    };
    vec![InputSpec::new(
        "scripted.0".into(),
        "t".into(),
        Box::new(input),
    )]
}

/// Runs `batches` through a pipeline of one input and gives back what was acknowledged, in order.
fn run_spec(mut spec: PipelineSpec, batches: Vec<RecordBatch>) -> (Vec<u64>, Arc<Metrics>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (sender, receiver) = crossbeam_channel::unbounded();
    let (acknowledged, acks) = crossbeam_channel::unbounded();
    if spec.inputs.is_empty() {
        spec.inputs = scripted();
    }
    spec.inputs[0].input = Box::new(Scripted {
        batches: receiver,
        acknowledged,
    });
    spec.inputs[0].mem_buf_limit = Some(2000);
    let running = start(spec, runtime.handle()).unwrap();
    let metrics = running.metrics();
    batches.into_iter().for_each(|b| sender.send(b).unwrap());
    drop(sender);
    running.wait().unwrap();
    let mut acks: Vec<u64> = acks.into_iter().collect();
    acks.sort_unstable();
    (acks, metrics)
}

#[test]
fn batches_are_filtered_routed_and_acknowledged_in_order_within_a_small_budget() {
    let (a, b) = (Arc::new(Picky::default()), Arc::new(Picky::default()));
    let batches = vec![
        batch("a.1", 0, &["one", "a secret", "two"]),
        batch("b.1", 3, &["a secret of b"]),
        batch("c.1", 4, &["nobody wants c"]),
        batch("a.2", 5, &["only secrets"]),
        batch("a.3", 6, &["three"]),
    ];
    let outputs = [
        ("a", "a.*", a.clone(), quick()),
        ("ab", "[", b.clone(), quick()),
    ];
    let outputs = [outputs[0].clone(), ("ab", "*.1", b.clone(), outputs[1].3)];
    let (acks, metrics) = run(batches, &outputs, None);
    assert_eq!(acks, [3, 4, 5, 6, 7]);
    assert_eq!(*a.delivered.lock().unwrap(), ["one", "two", "three"]);
    let expected = ["one", "two", "a secret of b", "nobody wants c"];
    assert_eq!(*b.delivered.lock().unwrap(), expected);
    assert_eq!(metrics.inputs[0].records.get(), 7);
    assert_eq!(metrics.filters[0].drop_records.get(), 2);
    assert_eq!(metrics.outputs[0].proc_records.get(), 3);
}

#[test]
fn failures_are_retried_in_order_until_delivered() {
    let output = Arc::new(Picky::default());
    output.failures.store(5, Ordering::SeqCst);
    let lines: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let batches = lines
        .iter()
        .enumerate()
        .map(|(n, l)| batch("t", n as u64, &[l]));
    let (acks, metrics) = run(
        batches.collect(),
        &[("o", "*", output.clone(), quick())],
        None,
    );
    assert_eq!(*output.delivered.lock().unwrap(), lines);
    assert_eq!(acks, (1..=50).collect::<Vec<u64>>());
    assert_eq!(metrics.outputs[0].retries.get(), 5);
}

#[test]
fn requests_that_are_too_large_are_halved_down_to_records() {
    let output = Arc::new(Picky {
        max_records: 1,
        ..Picky::default()
    });
    let lines = ["0", "1", "2", "3", "4"];
    let batches = vec![batch("t", 0, &lines), batch("t", 5, &["5"])];
    let (acks, _) = run(batches, &[("o", "*", output.clone(), quick())], None);
    assert_eq!(
        *output.delivered.lock().unwrap(),
        ["0", "1", "2", "3", "4", "5"]
    );
    assert_eq!(acks, [5, 6]);
}

#[test]
fn what_is_rejected_goes_to_the_dead_letters_and_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let output = Arc::new(Picky::default());
    let batches = vec![
        batch("t", 0, &["good"]),
        batch("t", 1, &["poison"]),
        batch("t", 2, &["better"]),
    ];
    let storage = Some(dir.path().to_owned());
    let (acks, metrics) = run(batches, &[("o", "*", output.clone(), quick())], storage);
    assert_eq!(*output.delivered.lock().unwrap(), ["good", "better"]);
    assert_eq!(acks, [1, 2, 3]);
    assert_eq!(metrics.outputs[0].dead_letter_records.get(), 1);
    assert!(dir.path().join("rejected/o.frames").exists());
}

#[test]
fn a_retry_limit_gives_up_and_acknowledges() {
    let output = Arc::new(Picky::default());
    output.failures.store(3, Ordering::SeqCst);
    let policy = RetryPolicy {
        limit: Some(2),
        ..quick()
    };
    let batches = vec![batch("t", 0, &["lost"])];
    let (acks, metrics) = run(batches, &[("o", "*", output, policy)], None);
    assert_eq!(acks, [1]);
    let counters: HashMap<&str, u64> = HashMap::from([
        ("failed", metrics.outputs[0].retries_failed.get()),
        ("dropped", metrics.outputs[0].dropped_records.get()),
    ]);
    assert_eq!(counters, HashMap::from([("failed", 1), ("dropped", 1)]));
}

#[test]
fn stopping_ends_an_input_that_waits_for_room_and_acknowledges_nothing_undelivered() {
    let output = Arc::new(Picky::default());
    output.failures.store(u64::MAX, Ordering::SeqCst);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (sender, receiver) = crossbeam_channel::unbounded();
    let (acknowledged, acks) = crossbeam_channel::unbounded();
    let spec = PipelineSpec {
        inputs: vec![InputSpec {
            name: "scripted.0".into(),
            tag: "t".into(),
            tag_is_set: true,
            input: Box::new(Scripted {
                batches: receiver,
                acknowledged,
            }),
            mem_buf_limit: Some(1),
            processors: Vec::new(),
            filesystem: false,
            routed_to: OutputSet::EMPTY,
            rate_gate: None,
        }],
        outputs: vec![OutputSpec {
            name: "o".into(),
            matches: TagMatch::wildcard("*"),
            output,
            retry: quick(),
            workers: 2,
            processors: Vec::new(),
            total_limit_bytes: None,
        }],
        grace: Duration::ZERO,
        ..PipelineSpec::default()
    };
    let running = start(spec, runtime.handle()).unwrap();
    for n in 0..9 {
        sender.send(batch("t", n, &["x"])).unwrap();
    }
    running.stopper().stop();
    running.wait().unwrap();
    assert_eq!(acks.into_iter().count(), 0);
}

#[test]
fn one_storage_path_belongs_to_one_pipeline_and_is_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let spec = || PipelineSpec {
        inputs: scripted(),
        storage_path: Some(dir.path().join("storage")),
        ..PipelineSpec::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let first = start(spec(), runtime.handle()).unwrap();
    let refused = start(spec(), runtime.handle()).err().expect("refused");
    let message = format!("{refused:#}");
    assert!(message.contains("storage.path"), "{message}");
    assert!(
        message.contains(&std::process::id().to_string()),
        "{message}"
    );
    let second = first.hand_over(spec()).unwrap();
    second.wait().unwrap();
    start(spec(), runtime.handle()).unwrap().wait().unwrap();
}
