//! Filters that keep records, processors of one input or output, and outputs that decline.

use super::*;
use crate::pipeline::{AcknowledgeOutputs, FilterContext, Hold, OutputSet};

/// Keeps every record until it is flushed.
#[derive(Default)]
struct Keeps {
    kept: Mutex<Vec<(LogBatch, Hold)>>,
    /// Flushed only at the end.
    patient: bool,
}

impl Filter for Keeps {
    fn apply(&self, batch: &mut LogBatch, context: &mut FilterContext) {
        let mut copy = batch.clone();
        copy.source.id = copy.source.id.derived("kept");
        self.kept.lock().unwrap().push((copy, context.hold()));
        batch.retain(|_| false);
    }

    fn flush_every(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }

    fn flush(&self, all: bool, context: &mut FilterContext) {
        if self.patient && !all {
            return;
        }
        for (batch, hold) in self.kept.lock().unwrap().drain(..) {
            context.emit(RecordBatch::Logs(batch), false, vec![hold]);
        }
    }
}

/// Appends its own mark to every record.
struct Marks(&'static str);

impl Filter for Marks {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let marked: Vec<String> = texts(&RecordBatch::Logs(batch.clone()))
            .iter()
            .map(|t| format!("{t}{}", self.0))
            .collect();
        for (row, text) in marked.iter().enumerate() {
            batch.set_text("log", row, text.as_bytes());
        }
    }
}

fn processor(filter: impl Filter + 'static) -> ProcessorSpec {
    ProcessorSpec {
        name: "p".into(),
        filter: Box::new(filter),
    }
}

fn filter(filter: impl Filter + 'static) -> FilterSpec {
    FilterSpec {
        name: "f".into(),
        matches: TagMatch::wildcard("*"),
        filter: Box::new(filter),
    }
}

fn outputs(n: usize) -> (Vec<Arc<Picky>>, Vec<OutputSpec>) {
    let outputs: Vec<Arc<Picky>> = (0..n).map(|_| Arc::default()).collect();
    let spec =
        |output: &Arc<Picky>| OutputSpec::new("o".into(), TagMatch::wildcard("*"), output.clone());
    let specs = outputs.iter().map(spec).collect();
    (outputs, specs)
}

#[test]
fn kept_records_are_acknowledged_when_they_are_delivered() {
    for patient in [false, true] {
        let (got, outputs) = outputs(2);
        let spec = PipelineSpec {
            filters: vec![
                filter(Keeps {
                    patient,
                    ..Keeps::default()
                }),
                filter(Marks("!")),
            ],
            outputs,
            ..PipelineSpec::default()
        };
        let batches = vec![batch("t", 0, &["a", "b"]), batch("t", 2, &["c"])];
        let (acks, _) = run_spec(spec, batches);
        assert_eq!(acks, [2, 3]);
        for output in got {
            assert_eq!(*output.delivered.lock().unwrap(), ["a!", "b!", "c!"]);
        }
    }
}

#[test]
fn processors_see_their_own_input_or_output_only() {
    let (got, mut outputs) = outputs(3);
    outputs[1].processors = vec![processor(Marks(" of 1")), processor(Marks("."))];
    outputs[2].processors = vec![processor(Keeps::default()), processor(Marks(" of 2"))];
    let mut spec = PipelineSpec {
        filters: vec![filter(Marks(" of all"))],
        outputs,
        ..PipelineSpec::default()
    };
    spec.inputs = scripted();
    spec.inputs[0].processors = vec![processor(Marks(" of the input"))];
    let (acks, metrics) = run_spec(spec, vec![batch("t", 0, &["a"])]);
    assert_eq!(acks, [1]);
    assert_eq!(metrics.processors.len(), 5);
    for (output, end) in got.iter().zip(["", " of 1.", " of 2"]) {
        let expected = [format!("a of the input of all{end}")];
        assert_eq!(*output.delivered.lock().unwrap(), expected);
    }
}

#[test]
fn an_output_without_room_declines_and_delays_nobody() {
    let (link, captured) = Link::captured_by("t", Duration::ZERO, 2);
    let told = Arc::new(Mutex::new(Vec::new()));
    let done = |n: u64| -> AcknowledgeOutputs {
        let told = told.clone();
        Arc::new(move |set: OutputSet| told.lock().unwrap().push((n, set)))
    };
    let text = "x".repeat(1 << 19);
    let (first, dead) = (OutputSet::one(0), OutputSet::one(1));
    let mut wanted = link.outputs();
    let mut declined_at = None;
    for n in 0..20 {
        assert!(link.has_room_for(0), "at {n}");
        let sent = link
            .offer(batch("t", n, &[&text]), wanted, done(n))
            .unwrap();
        if !sent.declined.is_empty() {
            assert_eq!(sent.declined, dead);
            declined_at.get_or_insert(n);
            wanted = first;
        }
        assert_eq!(captured.take_of(0).len(), 1);
        assert_eq!(told.lock().unwrap().pop(), Some((n, first)));
    }
    let missed_from = declined_at.expect("the second output was full");
    assert!((2..8).contains(&missed_from), "{missed_from}");
    assert!(!link.has_room_for(1));
    assert_eq!(captured.take_of(1).len() as u64, missed_from);
    assert_eq!(told.lock().unwrap().len() as u64, missed_from);
    told.lock().unwrap().clear();
    let missed = batch("t", missed_from, &["again"]);
    let sent = link.send_only(1, missed, done(99)).unwrap();
    assert!(sent.declined.is_empty());
    assert_eq!(captured.take_of(1).len(), 1);
    assert_eq!(*told.lock().unwrap(), [(99, dead)]);
}

#[test]
fn sources_take_turns() {
    let (link, captured) = Link::captured("t", Duration::ZERO);
    for n in 0..3 {
        link.send(batch("t", n, &["noisy"]), None).unwrap();
    }
    let RecordBatch::Logs(mut quiet) = batch("t", 0, &["quiet"]) else {
        unreachable!()
    };
    quiet.source.id = SourceId(8);
    link.send(RecordBatch::Logs(quiet), None).unwrap();
    let all = captured.take();
    let order: Vec<String> = all.iter().flat_map(|b| texts(b)).collect();
    assert_eq!(order, ["noisy", "quiet", "noisy", "noisy"]);
}

#[test]
fn another_pipeline_takes_over() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (got, specs) = outputs(1);
    let first = PipelineSpec {
        inputs: vec![InputSpec::new(
            "i".into(),
            "t".into(),
            Box::new(OneBatch("old")),
        )],
        outputs: specs,
        ..PipelineSpec::default()
    };
    let mut running = start(first, runtime.handle()).unwrap();
    let (reload, requests) = crossbeam_channel::bounded(1);
    reload.send("reload").unwrap();
    assert_eq!(running.wait_for(&requests), Some("reload"));
    let next = PipelineSpec {
        inputs: vec![InputSpec::new(
            "i".into(),
            "t".into(),
            Box::new(OneBatch("new")),
        )],
        outputs: vec![OutputSpec::new(
            "o".into(),
            TagMatch::wildcard("*"),
            got[0].clone(),
        )],
        ..PipelineSpec::default()
    };
    let mut running = running.hand_over(next).unwrap();
    running.stopper().stop();
    assert_eq!(running.wait_for(&requests), None);
    running.wait().unwrap();
    assert_eq!(*got[0].delivered.lock().unwrap(), ["old", "new"]);
}

/// Sends one batch when it is told to stop.
struct OneBatch(&'static str);

impl Input for OneBatch {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let _ = link.stop.recv();
        link.send(batch("t", 0, &[self.0]), None)?;
        Ok(())
    }
}
